"""Couplings of an effective field theory: the likelihood of a polynomial basis, its minima, and the coverage of regions in two couplings."""

from __future__ import annotations

import numpy as np
import pytest
from problems.eft import BASIS, COUPLINGS, Problem
from scipy.stats import chi2

from needle_parsl.nsbi.statistics import morphing
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.morphing import SimulatedBasis
from needle_parsl.nsbi.statistics.toys.fitting import fitted
from needle_parsl.nsbi.statistics.toys.pool import Draw

LEVEL = 0.6827
PROBLEM = Problem()
TWICE = Problem(squared=(100.0, 100.0, 10.0), means=((0.0, 0.0), (0.3, 0.0), (0.0, -1.5)), bounds=(-4.0, 2.0))
"""Where the first coupling changes the rate and hardly the shape, so that two values give nearly the same."""


@pytest.mark.parametrize("seed", [1, 2])
def test_likelihood_is_that_of_the_squared_amplitude(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = PROBLEM.throw({"c1": 0.5, "c2": -0.4}, rng)
    made = PROBLEM.likelihood(x)
    points = [dict(zip(COUPLINGS, rng.uniform(-1.5, 1.5, 2), strict=True)) for _ in range(8)]
    found = [made(made.rates.at(point))[0] for point in points]
    wanted = [PROBLEM.exact(x, point) for point in points]
    assert np.diff(found) == pytest.approx(np.diff(wanted), abs=1e-6)
    assert made.expected(made.rates.at(points[0])).sum() == pytest.approx(PROBLEM.rate(points[0]) + PROBLEM.background)


def test_linear_terms_are_the_slope_at_the_standard_model() -> None:
    x = PROBLEM.throw({}, np.random.default_rng(3))
    full, linear = PROBLEM.likelihood(x), PROBLEM.likelihood(x, linear=True)
    origin, step = full.rates.at({}), full.rates.at({"c1": 1e-5, "c2": -2e-5})
    assert linear(origin)[0] == pytest.approx(full(origin)[0], abs=1e-9)
    assert linear(origin)[1] == pytest.approx(full(origin)[1], rel=1e-9)
    assert linear.expected(step) == pytest.approx(full.expected(step), rel=1e-6, abs=1e-6)
    assert not linear.bent.any()
    assert full.bent.all()


def test_both_minima_of_a_quadratic_coupling_are_found_from_either_start() -> None:
    """c1 = 0.4 and c1 = -2.4 have nearly the same rate, and shapes that differ little."""
    x = TWICE.throw({"c1": 0.4}, np.random.default_rng(4))
    made = TWICE.likelihood(x)
    fits = [minimise(made, made.rates, start=made.rates.at({"c1": start})) for start in (0.0, -3.5)]
    for fit in fits:
        assert fit.converged
        assert len(fit.minima) >= 2
        assert fit.nll == pytest.approx(fits[0].nll, abs=1e-5)
        assert fit.next_minimum is not None
        other = fit.minima[1]
        away = 2 * (
            TWICE.exact(x, dict(zip(COUPLINGS, other, strict=True)))
            - TWICE.exact(x, dict(zip(COUPLINGS, fit.theta, strict=True)))
        )
        assert fit.next_minimum == pytest.approx(away, abs=1e-3)
    assert abs(fits[0].theta[0] - fits[0].minima[1][0]) > 1.5
    single = minimise(TWICE.likelihood(x, linear=True), made.rates)
    assert single.next_minimum is None


def coverage(toys: int, truth: dict[str, float], seed: int) -> float:
    """Give by how many binomial errors the region of 68 % in both couplings covers more or less often than it should."""
    rng = np.random.default_rng(seed)
    thrown = [PROBLEM.throw(truth, rng) for _ in range(toys)]
    ends = np.cumsum([len(x) for x in thrown])
    events = PROBLEM.likelihood(np.concatenate(thrown))
    draws = [Draw(np.arange(end - len(x), end), events.constraints, []) for x, end in zip(thrown, ends, strict=True)]
    theta = events.rates.at(truth)
    fits = list(fitted(events, draws, "c1", theta))
    assert all(fit.converged for fit in fits)
    assert sum(fit.retried for fit in fits) < 0.02 * toys
    t = [2 * (events.take(*draw)(theta)[0] - fit.nll) for draw, fit in zip(draws, fits, strict=True)]
    assert min(t) > -1e-6
    inside = float(np.mean(np.array(t) < chi2.ppf(LEVEL, 2)))
    return (inside - LEVEL) / np.sqrt(LEVEL * (1 - LEVEL) / toys)


def test_region_in_two_couplings_covers() -> None:
    assert abs(coverage(400, {"c1": 0.3, "c2": 0.2}, 5)) < 2.5


@pytest.mark.campaign
@pytest.mark.parametrize("truth", [{}, {"c1": 0.3, "c2": 0.2}, {"c1": -0.3, "c2": 0.4}])
def test_region_in_two_couplings_covers_in_two_thousand_toys(truth: dict[str, float]) -> None:
    assert abs(coverage(2000, truth, 6)) < 2.5


def test_effective_events_are_those_of_the_weighted_sum() -> None:
    """Of shared events, and of events of their own, against sums over all events."""
    rng, names = np.random.default_rng(7), tuple(BASIS)
    model = PROBLEM.table()
    points = [morphing.nominal(model), *morphing.within_bounds(model, COUPLINGS)[:5]]
    factors = morphing.multipliers(model, names, points)
    ids = [np.arange(400, dtype=np.uint64) + (3 * k if k < 2 else 0) for k in range(len(names))]
    weights = [rng.exponential(1.0, 400) for _ in names]
    every = np.zeros((len(names), 403))
    for j, (own, weight) in enumerate(zip(ids, weights, strict=True)):
        every[j, own.astype(int)] = weight
    summed = factors @ every
    wanted = summed.sum(axis=1) ** 2 / (summed**2).sum(axis=1)
    assert SimulatedBasis.of(weights, ids, shared=True).effective(factors) == pytest.approx(wanted)
    apart = SimulatedBasis.of(weights, ids, shared=False).effective(factors)
    squares = (factors**2) @ (every**2).sum(axis=1)
    assert apart == pytest.approx((factors @ every.sum(axis=1)) ** 2 / squares)
    assert apart[0] == pytest.approx(weights[0].sum() ** 2 / (weights[0] ** 2).sum())
