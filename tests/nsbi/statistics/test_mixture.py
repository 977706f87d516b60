"""The mean of a mixture over the reference: 1 for true densities, what was planted for others."""

from __future__ import annotations

import numpy as np
import pytest

from needle_parsl.analysis import Model, Parameter
from needle_parsl.nsbi.statistics.model import Rates, mixture
from needle_parsl.nsbi.statistics.results import MixturePoint

MU = Parameter(1.0, (0.0, 4.0))
LINEAR = Rates.build(Model({"mu": MU}, {"s": "mu", "b": "1"}, {}))
YIELDS = {"s": 50.0, "b": 150.0}


def reference(events: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """A unit Gaussian with weights, and the log ratio of one shifted by 1/2."""
    rng = np.random.default_rng(1)
    return 0.5 * rng.normal(size=events) - 0.125, rng.uniform(0.5, 1.5, events)


def test_true_densities_have_one_everywhere() -> None:
    log_ratio, weight = reference()
    where = mixture.values(MU)
    assert where == (0.0, 1.0, 2.0, 3.0, 4.0)
    found = mixture.normalisations(LINEAR, YIELDS, {"s": log_ratio}, weight, ("mu", where)).points
    assert found[0] == MixturePoint(0.0, pytest.approx(1.0), pytest.approx(0.0), 0.0)
    assert all(abs(point.value - 1) < 4 * point.error for point in found[1:])
    effective = weight.sum() ** 2 / (weight**2).sum()
    share = 4 * 50 / (4 * 50 + 150)
    assert found[-1].error == pytest.approx(share * np.sqrt((np.exp(0.25) - 1) / effective), rel=0.1)


def test_a_ratio_off_by_a_factor_is_seen_in_its_share() -> None:
    log_ratio, weight = reference()
    rates = LINEAR
    right, wrong = (
        mixture.normalisations(rates, YIELDS, {"s": log_ratio + shift}, weight, ("mu", (1.0, 3.0))).points
        for shift in (0.0, np.log(1.2))
    )
    for one, other in zip(right, wrong, strict=True):
        share = one.at * 50 / (one.at * 50 + 150)
        mean = 1 + (one.value - 1) / share  # of the signal's ratio alone
        assert other.value - one.value == pytest.approx(0.2 * share * mean)


def test_interference_may_leave_no_density() -> None:
    """With a negative multiplier R is not positive where the other processes are few; without expected events it has no meaning."""
    rates = Rates.build(Model({"mu": MU}, {"s": "mu", "i": "-mu**0.5"}, {}))
    ratios = {"s": np.array([0.0, 0.0, np.log(3.0), 0.0]), "i": np.log([1.0, 4.0, 1.0, 1.0])}
    found = mixture.normalisations(rates, {"s": 10.0, "i": 5.0}, ratios, np.ones(4), ("mu", (0.0, 1.0))).points
    assert [point.at for point in found] == [1.0]  # none is expected at 0
    assert found[0].negative == 0.25
