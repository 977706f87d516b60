"""Several unbinned regions, fitted together: what nuisance parameters do where they act, compiled toys, Asimov data, and toys of both kinds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from problems import regions
from problems.compiled_fits import agree
from scipy.stats import norm

from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.reweighting import asimov, predicted
from needle_parsl.nsbi.statistics.toys import pool as toys
from needle_parsl.nsbi.statistics.toys.block import Block
from needle_parsl.nsbi.statistics.toys.compiled.engine import CompiledFits
from needle_parsl.nsbi.statistics.toys.pool import Draw


def closed(mu: float, scale: float, lumi: float, own: regions.Gaussians, x: np.ndarray) -> float:
    """-ln L of the events of a region as a formula, where the width is nominal: linear ln r, whose variations are Gaussians that have moved."""
    gain = (1.05**scale if scale >= 0 else 0.96**-scale) * (1.03**lumi if lumi >= 0 else 0.97**-lumi)
    total = mu * own.signal + own.background * gain
    density = mu * own.signal * norm.pdf(x, own.mean) + own.background * gain * norm.pdf(x, 0.2 * scale)
    return total - float(np.log(density / norm.pdf(x)).sum())


@pytest.mark.parametrize("scale", [1.0, -1.0, 2.0])
def test_likelihood_is_that_of_exact_densities(scale: float) -> None:
    """Where variations are whole, interpolation is exact; Z_j is 1 up to the simulation."""
    events = regions.pairs(3, size=400_000)
    made, mu, lumi = regions.likelihood(events), 1.3, 1.0
    theta = made.rates.at({"mu": mu, "scale": scale, "lumi": lumi})
    wanted = sum(
        closed(mu, scale, lumi, own, events[name][0].x[:, 0].astype(float)) for name, own in regions.REGIONS.items()
    )
    counts = made.of_kind("bins")[0].count
    b = np.array([80.0, 120.0]) * (1.04**scale if scale >= 0 else 0.97**-scale) * 1.03
    lam = mu * np.array([2.0, 1.0]) + b
    wanted += float((lam - counts * np.log(lam)).sum()) + (scale**2 + lumi**2) / 2
    # ln Z_j enters once per event: it is a mean of 400,000 responses that spread by 0.2 |scale|.
    error = sum(len(data.weight) for data, _ in events.values()) * 0.2 * abs(scale) / math.sqrt(400_000)
    assert made(theta)[0] == pytest.approx(wanted, abs=3 * error)


def test_nuisance_acts_where_it_is_said() -> None:
    made = regions.likelihood(regions.pairs(4))
    low, high = made.of_kind("events")
    assert set(low.responses.nuisance) == {0}
    assert set(high.responses.nuisance) == {0, 1}
    assert set(made.of_kind("bins")[0].responses.nuisance) == {0}
    theta, moved = (made.rates.at({"width": value}) for value in (0.0, 1.0))
    before, after = made.expected_by_region(theta), made.expected_by_region(moved)
    assert after[0] == pytest.approx(before[0])
    assert after[1] == pytest.approx(before[1] * [1, 1.02])
    assert made.counts(moved)[0] == pytest.approx(made.counts(theta)[0])


def test_compiled_likelihood_is_the_reference() -> None:
    events, rng = regions.simulated(regions.pairs(5, size=300)), np.random.default_rng(6)
    engine = CompiledFits.of(events)
    for count in (300, 0, 1000):
        theta = np.array([rng.uniform(0.4, 1.5), *rng.normal(0, 1.2, 3)])
        thrown = events.constraints.throw(theta[1:], rng)
        rows = np.sort(
            rng.integers(0, 600 if count == 300 else 1200, count)
        )  # once without an event of the second region
        draw = Draw(rows, thrown, [rng.poisson(90, 2).astype(float)])
        toy = events.take(*draw)
        value, gradient, hessian = engine.evaluate(draw, theta)
        assert value == pytest.approx(toy(theta)[0], rel=1e-11)
        np.testing.assert_allclose(gradient, toy(theta)[1], rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(hessian, toy.hessian(theta), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("source", ["model", "simulation"])
def test_compiled_fits_agree_with_iminuit(source: str) -> None:
    pairs = regions.pairs(7)
    events = regions.simulated(pairs)
    truth = events.rates.at({"mu": 1.0})
    weight = np.concatenate([own.weight * (own.sample == 1) for _, own in pairs.values()])
    pool = toys.model_pool(events, weight, truth) if source == "model" else toys.simulation_pool(events, [own for _, own in pairs.values()], truth)  # fmt: skip
    worst = agree(pool, truth, range(6))
    assert worst["failed"] == 0
    assert worst["nll"] < 1e-6
    assert worst["mu"] < 1e-4


def test_pools_expect_what_each_region_does() -> None:
    pairs = regions.pairs(8)
    events = regions.simulated(pairs)
    truth = events.rates.at({"mu": 2.0, "scale": 0.5})
    expected, size = events.expected_by_region(truth).sum(axis=1), 6000
    weight = np.concatenate([own.weight * (own.sample == 1) for _, own in pairs.values()])
    for pool in (toys.model_pool(events, weight, truth), toys.simulation_pool(events, [own for _, own in pairs.values()], truth)):  # fmt: skip
        assert [pool.weight[:size].sum(), pool.weight[size:].sum()] == pytest.approx(expected)


def test_asimov_data_return_their_truth() -> None:
    pairs = regions.pairs(9)
    events = regions.simulated(pairs)
    truth = events.rates.at({"mu": 1.7, "scale": 0.6, "width": -0.8, "lumi": 0.3})
    sample = np.concatenate([own.sample for _, own in pairs.values()])
    assert predicted(events, truth, sample).weight.sum() == pytest.approx(events.expected(truth).sum())
    data = asimov(events, truth, sample)
    best = minimise(data, data.rates)
    # The events of the simulation scatter about the densities of the model: their finite number moves a fit by a part of its error.
    pulls = (best.theta - truth) / np.sqrt(np.diag(best.theta_covariance))
    assert np.abs(pulls).max() < 0.35


def test_toys_are_unbiased_and_know_their_error() -> None:
    """300 compiled toys of both regions: mean and spread of pulls, within three of their errors."""
    pairs = regions.pairs(10, size=20_000)
    events = regions.simulated(pairs)
    truth = events.rates.at({"mu": 1.0})
    pool = toys.simulation_pool(events, [own for _, own in pairs.values()], truth)
    block = Block.of(events, toys.drawn(pool, truth, range(300)), "mu", truth, (pool.effective, 0.0))
    assert block.converged.all()
    assert not block.retried.any()
    pulls = block.pulls[:, 0]
    assert abs(pulls.mean()) < 3 / math.sqrt(300) + 0.1  # 0.1: of the simulation, 20,000 events a process
    assert pulls.std() == pytest.approx(1, abs=3 / math.sqrt(600))
