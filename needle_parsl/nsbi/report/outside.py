"""The check of observed events where nothing was simulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from needle_parsl.nsbi.report.gathering import Facts
    from needle_parsl.nsbi.report.states import State

MATTERS = 0.1
"""Shift of a parameter, in its errors, that makes the check fail."""
RARE = 1e-3
"""Share of the events that is no more than the ends of a finite simulation explain, as long as no parameter moves."""


def look(facts: Facts) -> Iterator[tuple[State, str]]:
    """Judge the share of such events, and what they do to the parameters."""
    for name, fit in facts.inference.fits.items():
        if (found := fit.get("outside")) and found["events"]:
            moved = _moved(found["shift"], fit["parameters"])
            far = [text for size, text in moved if size > MATTERS]
            yield (
                "fail" if far else "warning" if found["share"] > RARE else "pass",
                _sentence(name, found, [text for _, text in moved[:3]]),
            )


def _moved(shift: Mapping[str, float], parameters: Mapping[str, Any]) -> list[tuple[float, str]]:
    """List how far parameters move without the events, in their errors, the farthest first."""
    errors = {name: parameters[name]["error"] for name in shift if parameters[name]["error"]}
    sizes = [
        (abs(shift[name]) / error, f"{name} by {shift[name]:+.3g} ({abs(shift[name]) / error:.2g} of its error)")
        for name, error in errors.items()
    ]
    return sorted(sizes, reverse=True)


def _sentence(name: str, found: Mapping[str, Any], moved: list[str]) -> str:
    features = ", ".join(
        f"{f['events']} in {feature} (simulated: {f['low']:g} to {f['high']:g})"
        for feature, f in found["features"].items()
    )
    first = ", ".join(str(event["row"]) for event in found["first"])
    effect = f"; without them the fit '{name}' moves {' and '.join(moved)}" if moved else ""
    return (
        f"{found['events']} observed events ({100 * found['share']:.2g} %) lie where nothing was simulated: {features}; rows {first}{effect}. "
        "No ratio is known there: select such events away, or simulate there."
    )


def good(facts: Facts) -> str:
    """Say what was looked at."""
    looked = any("outside" in fit for fit in facts.inference.fits.values())
    return "The observed events lie within the range of the simulated ones in every feature." if looked else ""
