"""The law of the networks' error, from networks whose noise, simulation and bias are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from needle_parsl.nsbi.statistics import precision
from needle_parsl.nsbi.statistics.results import ParameterScatter
from needle_parsl.precision import MeasuredVariance, PrecisionLaw

Floats = np.ndarray
FOLDS, MEMBERS, EVENTS, SHAPES = 5, 8, 300, 6
TRAINING, SIMULATION, FLOOR = 2e-5, 5e-4, 3e-4
LAW = PrecisionLaw(parameter="mu", sigma=0.2, members=MEMBERS, events=EVENTS, bagging=0.0, growth=1.0)


def functions(generator: np.random.Generator, weight: Floats) -> Floats:
    """Make functions of the events with E(f_i f_j) = 0 for i != j, and E(f^2) = 1 for their sum; shape (SHAPES, S)."""
    found = np.linalg.qr(generator.normal(size=(EVENTS, SHAPES)))[0].T
    made: Floats = found / np.sqrt(weight * SHAPES)
    return made


def measured(seed: int, exact: bool = True, bagging: float = 0.0) -> list[MeasuredVariance]:
    """Simulate K groups of events, networks without each of them, and members with noise of their own."""
    generator = np.random.default_rng([7, seed])
    weight = generator.uniform(0.5, 1.5, EVENTS)
    basis = functions(generator, weight)
    groups = generator.normal(0, np.sqrt(FOLDS * SIMULATION), (FOLDS, SHAPES))
    without = (groups.sum(axis=0) - groups) / (FOLDS - 1)
    single = FOLDS * (MEMBERS * TRAINING + bagging * SIMULATION)
    noise = generator.normal(0, np.sqrt(single), (FOLDS, MEMBERS, SHAPES))
    bias = np.sqrt(FLOOR) * basis[0] * np.sqrt(SHAPES)
    psi = (without[:, None] + noise) @ basis + bias
    found = []
    for size in precision.sizes(MEMBERS):
        each = np.stack([psi[:, cut].mean(axis=1) for cut in precision.groups(MEMBERS, size)], axis=1)
        found.append(precision.of_members(each, weight, size=size, members=MEMBERS, bagging=bagging))
    between = precision.of_folds(psi.mean(axis=1), weight, bagging / MEMBERS)
    single = between.relative_error * np.sqrt(FOLDS - 1)
    whole = psi.mean(axis=(0, 1))
    return [
        *found,
        between,
        *([precision.of_exact(whole, 0 * whole, weight, bagging=bagging / MEMBERS, relative=single)] if exact else []),
    ]


def fitted(seed: int) -> PrecisionLaw:
    return precision.fit_law(LAW, measured(seed), {})


def test_members_are_grouped_by_powers_of_two_up_to_half() -> None:
    assert [precision.sizes(members) for members in (1, 2, 3, 4, 8, 10)] == [[], [1], [1], [1, 2], [1, 2, 4], [1, 2, 4]]
    assert precision.pairs((), 4) == precision.pairs((7,) * 4, 4) == [(1, [[0], [1], [2], [3]]), (2, [[0, 1], [2, 3]])]
    # Members with other settings are not compared: those of a search take turns, those of a mixture stand one behind the other.
    assert precision.pairs((0, 1) * 2, 4) == [(1, [[0], [2], [1], [3]])]
    assert precision.pairs((0, 0, 0, 0, 1), 5) == [(1, [[0], [1], [2], [3]]), (2, [[0, 1], [2, 3]])]
    assert precision.pairs((0, 1, 2), 3) == []
    assert precision.pairs((0, 1, 0, 1), 3) == []  # one has failed, and nobody knows which
    assert [(cut.start, cut.stop) for cut in precision.groups(10, 2)] == [(0, 2), (2, 4), (4, 6), (6, 8)]


def test_terms_are_found_and_their_errors_cover() -> None:
    """400 replicas: means within their errors, and each interval of one error holds the truth about as often as it should."""
    laws = [fitted(seed) for seed in range(400)]
    for place, (name, truth) in enumerate((("training", TRAINING), ("simulation", SIMULATION), ("floor", FLOOR))):
        values = np.array([getattr(law, name) for law in laws])
        errors = np.array([law.covariance[place][place] for law in laws]) ** 0.5
        covered, exact = float((np.abs(values - truth) < errors).mean()), name == "floor"
        assert values.mean() == pytest.approx(truth, rel=0.5 if exact else 0.12), (
            name
        )  # one distance, cut at 0, tells the floor
        assert 0.58 < covered < (0.90 if exact else 0.80), (name, covered)
        assert errors.mean() == pytest.approx(values.std(), rel=0.35), name


def test_predictions_of_other_members_and_events_cover() -> None:
    truth = TRAINING / 4 + SIMULATION / 4
    found = np.array([fitted(seed).variance(4 * MEMBERS, 4 * EVENTS) for seed in range(400)])
    assert 0.58 < (np.abs(found[:, 0] - truth) < found[:, 1]).mean() < 0.80


def test_bootstraps_of_members_are_told_from_the_noise_of_training() -> None:
    """Bootstraps make up two fifths of the noise of a network here."""
    bagging = 1 / FOLDS
    laws = [
        precision.fit_law(replace(LAW, bagging=bagging), measured(seed, bagging=bagging), {}) for seed in range(200)
    ]
    assert np.mean([law.simulation for law in laws]) == pytest.approx(SIMULATION, rel=0.15)
    whole = TRAINING + SIMULATION * (1 + bagging / MEMBERS)
    assert np.mean([law.variance(MEMBERS, EVENTS)[0] for law in laws]) == pytest.approx(whole, rel=0.15)


def test_measurements_of_groups_are_independent_and_agree_with_the_law() -> None:
    laws = [fitted(seed) for seed in range(200)]
    assert {law.ndof for law in laws} == {2}
    assert np.mean([law.chi2 for law in laws]) == pytest.approx(2.0, abs=0.6)
    first, second = (np.array([law.points[place].variance for law in laws]) for place in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.25


def test_without_exact_densities_the_floor_is_not_known() -> None:
    found = precision.fit_law(LAW, measured(1, exact=False), {"floor": "no exact densities", "training": "never said"})
    assert found.floor is None
    assert found.unknown == {"floor": "no exact densities"}
    assert found.training is not None
    assert found.simulation is not None


def test_one_member_tells_nothing_apart() -> None:
    alone = [point for point in measured(1) if point.source == "folds"]
    found = precision.fit_law(LAW, alone, {"training": "one member"})
    assert (found.training, found.simulation, found.floor, found.known) == (None, None, None, False)
    assert found.unknown == {"training": "one member"}


def test_nothing_measured_is_nothing_known() -> None:
    assert not precision.fit_law(LAW, [], {}).known


def test_several_numbers_of_events_tell_the_floor() -> None:
    """Points of any kind may be fitted: here totals at other members and events, as of several runs."""
    rows = [(1.0, 1.0, 1.0), (4.0, 1.0, 1.0), (1.0, 4.0, 1.0), (1.0, 0.25, 1.0)]
    totals = [float(np.dot(row, (TRAINING, SIMULATION, FLOOR))) for row in rows]
    points = [MeasuredVariance(source="members", variance=v, relative_error=0.1, row=row) for v, row in zip(totals, rows, strict=True)]  # fmt: skip
    found = precision.fit_law(LAW, points, {})
    assert (found.training, found.simulation, found.floor) == pytest.approx((TRAINING, SIMULATION, FLOOR))


def test_replicas_tell_both_sources() -> None:
    generator = np.random.default_rng(3)
    repeated = generator.normal(1, np.sqrt(4 * TRAINING), 4000)
    resampled = generator.normal(1, np.sqrt(4 * TRAINING + SIMULATION + 1e-4), 4000)
    scatter = ParameterScatter(resampled=tuple(resampled), repeated=tuple(repeated), at_bound=0, failed=0)
    found = precision.fit_law(LAW, precision.of_replicas(scatter, MEMBERS, MEMBERS // 4, 1e-4), {})
    assert found.training == pytest.approx(TRAINING, rel=0.1)
    assert found.simulation == pytest.approx(SIMULATION, rel=0.15)
    few = ParameterScatter(resampled=(1.0,), repeated=(), at_bound=0, failed=0)
    assert precision.of_replicas(few, MEMBERS, MEMBERS, 0.0) == []


def test_weights_tell_the_simulation_alone() -> None:
    found = precision.fit_law(LAW, [precision.of_weights(SIMULATION)], {"training": "no replicas"})
    assert (found.training, found.simulation) == (None, pytest.approx(SIMULATION))
    assert found.unknown == {"training": "no replicas"}
