"""Normalisation at the expected yields, against closed forms and against maximum likelihood by other means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from needle_parsl.analysis import Model, Parameter
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.estimators import offsets
from needle_parsl.nsbi.statistics.model.reference_yields import ReferenceYields

MEANS, YIELDS, EVENTS = np.array([0.0, 0.7, 1.5]), np.array([1000.0, 100.0, 30.0]), 20_000


def made(slope: float = 1.0, shifts: tuple[float, float, float] = (0.0, 0.0, 0.0), negative: float = 0.0) -> offsets.Labelled:  # fmt: skip
    """Draw three Gaussians; exact log ratios to the first are divided by the slope and shifted."""
    generator = np.random.default_rng(1)
    x = np.concatenate([generator.normal(mean, 1.0, EVENTS) for mean in MEANS])
    label = np.repeat(np.arange(3), EVENTS)
    sign = np.where(generator.random(len(x)) < negative, -1.0, 1.0)
    weight = sign * np.repeat(YIELDS / np.bincount(label, sign), EVENTS)
    exact = MEANS[:, None] * x - MEANS[:, None] ** 2 / 2
    return offsets.Labelled((exact - np.array(shifts)[:, None]) / slope, label, weight, np.arange(len(x), dtype=np.uint64))  # fmt: skip


@pytest.mark.parametrize("negative", [0.0, 0.15])
def test_yields_come_back_exactly_and_distortions_are_taken_away(negative: float) -> None:
    events = made(0.8, (0.0, 0.3, -0.2), negative)
    found = offsets.fit(events, [-1, 0, 0])
    expected = (events.weight * offsets.posterior(found(events.log_ratio), YIELDS)).sum(axis=1)
    assert expected == pytest.approx(YIELDS, rel=1e-7)
    assert found.slope[1] == pytest.approx(0.8, abs=4 * found.slope_error[1])
    assert found.offset[1:] == pytest.approx([0.3, -0.2], abs=4 * found.offset_error[1:].max())
    assert found.loss[1] < found.loss[0]


def test_fit_is_the_minimum_of_the_cross_entropy() -> None:
    events = made(1.3, (0.0, 0.1, 0.0))

    def loss(theta: np.ndarray) -> float:
        eta = np.log(YIELDS)[:, None] + np.array([1.0, theta[0], theta[0]])[:, None] * events.log_ratio
        eta = eta + np.array([0.0, *theta[1:]])[:, None]
        return float(-(events.weight @ log_softmax(eta, axis=0)[events.label, np.arange(len(events.label))]))

    other = minimize(
        loss, [1.0, 0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 2000}
    )
    found = offsets.fit(events, [-1, 0, 0])
    assert [found.slope[1], *found.offset[1:]] == pytest.approx(
        other.x, abs=1e-3
    )  # the prior of the slope is worth so little


def test_stated_errors_are_those_of_replicas() -> None:
    """Slope and offset scatter over simulations as the covariance says; 60 replicas know a spread to 9 %."""
    found = []
    for seed in range(60):
        generator = np.random.default_rng([7, seed])
        x = np.concatenate([generator.normal(mean, 1.0, 2000) for mean in (0.0, 1.0)])
        label, weight = np.repeat([0, 1], 2000), np.repeat([0.5, 0.05], 2000)
        ratio = np.array([np.zeros_like(x), x - 0.5])
        found.append(offsets.fit(offsets.Labelled(ratio, label, weight, np.arange(4000, dtype=np.uint64)), [-1, 0]))
    for values, errors in (([f.slope[1] for f in found], [f.slope_error[1] for f in found]), ([f.offset[1] for f in found], [f.offset_error[1] for f in found])):  # fmt: skip
        assert np.std(values, ddof=1) / np.mean(errors) == pytest.approx(1.0, abs=4 * 0.09)


def test_one_event_in_a_tail_does_not_rule_the_offset() -> None:
    """E_ref[r] = 1 would move by the whole of it."""
    events = made()
    events.log_ratio[1, 0] = 40.0  # of the reference
    moved = offsets.fit(events, [-1, 0, 0]).offset[1] - offsets.fit(made(), [-1, 0, 0]).offset[1]
    reference = np.log(np.average(np.exp(events.log_ratio[1, :EVENTS])))
    assert abs(moved) < 0.02
    assert reference > 10


def test_reference_of_several_classes_stays_normalised() -> None:
    shares = np.array([3.0, 1.0, 0.0])
    shifted = offsets.gauge(np.array([0.2, -0.3, 0.1]), shares)
    assert np.average(np.exp(shifted), weights=shares) == pytest.approx(1.0)
    assert np.diff(shifted) == pytest.approx([-0.5, 0.4])


def test_centre_gives_a_mean_of_one_and_refuses_what_has_none() -> None:
    generator = np.random.default_rng(2)
    response, weight = generator.normal(size=1000), generator.random(1000)
    offset = offsets.centre(response, weight)
    assert np.average(np.exp(response + offset), weights=weight) == pytest.approx(1.0)
    with pytest.raises(TaskError, match="not positive"):
        offsets.centre(np.array([0.0, 5.0]), np.array([2.0, -1.0]))


def test_no_number_and_no_weight_are_said() -> None:
    events = made()
    events.log_ratio[2, 5] = np.nan
    with pytest.raises(TaskError, match="no number for 1 of 60000"):
        offsets.fit(events, [-1, 0, 0])
    with pytest.raises(TaskError, match="add up to 0 or less"):
        offsets.fit(offsets.Labelled(made().log_ratio, made().label, -made().weight, made().id), [-1, 0, 0])


def test_priors_are_nominal_yields_unless_a_process_vanishes_there() -> None:
    mu = {"mu": Parameter(1.0, (0.0, 4.0))}
    plain = ReferenceYields.of(Model(mu, {"signal": "mu", "background": "1"}, {}))
    assert plain.multipliers.tolist() == [1.0, 1.0]
    assert plain.points == ({"mu": 1.0},)
    mixed = ReferenceYields.of(Model(mu, {"s": "mu - sqrt(mu)", "sbi": "sqrt(mu)", "b": "1 - sqrt(mu)"}, {}))
    assert (mixed.multipliers > 0).all()
    values = np.array([1.0, 0.0, 2.0, 3.0, 4.0])
    assert mixed.multipliers == pytest.approx([np.abs(values - values**0.5).mean(), (values**0.5).mean(), np.abs(1 - values**0.5).mean()])  # fmt: skip
    assert [point["mu"] for point in mixed.points] == values.tolist()


def test_one_class_alone_is_the_reference() -> None:
    """There is nothing to fit."""
    events = offsets.Labelled(np.zeros((1, 5)), np.zeros(5, dtype=np.int64), np.ones(5), np.arange(5, dtype=np.uint64))
    found = offsets.fit(events, [-1])
    assert (found.slope.tolist(), found.offset.tolist(), found.offset_error.tolist()) == ([1.0], [0.0], [0.0])
