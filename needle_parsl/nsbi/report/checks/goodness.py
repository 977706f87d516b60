"""Checks of data against the model after the fit: events of unbinned regions by toys, and regions that are fitted to nothing."""

from __future__ import annotations

from needle_parsl.nsbi.report.checks.states import Found, below, corrected
from needle_parsl.nsbi.report.gathering import Facts

LIKELY = {"warning": 1e-2, "fail": 1e-3}
"""p-values, corrected for the number of comparisons."""


def compared(facts: Facts) -> Found:
    """Look at the events of each unbinned region."""
    found = facts.inference.goodness
    if found is None:
        return
    if not found.regions:
        yield "no power", f"The events were not compared with the model by toys: {found.reason}."
    for name, own in found.regions.items():
        p_value, worst = corrected(own.p_value, len(found.regions)), own.worst
        where = f" of the region {name}" if len(found.regions) > 1 else ""
        yield (
            below(p_value, LIKELY),
            (
                f"The model does not describe the shape of the events{where}: p = {p_value:.2g} by {found.toys} toys as the worst of "
                f"{len(own.comparisons)} statistics, which is that of {worst.name} ({worst.value:.3g}, toys {worst.mean:.3g} ± {worst.deviation:.2g})."
            ),
        )


def good_comparison(facts: Facts) -> str:
    """Say that all is well."""
    found = facts.inference.goodness
    if found is None or not found.regions:
        return ""
    least = min(corrected(own.p_value, len(found.regions)) for own in found.regions.values())
    return f"A classifier, scores and features tell the events from those of the model no better than in toys (p = {least:.2g})."


def validated(facts: Facts) -> Found:
    """Look at the regions that are fitted to nothing."""
    found = facts.inference.validation
    tested = found.tested() if found else {}
    if not found or not tested:
        return
    name, worst = min(tested.items(), key=lambda item: item[1].p_value)
    p_value, when = corrected(worst.p_value, len(tested)), "after" if found.judged == "postfit" else "before"
    yield (
        below(p_value, LIKELY),
        (
            f"The validation region {name} is not described by the model {when} the fit: chi-squared {worst.deviance:.1f} in {worst.ndf} bins, "
            f"p = {p_value:.2g} as the worst of {len(tested)} regions."
        ),
    )


def good_validation(facts: Facts) -> str:
    """Say that all is well."""
    found = facts.inference.validation
    number = len(found.tested()) if found else 0
    return f"The model describes {number} validation region{'s' if number > 1 else ''}." if number else ""
