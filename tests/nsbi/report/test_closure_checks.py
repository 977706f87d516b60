"""Lights and figures of what is injected, of halves, toys, slopes and offsets: every state, and numbers that are missing."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from problems.closure import ERROR, FINITE, GOOD

from needle_parsl.nsbi.report.checks import closure as closure_checks
from needle_parsl.nsbi.report.checks import closure_numbers
from needle_parsl.nsbi.report.figures import closure as figures
from needle_parsl.nsbi.statistics.results import FitResult, InjectionTests


def facts(closure: Any = GOOD, networks: float | None = 0.02) -> Any:
    """What the report has gathered, as far as closure needs it."""
    mu = {"error": ERROR, "simulation_error": FINITE, "ensemble_error": networks}
    fits = {"asimov": FitResult.from_json({"parameters": {"mu": mu, "jes": {"error": 0.5}}})}
    tests = None if closure is None else InjectionTests.from_json(closure)
    return SimpleNamespace(inference=SimpleNamespace(closure=tests, fits=fits), subject=SimpleNamespace(poi="mu"))


def changed(path: str, value: Any, given: Any = GOOD) -> Any:
    """The good facts with something in another way."""
    return facts(planted(path, value, given))


def planted(path: str, value: Any, given: Any = GOOD) -> Any:
    closure = copy.deepcopy(given)
    *before, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    table: Any = closure
    for key in before:
        table = table[key]
    table[last] = value
    return closure


def worst(subject: str, found: Any) -> str:
    """The state of a check."""
    order = ("pass", "no power", "warning", "fail")
    return max((colour for colour, _ in closure_checks.CHECKS[subject][0](found)), key=order.index, default="pass")


def test_good_runs_pass_with_their_numbers() -> None:
    for subject, (_, good) in closure_checks.CHECKS.items():
        assert worst(subject, facts()) == "pass", subject
        assert any(character.isdigit() for character in good(facts())), subject


SCALE = "normalisation/@processes/ratios/signal"


@pytest.mark.parametrize(
    ("subject", "path", "value", "colour"),
    [
        ("slopes", f"{SCALE}/slope", 0.93, "warning"),
        ("slopes", f"{SCALE}/slope", 1.2, "fail"),
        ("slopes", f"{SCALE}/slope", float("nan"), "fail"),
        ("offsets", f"{SCALE}/offset", -0.15, "warning"),
        ("offsets", f"{SCALE}/offset", 0.4, "fail"),
        ("offsets", "normalisation/@background/ratios/background.jes.up/offset", None, "fail"),
        ("information", "normalisation/@processes/cross_entropy", [0.215, 0.2], "warning"),
        ("information", "normalisation/@processes/cross_entropy", [0.25, 0.2], "fail"),
        ("information", "normalisation/@processes/cross_entropy", [0.4, 0.3], "fail"),
        ("information", "normalisation/@processes/cross_entropy", [None, 0.2], "fail"),
        ("variations", "variations/0/parameters/1/value", 0.7, "warning"),  # jes by 0.6 of its error
        ("variations", "variations/0/parameters/1/value", 0.02, "fail"),
        ("variations", "variations/0/parameters/0/value", 1.1, "warning"),  # mu, though only jes was injected
        ("variations", "variations/1/converged", False, "fail"),
        ("variations", "variations/1/parameters/0/value", float("nan"), "fail"),
        ("signals", "signals/0/parameters/0/value", 0.1, "warning"),  # in errors of the Asimov fit
        ("signals", "signals/1/parameters/0/value", 1.5, "fail"),
        ("halves", "halves/1/parameters/0/value", 1.1, "warning"),  # the mean is off, each half is not
        ("halves", "halves/1/parameters/0/value", 1.5, "fail"),
        ("halves", "halves/0/converged", False, "fail"),
        ("scatter", "toys/spread", 0.26, "warning"),
        ("scatter", "toys/spread", 0.5, "fail"),
        ("scatter", "toys/spread", 0.05, "fail"),
        ("scatter", "toys/error", None, "fail"),
        ("scatter", "toys", {"toys": 0, "reason": "weights are negative"}, "no power"),
    ],
)
def test_every_state_is_reached(subject: str, path: str, value: Any, colour: str) -> None:
    assert worst(subject, changed(path, value)) == colour
    others = set(closure_checks.CHECKS) - {subject}
    assert {worst(other, changed(path, value)) for other in others} == {"pass"}


def test_a_slope_within_two_errors_of_one_is_no_weakness() -> None:
    found = planted(f"{SCALE}/slope", 0.8)
    assert worst("slopes", facts(found)) == "fail"
    assert worst("slopes", changed(f"{SCALE}/slope_error", 0.11, found)) == "pass"


def test_a_slope_that_processes_share_is_said_once() -> None:
    found = planted(f"{SCALE}/slope", 0.8)
    found = changed(
        "normalisation/@processes/ratios/other", found["normalisation"]["@processes"]["ratios"]["signal"], found
    )
    assert [colour for colour, _ in closure_checks.CHECKS["slopes"][0](found)].count("fail") == 1


def test_halves_that_scatter_in_opposite_ways_are_what_finite_simulation_does() -> None:
    """Each 1.5 errors off, where simulation and error allow 1.08: a warning for the halves, none for their mean."""
    found = changed("halves/1/parameters/0/value", 0.7, planted("halves/0/parameters/0/value", 1.3))
    (warned,) = {sentence.split(",")[0] for colour, sentence in closure_checks.CHECKS["halves"][0](found) if colour != "pass"} - {
        "Normalised on half 1 of the simulated events and fitted on the other"
    }  # fmt: skip
    assert warned == "Normalised on half 2 of the simulated events and fitted on the other"
    assert worst("halves", found) == "warning"
    assert [one.pull for one in closure_numbers.means(found)] == pytest.approx([0, 0])
    assert closure_numbers.expected(found, closure_numbers.means(found)[0]) == pytest.approx(
        np.hypot(ERROR, 2 * FINITE)
    )


@pytest.mark.parametrize(
    "closure", [None, {"yields": {}, "normalisation": {}, "variations": [], "signals": [], "halves": [], "toys": None}]
)
def test_without_numbers_there_is_nothing_to_say(closure: Any) -> None:
    for subject, (_, good) in closure_checks.CHECKS.items():
        assert worst(subject, facts(closure)) == "pass"
        assert good(facts(closure)) == ""
    assert not any(shown(facts(closure)) for _, _, _, shown in figures.FIGURES.values())


def test_networks_that_matter_are_said() -> None:
    assert [colour for colour, _ in closure_checks.networks(facts(networks=0.02))] == ["pass"]
    assert [colour for colour, _ in closure_checks.networks(facts(networks=0.15))] == ["warning"]
    assert [colour for colour, _ in closure_checks.networks(facts(networks=0.3))] == ["fail"]
    assert list(closure_checks.networks(facts(networks=None))) == []


def test_points_of_interference_are_named() -> None:
    assert closure_numbers.points(facts()) == "those of the nominal parameters, mu = 1."
    several = closure_numbers.points(changed("points", [{"mu": 0.0}, {"mu": 2.5}]))
    assert "2 points" in several
    assert "mu = 0; mu = 2.5" in several


def test_entropy_is_that_of_the_yields() -> None:
    """Of 100 and 900 events, minus the cross-entropy; of three variations, which weigh the same."""
    found = closure_numbers.information(facts())
    entropy = -(0.1 * np.log(0.1) + 0.9 * np.log(0.9))
    assert found["@processes"] == pytest.approx((entropy - 0.2005, entropy - 0.2))
    assert found["@background"] == pytest.approx((np.log(3) - 1.0985, np.log(3) - 1.098))


NULL = [
    ("halves/0/parameters/0/error", None),
    ("halves/0/parameters/1/value", None),
    ("signals/1/parameters/0/value", None),
    ("variations/0/parameters/1/error", None),
    (f"{SCALE}/slope", None),
    ("normalisation/@processes/cross_entropy", [None, None]),
]


@pytest.mark.parametrize("found", [facts(), *(changed(path, value) for path, value in NULL)])
def test_figures_are_drawn_and_none_raises(found: Any) -> None:
    pytest.importorskip("matplotlib")
    for section, caption, draw, shown in figures.FIGURES.values():
        assert shown(found)
        figure = draw(found)
        figure.draw_without_rendering()
        assert section == "closure"
        assert caption.endswith(".")


def test_pulls_stand_where_they_are() -> None:
    pytest.importorskip("matplotlib")
    (axes,) = figures.variations(facts()).axes
    drawn = sorted(float(line.get_xdata()[0]) for line in axes.lines if len(line.get_xdata()) == 1)
    assert drawn == pytest.approx([-0.1, -0.1, -0.1, 0.1])
    upper, lower = figures.signals(facts()).axes
    assert lower.lines[0].get_ydata() == pytest.approx([0, 0.12])
    assert upper.get_ylabel() == "best mu"
