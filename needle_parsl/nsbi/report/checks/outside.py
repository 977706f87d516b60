"""The check of observed events where nothing was simulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from needle_parsl.nsbi.statistics.fits import distributions

if TYPE_CHECKING:
    from needle_parsl.nsbi.report.gathering import Facts
    from needle_parsl.nsbi.statistics.results import FittedParameter, OutsideEvents
    from needle_parsl.summary import State

MATTERS = 0.1
"""Shift of a parameter, in its errors, that makes the check fail."""
RARE = 1e-3
"""Share of the events that is no reason to worry, as long as no parameter moves."""
NEAR = 0.5
"""How far from the simulated range, in its widths, an event may lie that the finite simulation explains."""


def look(facts: Facts) -> Iterator[tuple[State, str]]:
    """Judge the share of such events, and what they do to the parameters."""
    for name, fit in facts.inference.fits.items():
        if (found := fit.outside) and found.events:
            moved = _moved(found.shift, fit.parameters)
            far = any(size > MATTERS for size, _ in moved)
            expected = _near(found) and _few(found, len(facts.dataset.x))
            state: State = "fail" if far else "warning" if found.share > RARE else "pass"
            yield (
                ("warning" if far else "pass") if expected else state,
                _sentence(name, found, [text for _, text in moved[:3]]),
            )


def _few(found: OutsideEvents, simulated: int) -> bool:
    """Whether a finite simulation explains their number: the next event of a distribution is sometimes its largest."""
    counts = np.array([feature.events for feature in found.features.values()])
    return distributions.explained(counts, round(found.events / found.share), simulated)


def _near(found: OutsideEvents) -> bool:
    """Whether they lie close to the simulated range."""
    return all(
        feature.low - reach <= event.values[name] <= feature.high + reach
        for event in found.first
        for name, feature in found.features.items()
        if name in event.values
        for reach in (NEAR * (feature.high - feature.low),)
    )


def _moved(shift: Mapping[str, float], parameters: Mapping[str, FittedParameter]) -> list[tuple[float, str]]:
    """List how far parameters move without the events, in their errors, the farthest first."""
    errors = {name: error for name in shift if (error := parameters[name].error)}
    sizes = [
        (abs(shift[name]) / error, f"{name} by {shift[name]:+.3g} ({abs(shift[name]) / error:.2g} of its error)")
        for name, error in errors.items()
    ]
    return sorted(sizes, reverse=True)


def _sentence(name: str, found: OutsideEvents, moved: list[str]) -> str:
    features = ", ".join(
        f"{feature.events} in {column} (simulated: {feature.low:g} to {feature.high:g})"
        for column, feature in found.features.items()
    )
    first = ", ".join(str(event.row) for event in found.first)
    effect = f"; without them the fit '{name}' moves {' and '.join(moved)}" if moved else ""
    return (
        f"{_events(found.events)} ({100 * found.share:.2g} %) where nothing was simulated: {features}; rows {first}{effect}. "
        "No ratio is known there: select such events away, or simulate there."
    )


def good(facts: Facts) -> str:
    """Say what was looked at."""
    looked = [fit.outside.events for fit in facts.inference.fits.values() if fit.outside]
    if not any(looked):
        return "The observed events lie within the range of the simulated ones in every feature." if looked else ""
    return f"{_events(max(looked))} beyond the simulated ones, no more than the ends of a finite simulation explain."


def _events(count: int) -> str:
    return "1 observed event lies" if count == 1 else f"{count} observed events lie"
