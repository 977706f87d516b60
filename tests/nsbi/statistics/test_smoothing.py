"""Smooth critical values: against known ones, t = c(mu) chi-squared with c that is neither 1 nor a polynomial."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.interpolate import make_smoothing_spline

from needle_parsl.nsbi.statistics.intervals import neyman
from needle_parsl.nsbi.statistics.intervals.smoothing import smooth

TOYS, REPLICAS = 1000, 60
GRID = np.linspace(0, 3, 20)


def trend(s: np.ndarray, depth: float) -> np.ndarray:
    return 1 - depth * np.exp(-((s / 0.8) ** 2))


def raw(generator: np.random.Generator, depth: float, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Critical values of toys along the grid, and their errors."""
    found = [neyman.critical(c * generator.chisquare(1, TOYS), level) for c in trend(GRID, depth)]
    values, errors = np.array(found).T
    return values, errors


@pytest.mark.parametrize("level", [0.68, 0.95])
@pytest.mark.parametrize(("depth", "share"), [(0.0, 0.45), (0.5, 0.6)])
def test_curve_is_nearer_to_the_truth_and_not_biased_beyond_its_error(depth: float, share: float, level: float) -> None:
    """A straight line through 20 values has 0.32 of their scatter; the dip needs some more freedom."""
    exact = trend(GRID, depth) * stats.chi2.ppf(level, 1)
    near, far, errors = [], [], []
    for seed in range(REPLICAS):
        values, own = raw(np.random.default_rng(seed), depth, level)
        curve = smooth(GRID, values, own, np.full(20, TOYS))
        if curve is not None:
            near.append(curve(GRID) - exact)
            far.append(values - exact)
            errors.append(curve.error(GRID))
    assert len(near) > 0.95 * REPLICAS
    scatter = np.std(far)
    assert np.sqrt(np.mean(np.square(near))) < share * scatter
    assert (np.abs(np.mean(near, axis=0)) < 1.2 * np.mean(errors, axis=0)).all()
    assert 0.8 < np.sqrt(np.mean(np.square(near) / np.square(errors))) < 1.35
    # quantiles of 1,000 toys are low by a twentieth of their error; the curve adds nothing to that
    assert abs(np.mean(near) - np.mean(far)) < 0.03 * scatter


@pytest.mark.parametrize("error", [0.0, 0.05])
def test_what_is_not_smooth_stays_as_it_is(error: float) -> None:
    """Errors of 0, a jump of 20 errors, one value far from all others, scatter of three errors."""
    generator, one = np.random.default_rng(1), np.arange(20) == 7
    for values in (np.where(GRID < 1.5, 2.0, 3.0), 3.0 + one, generator.normal(3, 0.15, 20)):
        assert smooth(GRID, values, np.full(20, error), np.full(20, TOYS)) is None


def test_value_with_more_toys_counts_more() -> None:
    """With a line alone, 16 times the toys count 16 times; the mean of two levels 0.15 apart is 0.15 / 17 from the better one."""
    toys = np.where(np.arange(20) % 2, 16_000.0, 1000.0)
    values = 3 + np.where(np.arange(20) % 2, 0.0, 0.15)
    curve = smooth(GRID, values, 0.15 * np.sqrt(1000 / toys), toys)
    assert curve is not None
    assert curve(np.array([1.5])) == pytest.approx(3 + 0.15 / 17, abs=5e-3)
    assert curve.error(np.array([1.5])) == pytest.approx(0.15 / np.sqrt(10 * 17), rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_curve_is_the_smoothing_spline(seed: int) -> None:
    """SciPy's, with the penalty that the restricted likelihood has chosen, at uneven values."""
    generator = np.random.default_rng(seed)
    grid = np.sort(generator.uniform(0, 3, 20))
    values, errors = np.sin(2 * grid) + generator.normal(2, 0.1, 20), np.full(20, 0.1)
    curve = smooth(grid, values, errors, np.full(20, TOYS))
    assert curve is not None
    penalty = (grid[-1] - grid[0]) ** 3 / curve.tau**2
    fine = np.linspace(grid[0], grid[-1], 301)
    exact = make_smoothing_spline(grid, values, w=curve.sigma**-2, lam=penalty)(fine)
    np.testing.assert_allclose(curve(fine), exact, atol=1e-6)
