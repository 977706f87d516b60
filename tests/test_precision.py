"""Members and events that a wanted share needs: predictions of a law that is known, and their least cost."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from needle_parsl.precision import PrecisionLaw, needed

LAW = PrecisionLaw(
    parameter="mu",
    sigma=0.2,
    members=2,
    events=10_000,
    bagging=0.0,
    growth=0.4,
    training=1e-4,
    simulation=4e-4,
    floor=0.0,
    covariance=((1e-10, 0.0, 0.0), (0.0, 4e-10, 0.0), (0.0, 0.0, 0.0)),
)


def test_each_term_falls_with_what_it_falls_with() -> None:
    assert LAW.variance(2, 10_000) == (pytest.approx(5e-4), pytest.approx(5e-10**0.5))
    assert LAW.variance(8, 40_000) == (pytest.approx(1.25e-4), pytest.approx(5e-10**0.5 / 4))
    assert LAW.share(2, 10_000)[0] == pytest.approx((5e-4 / (5e-4 + 0.04)) ** 0.5)
    floored = replace(LAW, floor=1e-4)
    assert floored.variance(1e9, 1e12)[0] == pytest.approx(0.0, abs=1e-9)
    assert floored.variance(1e9, 1e12, floor=True)[0] == pytest.approx(1e-4, rel=1e-3)


def test_a_bootstrap_of_each_member_adds_to_the_noise_of_training() -> None:
    assert replace(LAW, bagging=1.0).variance(4, 10_000)[0] == pytest.approx(1e-4 / 2 + 4e-4 * (1 + 1 / 4))


@pytest.mark.parametrize("growth", [0.4, 1.0])
@pytest.mark.parametrize("bagging", [0.0, 0.2, 1.0])
def test_what_is_needed_is_enough_and_costs_least(growth: float, bagging: float) -> None:
    law = replace(LAW, growth=growth, bagging=bagging)
    found = needed(law, 0.03)
    assert found.members is not None
    assert found.events is not None
    assert law.share(found.members, found.events)[0] <= 0.03
    assert found.share == pytest.approx(0.03, rel=0.01)
    for members in range(2, 60):
        noise = law.variance(members, 1e15)[0]
        if (left := law.allowed(0.03) - noise) > 0:
            events = max(law.events, law.events * (law.variance(members, law.events)[0] - noise) / left)
            assert law.cost(members, events) >= 0.98 * law.cost(found.members, found.events)


def test_a_run_that_is_good_enough_keeps_its_events() -> None:
    found = needed(LAW, 0.3)
    assert (found.members, found.events, found.cost) == (2, 10_000, 1.0)


def test_a_floor_above_what_is_wanted_cannot_be_reached() -> None:
    found = needed(replace(LAW, floor=1e-3), 0.1)
    assert (found.members, found.events, found.cost) == (None, None, None)
    assert "a floor of 0.16" in found.reason
    unsure = replace(LAW, floor=1e-3, covariance=(*LAW.covariance[:2], (0.0, 0.0, 1e-6)))
    allowed = needed(unsure, 0.1)
    assert allowed.events is not None
    assert allowed.share is not None
    assert allowed.share_at_most is not None
    assert allowed.share <= 0.1 < allowed.share_at_most


def test_terms_that_are_not_known_count_as_nothing_and_change_nothing() -> None:
    alone = needed(replace(LAW, simulation=None, unknown={"simulation": "nobody knows"}), 0.01)
    assert (alone.members, alone.events) == (50, 10_000)
    events = needed(replace(LAW, training=None), 0.05)
    assert (events.members, events.events) == (2, 39_900)
    nothing = needed(replace(LAW, training=None, simulation=None, unknown={"training": "nobody knows"}), 0.05)
    assert (nothing.members, nothing.reason) == (None, "nobody knows")


def test_a_law_comes_back_from_its_file() -> None:
    assert PrecisionLaw.from_json(json.loads(json.dumps(LAW.to_json()))) == LAW
