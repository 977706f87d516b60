"""Closure and calibration: p-values are uniform for a right ratio, and a wrong one is found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from needle_parsl.nsbi.training.closure import calibration, closure, p_value


def samples(seed: int, apart: float = 0.5, n: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two Gaussians, numerator and reference, with random weights."""
    generator = np.random.default_rng(seed)
    weights = generator.uniform(0.5, 1.5, (2, n))
    return generator.normal(apart, 1, n), generator.normal(0, 1, n), *weights


def log_ratio(x: np.ndarray, apart: float = 0.5) -> np.ndarray:
    return apart * x - apart**2 / 2


def closure_p(seed: int, wrong: float = 0.0, apart: float = 0.5) -> float:
    above, below, w1, w0 = samples(seed, apart)
    return closure({"x": (above, below)}, w1, w0 * np.exp(log_ratio(below, apart) + wrong * below))["x"].p_value


def calibration_p(seed: int, wrong: float = 0.0) -> float:
    above, below, w1, w0 = samples(seed)
    x = np.concatenate([above, below])
    label = np.arange(len(x)) < len(above)
    weight = np.concatenate([w1 / w1.sum(), w0 / w0.sum()])
    return calibration(special.expit(log_ratio(x) * (1 + wrong)), label, weight).p_value


@pytest.mark.parametrize("p_value", [closure_p, calibration_p])
def test_p_values_of_a_right_ratio_are_uniform(p_value) -> None:
    found = [p_value(seed) for seed in range(200)]
    assert stats.kstest(found, "uniform").pvalue > 1e-3


@pytest.mark.slow
def test_weights_far_from_equal_raise_no_false_alarm() -> None:
    """A signal 1.5 standard deviations away has a reference of few effective events, whose total fluctuates."""
    found = np.array([closure_p(seed, apart=1.5) for seed in range(300)])
    assert (found < 0.01).sum() <= 12  # 3 expected; ignoring the covariance gives 4 % and more


@pytest.mark.parametrize(("p_value", "wrong"), [(closure_p, 0.2), (calibration_p, 0.4)])
def test_a_wrong_ratio_is_found(p_value, wrong: float) -> None:
    assert np.median([p_value(seed, wrong) for seed in range(20)]) < 1e-3


def test_histograms_are_shares_with_their_errors() -> None:
    above, below, w1, w0 = samples(1)
    found = closure({"x": (above, below)}, w1, w0)["x"]
    assert sum(found.target) == pytest.approx(1)
    assert sum(found.reweighted) == pytest.approx(1)
    inside = (above >= found.edges[3]) & (above < found.edges[4])
    assert found.target[3] == pytest.approx(w1[inside].sum() / w1.sum())
    assert found.target_error[3] == pytest.approx(np.sqrt((w1[inside] ** 2).sum()) / w1.sum())
    assert found.ndf == len(found.target) - 1


def test_constant_column_and_few_events_are_no_comparison() -> None:
    ones = np.ones(30)
    assert closure({"x": (ones, ones)}, ones, ones)["x"].p_value is None
    few = closure({"x": (np.arange(30.0), np.arange(30.0))}, ones, ones)["x"]
    assert few.ndf <= 1  # bins are merged until each has enough events


def test_integers_are_not_cut_within_a_value() -> None:
    jets = np.repeat([0.0, 1.0, 2.0, 3.0], 1000)
    found = closure({"jets": (jets, jets)}, np.ones(4000), np.ones(4000))["jets"]
    assert found.chi2 == 0
    assert found.target == pytest.approx([0.25, 0.25, 0.5]) or found.target == pytest.approx([0.25] * 4)


def test_calibration_error_is_that_of_the_planted_shift() -> None:
    """All scores are 0.5 where the fraction is 0.6."""
    label = np.arange(10_000) < 6000
    found = calibration(np.full(10_000, 0.5), label, np.full(10_000, 1e-4))
    assert (found.ece, found.mce) == (pytest.approx(0.1), pytest.approx(0.1))
    assert found.error == [pytest.approx(0.005)]


@pytest.mark.parametrize("ndf", [0, 1, 7])
@pytest.mark.parametrize("value", [-1.0, 0.0, 0.3, 12.0, 1e4, float("nan")])
def test_p_value_is_that_of_scipy(value: float, ndf: int) -> None:
    assert p_value(value, ndf) == pytest.approx(stats.chi2.sf(value, ndf), rel=1e-12, nan_ok=True)
