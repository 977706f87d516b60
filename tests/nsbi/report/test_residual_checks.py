"""Checks of residuals in units of the result: a shift counts where it is more than noise, and noise that would hide one has no power."""

from __future__ import annotations

from typing import Any

import pytest
from report_facts import PartialFacts

from needle_parsl.analysis import Diagnostics
from needle_parsl.nsbi.report.checks import residuals as checks
from needle_parsl.nsbi.statistics.results import LargestRatios, RatioTails, Residuals, ResidualShift


def shift(value: float | None, error: float | None, kind: Any = "closure", ratio: str = "signal") -> ResidualShift:
    return ResidualShift(ratio=ratio, kind=kind, column="x", at={"mu": 1.0}, shift=value, error=error)


def facts(found: Residuals | None) -> Any:
    subject = PartialFacts(poi="mu", thresholds=Diagnostics())
    return PartialFacts(subject=subject, inference=PartialFacts(residuals=found))


@pytest.mark.parametrize(
    ("value", "error", "state"),
    [
        (0.1, 0.001, None),
        (0.3, 0.02, "warning"),
        (-0.7, 0.02, "fail"),
        (0.7, 0.4, None),  # noise
        (0.7, 0.6, "no power"),
        (2.5, 0.6, "fail"),
        (0.3, 0.0, "warning"),
        (None, None, "no power"),
    ],
)
def test_state_of_a_shift(value: float | None, error: float | None, state: str | None) -> None:
    said = list(checks.look(facts(Residuals(parameter="mu", shifts=(shift(value, error),)))))
    assert [one[0] for one in said] == ([state] if state else [])


def test_the_largest_of_many_is_judged_as_such() -> None:
    one = shift(0.3, 0.1)
    assert list(checks.look(facts(Residuals(parameter="mu", shifts=(one,)))))
    many = (one, *(shift(0.0, 0.1, ratio=f"r{number}") for number in range(30)))
    assert not list(checks.look(facts(Residuals(parameter="mu", shifts=many))))


def test_the_worst_is_named_with_its_effect() -> None:
    found = Residuals(parameter="mu", shifts=(shift(0.3, 0.01), shift(-0.6, 0.01, "calibration")))
    ((state, sentence, effect),) = checks.look(facts(found))
    assert (state, effect) == ("fail", 0.6)
    assert (
        sentence
        == "The residual of signal in calibration in x moves mu by -0.6 ± 0.01 of its error, for data at mu = 1."
    )
    assert [one.kind for one in checks.shown(found)["signal"]] == ["closure", "calibration"]


def test_a_run_without_them_says_nothing() -> None:
    for found in (None, Residuals(parameter="mu")):
        assert not list(checks.look(facts(found)))
        assert not list(checks.tails(facts(found)))
        assert checks.good(facts(found)) == checks.good_tails(facts(found)) == ""


@pytest.mark.parametrize(
    ("weighted", "divided", "states"),
    [(False, False, []), (False, True, ["pass"]), (True, False, ["pass", "fail"])],
)
def test_tails_count_where_the_run_depends_on_their_means(weighted: bool, divided: bool, states: list[str]) -> None:
    own = RatioTails(
        reference=LargestRatios(events=0.0, mean=0.0, upper=0.01),
        numerator=LargestRatios(events=0.01, mean=0.1, upper=0.06),
    )
    found = Residuals(parameter="mu", tails={"signal": own}, weighted=weighted, divided=divided)
    assert [one[0] for one in checks.tails(facts(found))] == states
