"""Checks of ratios in units of the result: what their measured residuals do to the parameter of interest, and what their largest values hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from needle_parsl.nsbi.report.checks.states import UNLIKELY, Found, above, corrected
from needle_parsl.nsbi.report.checks.states import limits as _limits
from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.nsbi.statistics.results import LargestRatios, Residuals, ResidualShift

NAMES = {"normalisation": "normalisation", "closure": "closure in", "calibration": "calibration in"}
"""What kinds of residuals are called."""


def named(found: ResidualShift) -> str:
    """Name a residual."""
    return f"{NAMES[found.kind]} {found.column}".strip()


def by_ratio(found: Residuals) -> dict[str, list[ResidualShift]]:
    """Group the residuals whose effect is known."""
    names = dict.fromkeys(one.ratio for one in found.shifts)
    return {name: [one for one in found.shifts if one.ratio == name and one.shift is not None] for name in names}


def shown(found: Residuals) -> dict[str, list[ResidualShift]]:
    """Choose what the page shows of each ratio: of each kind the largest; the ratios with the largest stand first."""
    kept = {
        name: [max((one for one in own if one.kind == kind), key=_size) for kind in dict.fromkeys(s.kind for s in own)]
        for name, own in by_ratio(found).items()
        if own
    }
    return dict(sorted(kept.items(), key=lambda item: -max(_size(one) for one in item[1])))


def _size(found: ResidualShift) -> float:
    return abs(found.shift or 0.0)


def significant(found: ResidualShift, tests: int) -> bool:
    """Whether a shift is more than its error explains, as the largest of so many."""
    if not found.error:
        return bool(found.shift)
    p_value = math.erfc(_size(found) / found.error / math.sqrt(2))
    return corrected(p_value, tests) < UNLIKELY["warning"]


def look(facts: Facts) -> Found:
    """Judge of each ratio the largest shift that is more than noise."""
    found = facts.inference.residuals
    if found is None:
        return
    known = by_ratio(found)
    tests = sum(len(own) for own in known.values())
    for name, own in known.items():
        yield from _judged(name, own, tests, facts)


def _judged(name: str, own: Sequence[ResidualShift], tests: int, facts: Facts) -> Found:
    poi, limits = facts.subject.poi, _limits(facts.subject.thresholds.shift)
    seen = [one for one in own if significant(one, tests)]
    worst = max(seen, key=_size, default=None)
    state = "pass" if worst is None else above(_size(worst), limits)
    if worst is not None and state != "pass":
        yield state, _sentence(poi, worst), _size(worst)
        return
    noisy = max(own, key=lambda one: one.error or 0.0, default=None)
    if noisy is None:
        yield "no power", f"What the residuals of {name} do to {poi} is not known: the fit gives it no error."
    elif (noisy.error or 0.0) > limits["fail"]:
        yield (
            "no power",
            (
                f"The {named(noisy)} of {name} is known to ± {noisy.error:.2g} errors of {poi} only, and {limits['fail']:g} would be a failure; "
                "it needs more test events."
            ),
        )


def _sentence(poi: str, worst: ResidualShift) -> str:
    where = ", ".join(f"{name} = {value:.3g}" for name, value in worst.at.items())
    return f"The residual of {worst.ratio} in {named(worst)} moves {poi} by {worst.shift:+.2g} ± {worst.error:.1g} of its error, for data at {where}."


def good(facts: Facts) -> str:
    """Say what is right."""
    found = facts.inference.residuals
    if found is None or not found.shifts:
        return ""
    limit = facts.subject.thresholds.shift[0]
    return f"No measured residual of a ratio moves {found.parameter} by more than {limit:g} of its error."


def tails(facts: Facts) -> Found:
    """Judge the means that something is divided by or fitted to."""
    found = facts.inference.residuals
    if found is None:
        return
    for name, mean, own in _means(found):
        yield (
            above(own.upper, _limits(facts.subject.thresholds.tails)),
            (
                f"The 0.1 % of the events in which {mean} of {name} is largest hold {100 * own.upper:.2g} % of its mean, and those beyond 30 "
                f"{100 * own.mean:.2g} %: what is {_use(found)} is ruled by a few events, and its error is too small. Cut the tail by a "
                "selection, or give more events there."
            ),
        )


def _means(found: Residuals) -> Iterator[tuple[str, str, LargestRatios]]:
    """List the means that the run depends on."""
    if not (found.weighted or found.divided):
        return
    for name, own in found.tails.items():
        yield name, "r", own.reference
        if found.weighted and own.numerator is not None:
            yield name, "1/r", own.numerator


def _use(found: Residuals) -> str:
    return "fitted to it" if found.weighted else "divided by it"


def good_tails(facts: Facts) -> str:
    """Say what is right."""
    found = facts.inference.residuals
    return "No mean of a ratio is ruled by a few events." if found is not None and any(_means(found)) else ""
