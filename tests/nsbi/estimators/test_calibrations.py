"""Calibration: a planted miscalibration is removed, by maps fitted on other events."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from needle_parsl.analysis import catalogue
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.estimators import calibrations
from needle_parsl.nsbi.training.closure import calibration


def drawn(seed: int, events: int = 40_000, weighted: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw unit Gaussians at +-0.5, whose ln r is x, with weights that differ and classes of unequal size."""
    rng = np.random.default_rng(seed)
    label = np.arange(events) < events // 3
    x = rng.normal(np.where(label, 0.5, -0.5))
    return x, label, rng.uniform(0.5, 1.5, events) if weighted else np.ones(events)


def balanced(label: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return weight / np.where(label, weight[label].sum(), weight[~label].sum())


def off(x: np.ndarray) -> np.ndarray:
    """Be wrong: too steep, shifted, and bent."""
    return 1.6 * x + 0.4 + 0.2 * np.tanh(3 * x)


@pytest.mark.parametrize("method", catalogue.CALIBRATIONS)
def test_planted_miscalibration_is_removed(method: str) -> None:
    x, label, weight = drawn(1, 400_000)  # ten times the test: its noise must not show there
    made = catalogue.CALIBRATIONS[method].load()(off(x), label, weight)
    x, label, weight = drawn(2)
    before, after = (
        calibration(expit(log_ratio), label, balanced(label, weight)) for log_ratio in (off(x), made(off(x)))
    )
    assert before.p_value < 1e-12
    assert after.p_value > 1e-4
    assert after.ece < 0.1 * before.ece
    # A bin of 10,000 events knows ln r to 0.025, and is 0.07 wide; the map may be off by 2.5 times that.
    middle = np.abs(x) < 1
    assert np.sqrt(np.mean((made(off(x)) - x)[middle] ** 2)) < 0.2


@pytest.mark.parametrize("method", catalogue.CALIBRATIONS)
def test_what_is_calibrated_stays_and_nothing_becomes_infinite(method: str) -> None:
    x, label, weight = drawn(3, weighted=False)
    made = catalogue.CALIBRATIONS[method].load()(x, label, weight)
    assert np.abs(made(np.array([-0.5, 0.0, 0.5])) - [-0.5, 0.0, 0.5]).max() < 0.1
    ends = made(np.array([-1e9, -1e3, 1e3, 1e9]))
    assert np.isfinite(ends).all()
    assert (np.diff(ends) >= 0).all()
    assert np.abs(ends).max() < np.log(len(x))  # less than one event cannot be known


def test_isotonic_never_falls_and_refuses_negative_weights() -> None:
    x, label, weight = drawn(4)
    made = calibrations.isotonic(np.sin(3 * x), label, weight)
    assert (np.diff(made(np.linspace(-1, 1, 500))) >= 0).all()
    with pytest.raises(TaskError, match="weights that are not negative"):
        calibrations.isotonic(x, label, weight - 1)


def test_histogram_of_negative_weights_is_that_of_their_sums() -> None:
    x, label, weight = drawn(5)
    weight[::7] *= -0.5
    made = calibrations.histogram(x, label, weight)
    middle = np.abs(x) < 1
    assert np.sqrt(np.mean((made(x) - x)[middle] ** 2)) < 0.2


def test_a_constant_score_gives_a_ratio_of_one() -> None:
    _, label, weight = drawn(6)
    for method in (calibrations.histogram, calibrations.isotonic):
        assert method(np.full(len(label), 0.3), label, weight)(np.array([0.0, 0.3, 1.0])) == pytest.approx(0, abs=1e-9)
