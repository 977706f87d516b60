"""p-values, discovery and CLs from toys, against the Gaussian answers; linearity of a measurement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from problems.likelihoods import counting
from problems.toys import SIGMA, thrown
from scipy import stats

from needle_parsl.nsbi.statistics.intervals import coverage, hypothesis_tests, neyman
from needle_parsl.nsbi.statistics.results import CoveragePoint


def test_p_value_is_the_share_of_toys_with_a_binomial_error() -> None:
    share, error = hypothesis_tests.p_value(np.arange(100.0), 90.0)
    assert share == 0.1
    assert error == pytest.approx(0.03)
    assert hypothesis_tests.p_value(np.arange(100.0), 1000.0)[1] > 0


@pytest.mark.parametrize("observed", [0.5, 2.0, 4.0])
def test_discovery_is_that_of_a_gaussian_measurement(observed: float) -> None:
    found = hypothesis_tests.discovery(thrown(0.0, np.empty(0), 20_000, 1), "mu", observed)
    assert not found.extrapolated
    assert abs(found.p_value - stats.norm.sf(math.sqrt(observed))) < 4 * found.error
    assert found.asymptotic.significance == pytest.approx(math.sqrt(observed))


@pytest.mark.parametrize("observed", [16.0, 25.0])
def test_tail_is_extrapolated_and_marked(observed: float) -> None:
    pulls = []
    for seed in range(12):
        found = hypothesis_tests.discovery(thrown(0.0, np.empty(0), 5000, seed), "mu", observed)
        assert found.extrapolated
        pulls.append((found.p_value - stats.norm.sf(math.sqrt(observed))) / found.error)
        assert abs(found.significance - math.sqrt(observed)) < 0.35
    assert np.abs(np.mean(pulls)) < 1.5


@pytest.mark.parametrize("toys", [0, 12, 190])
def test_too_few_toys_have_no_tail(toys: int) -> None:
    found = hypothesis_tests.discovery(thrown(0.0, np.empty(0), toys, 1), "mu", 25.0)
    assert (found.p_value, found.significance, found.extrapolated) == (0.0, None, False)
    assert 0 < found.error < 1


def test_tail_that_does_not_fix_its_width_is_as_uncertain_as_it_is_long() -> None:
    share, error = hypothesis_tests.tail(np.repeat(np.arange(1.0, 3.0), 100), 9.0)
    assert 0 < share < 1e-2
    assert share <= error < np.inf


def test_limits_are_those_of_a_gaussian_measurement() -> None:
    """CLs = Phi(-(mu - x) / sigma) / Phi(x / sigma) above the best value x."""
    x, grid = 0.4, np.linspace(0.5, 2.0, 7)
    toys = [thrown(mu, np.empty(0), 20_000, 10 + place) for place, mu in enumerate(grid)]
    observed = ((x - grid) / SIGMA) ** 2
    found = hypothesis_tests.limits("mu", grid, toys, thrown(0.0, grid, 20_000, 5), observed, x, [0.95])
    for mu, point in zip(grid, found.points, strict=True):
        exact = stats.norm.sf((mu - x) / SIGMA) / stats.norm.cdf(x / SIGMA)
        assert abs(point.cls - exact) < 4 * point.cls_error + 2e-3
    exact = x + SIGMA * stats.norm.isf(0.05 * stats.norm.cdf(x / SIGMA))
    assert found.upper["0.95"] == pytest.approx(exact, abs=0.06)


def test_expected_limits_are_those_of_gaussian_data_without_a_signal() -> None:
    """CLs of x, one of the bands of x around 0, at mu."""
    grid = np.array([0.5, 1.0])
    toys = [thrown(mu, np.empty(0), 20_000, 10 + place) for place, mu in enumerate(grid)]
    found = hypothesis_tests.limits("mu", grid, toys, thrown(0.0, grid, 20_000, 5), grid * 0, 0.0, [0.95])
    for mu, point in zip(grid, found.points, strict=True):
        for band, cls in zip(hypothesis_tests.BANDS[2:], point.expected[2:], strict=True):
            if band * SIGMA < mu:
                exact = stats.norm.sf(mu / SIGMA - band) / stats.norm.cdf(band)
                assert cls == pytest.approx(exact, abs=4 * math.sqrt(exact / 20_000) / stats.norm.cdf(band) + 0.02)
        assert list(point.expected) == sorted(point.expected)


def test_more_toys_are_wanted_only_near_a_critical_value() -> None:
    t = np.random.default_rng(3).chisquare(1, 1000)
    value, error = neyman.critical(t, 0.9)
    assert neyman.uncertain(t, value + 2 * error, [0.9])
    assert not neyman.uncertain(t, value + 4 * error, [0.9])
    assert not neyman.uncertain(t, float("nan"), [0.9])


def test_linearity_finds_slope_and_offset() -> None:
    rng, truths = np.random.default_rng(8), np.linspace(0, 3, 7)
    biases = 0.05 + 0.02 * (truths - 1.5) + rng.normal(0, 0.01, 7)
    given = [{"truth": {"mu": mu}, "bias": b, "bias_error": 0.01} for mu, b in zip(truths, biases, strict=True)]
    points = [CoveragePoint.from_json(one) for one in given]
    found = coverage.linearity(points, "mu")
    assert found is not None
    assert abs(found.slope - 1.02) < 4 * found.slope_error
    assert abs(found.offset - 0.05) < 4 * found.offset_error
    assert found.slope_error == pytest.approx(0.01 / math.sqrt(((truths - 1.5) ** 2).sum()))
    assert stats.chi2.sf(found.chi2, 5) > 1e-3
    assert coverage.linearity(points[:2], "mu") is None


@pytest.mark.parametrize("x", [-0.3, 0.4, 1.2])
@pytest.mark.parametrize("smoothed", [True, False])
def test_upper_limits_of_a_belt_are_those_of_a_gaussian_measurement(x: float, smoothed: bool) -> None:
    """q_mu falls with x whatever the bound does, so that x is excluded below mu - z sigma; the bound is at the grid's first value."""
    grid, best = np.linspace(0, 3, 25), max(x, 0.0)
    toys = [thrown(mu, np.empty(0), 4000, 30 + place) for place, mu in enumerate(grid)]
    observed = ((x - grid) ** 2 - (x - best) ** 2) / SIGMA**2
    rates = counting(1, bounds=(0.0, 5.0)).rates
    found = neyman.belt("mu", grid, toys, observed, [0.68, 0.95], rates, smoothed=smoothed, best=best)
    assert (found.statistic, found.open) == ("q_mu", ())
    for level, ((low, high),) in found.intervals.items():
        z = stats.norm.ppf(float(level))
        error = SIGMA * np.sqrt(float(level) * (1 - float(level)) / 4000) / stats.norm.pdf(z)
        assert low == 0
        assert high == pytest.approx(max(x + z * SIGMA, 0.0), abs=4 * error)
        assert found.asymptotic[level] == pytest.approx(z**2)
        assert (found.curves[level] is not None) == smoothed
    for point in found.points[1:]:
        exact = stats.norm.cdf((x - point.value) / SIGMA) if point.value >= best else 1.0
        assert abs(point.p_value - exact) < 4.5 * point.p_value_error


def test_coverage_of_upper_limits_is_their_level() -> None:
    grid = np.linspace(0, 3, 25)
    toys = [thrown(mu, np.empty(0), 4000, 30 + place) for place, mu in enumerate(grid)]
    rates = counting(1, bounds=(0.0, 5.0)).rates
    belt = neyman.belt("mu", grid, toys, grid**2, [0.95], rates, best=0.0)
    entries = coverage.points(thrown(0.6, np.empty(0), 20_000, 3), "mu", [0.95], belt)
    (own,) = (entry for entry in entries if entry.method == "neyman")
    assert abs(own.coverage - 0.95) < 4 * np.hypot(own.error, 0.001)
