"""The surrogate over two nuisance parameters that move a Gaussian, alone and together: its coefficients and fits are exact ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from problems import shifted

from needle_parsl.densities import Cross, Shape
from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.surrogate import Surrogate, train
from needle_parsl.nsbi.training import networks
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.ratio_events import MemberView

Ratios = Callable[[np.ndarray], dict[str, np.ndarray]]


def drawn(nu: tuple[float, float], events: int, seed: int) -> Events:
    x = shifted.drawn(np.random.default_rng(seed), shifted.mean(*nu), events).astype(np.float32)
    ids = hashing.mix(np.arange(events, dtype=np.uint64), np.uint64(seed))
    return Events(names=("x", "y"), x=x, weight=np.ones(events), id=ids)


@pytest.fixture(scope="module")
def learned() -> Surrogate:
    grid = [
        (dict(zip(shifted.NAMES, map(float, nu), strict=True)), drawn(nu, 10_000, k))
        for k, nu in enumerate(shifted.GRID)
    ]
    settings = Settings(
        shape=networks.NetworkShape(network="mlp", features=1, layers=1, nodes=16),
        loss="carl",
        optimizer="adamw",
        learning_rate=4e-3,
        schedule="cosine",
        weight_decay=1e-4,
        batch_size=1024,
        epochs=6,
        patience=6,
    )
    return train(
        "background",
        drawn((0, 0), 10_000, 99),
        grid,
        Member(
            member=0,
            fold=0,
            seed=7,
            view=MemberView(fold=0, folds=1, fold_salt=1, validation=0.1, validation_salt=5, bootstrap_salt=None),
        ),
        settings,
    )


@pytest.mark.slow
def test_coefficients_are_those_of_the_density(learned: Surrogate) -> None:
    """D_a = m_a (x, y) and D_ab = m_ab (x, y), up to constants; a classifier of 10,000 events a point knows them to 0.03 or so."""
    x = np.random.default_rng(2).uniform(-1.5, 1.5, (13, 2)).astype(np.float32)
    x[6] = 0.0
    found, (one, two, both) = learned.coefficients(x), (x @ shifted.MOVES.T).T
    np.testing.assert_allclose(found - found[6], np.column_stack([one, two, 0 * one, both, 0 * one]), atol=0.15)


def test_nothing_moves_at_zero(learned: Surrogate) -> None:
    x = np.concatenate([np.zeros((50, 2)), np.random.default_rng(1).normal(size=(50, 2))], axis=1).astype(np.float32)
    assert not learned.network(torch.from_numpy(x)).abs().max()


def likelihood(
    shapes: Sequence[Shape], crosses: Sequence[Cross], ratios: Ratios, x: np.ndarray, simulated: np.ndarray
) -> Likelihood:
    signal = shifted.drawn(np.random.default_rng(5), (shifted.PEAK, 0.0), len(simulated)).astype(np.float32)
    every = np.concatenate([signal, simulated])
    sizes = {"signal": len(signal), "background": len(simulated)}
    yields = dict.fromkeys(ratios(x[:1]), shifted.BACKGROUND)
    yields |= {"signal": shifted.SIGNAL, "background": shifted.BACKGROUND}
    data, simulation = (
        Dataset.of(
            events, {**ratios(events), "signal": shifted.ratios(events)["signal"]}, samples=samples, yields=yields
        )
        for events, samples in ((x, None), (every, sizes))
    )
    return Builder.of(shifted.MODEL, shapes, crosses).likelihood(data, simulation)


def test_fit_far_from_nominal_agrees_with_the_exact_one(learned: Surrogate) -> None:
    """Data at jes = 1.2, met = -1.2, where what both do together is as much as one alone."""
    x = shifted.observed(3).astype(np.float32)
    simulated = shifted.drawn(np.random.default_rng(4), (0.0, 0.0), 20_000).astype(np.float32)
    made = [
        likelihood(learned.shapes, crosses, ratios, x, simulated)
        for crosses, ratios in (
            (learned.crosses, learned.log_ratios),
            (learned.crosses, shifted.ratios),
            ([], shifted.ratios),
        )
    ]
    ours, true, without = (minimise(one, one.rates) for one in made)
    assert ours.converged
    assert true.converged
    for name in ("mu", *shifted.NAMES):
        assert abs(ours.value(name) - true.value(name)) < 0.3 * true.error(name)
    assert any(abs(without.value(name) - true.value(name)) > 0.3 * true.error(name) for name in shifted.NAMES)
