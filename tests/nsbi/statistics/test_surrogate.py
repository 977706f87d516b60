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
    x = np.random.default_rng(seed).normal(shifted.mean(*nu), 1.0, (events, 1)).astype(np.float32)
    return Events(
        names=("x",), x=x, weight=np.ones(events), id=hashing.mix(np.arange(events, dtype=np.uint64), np.uint64(seed))
    )


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
    """D_a = m_a x and D_ab = m_ab x, up to constants; a classifier of 10,000 events a point knows them to 0.03 or so."""
    x = np.linspace(-1.5, 1.5, 13, dtype=np.float32)[:, None]
    found = learned.coefficients(x)
    one, two, both = shifted.MOVES
    np.testing.assert_allclose(found - found[6], x * [one, two, 0, both, 0], atol=0.1)


def test_nothing_moves_at_zero(learned: Surrogate) -> None:
    x = np.concatenate([np.zeros((50, 2)), np.random.default_rng(1).normal(size=(50, 1))], axis=1).astype(np.float32)
    assert not learned.network(torch.from_numpy(x)).abs().max()


def exact(x: np.ndarray) -> dict[str, np.ndarray]:
    """What an exact surrogate would say."""
    return shifted.ratios(x[:, 0])


def likelihood(
    shapes: Sequence[Shape], crosses: Sequence[Cross], ratios: Ratios, x: np.ndarray, simulated: np.ndarray
) -> Likelihood:
    signal = np.random.default_rng(5).normal(2, 1, (len(simulated), 1)).astype(np.float32)
    every = np.concatenate([signal, simulated])
    sizes = {"signal": len(signal), "background": len(simulated)}
    yields = {"signal": 100.0, "background": 900.0, **dict.fromkeys(ratios(x[:1]), 900.0)}
    data, simulation = (
        Dataset.of(events, {**ratios(events), "signal": 2 * events[:, 0] - 2}, samples=samples, yields=yields)
        for events, samples in ((x, None), (every, sizes))
    )
    return Builder.of(shifted.MODEL, shapes, crosses).likelihood(data, simulation)


def test_fit_far_from_nominal_agrees_with_the_exact_one(learned: Surrogate) -> None:
    """Data at jes = 1.2, met = -1.2, where the shifts add up but for what both do together."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(2, 1, (100, 1)), rng.normal(shifted.mean(1.2, -1.2), 1, (900, 1))]).astype(
        np.float32
    )
    simulated = rng.normal(0, 1, (20_000, 1)).astype(np.float32)
    made = [
        likelihood(learned.shapes, crosses, ratios, x, simulated)
        for crosses, ratios in ((learned.crosses, learned.log_ratios), (learned.crosses, exact), ([], exact))
    ]
    ours, true, without = (minimise(one, one.rates) for one in made)
    assert ours.converged
    assert true.converged
    for name in ("mu", *shifted.NAMES):
        assert abs(ours.value(name) - true.value(name)) < 0.3 * true.error(name)
    assert any(abs(without.value(name) - true.value(name)) > 0.3 * true.error(name) for name in shifted.NAMES)
