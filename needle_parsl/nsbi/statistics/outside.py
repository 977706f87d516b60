"""Observed events where nothing was simulated: how many, which, and what they do to the parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.statistics.results import OutsideEvent, OutsideEvents, OutsideFeature

SHOWN = 10
"""Events that are named."""
LARGEST = 600.0
"""ln r beyond which exp(ln r) is no number that can be added up; no ratio of densities that was learned is there."""


def beyond(data: npt.NDArray[np.float32], simulation: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Say which features of which events, shape (N, F), lie outside the range of all simulated events (M, F)."""
    found: npt.NDArray[np.bool_] = (data < np.nanmin(simulation, axis=0)) | (data > np.nanmax(simulation, axis=0))
    return found


def count(
    data: npt.NDArray[np.float32],
    simulation: npt.NDArray[np.float32],
    names: Sequence[str],
    fitted: Callable[[npt.NDArray[np.bool_]], Mapping[str, float]],
    best: Mapping[str, float],
) -> OutsideEvents:
    """Count the events outside, and fit the others alone.

    Args:
        data: Features of observed events, shape (N, F).
        simulation: Those of all simulated events, shape (M, F).
        names: Of the features.
        fitted: Fits the events of a mask, shape (N,); gives the parameters by name.
        best: The parameters as all events have them.
    """
    places = beyond(data, simulation)
    out: npt.NDArray[np.bool_] = np.asarray(places.any(axis=1))
    low, high = np.nanmin(simulation, axis=0), np.nanmax(simulation, axis=0)
    features = {
        names[f]: OutsideFeature(int(places[:, f].sum()), float(low[f]), float(high[f]))
        for f in map(int, np.flatnonzero(places.any(axis=0)))
    }
    rows = map(int, np.flatnonzero(out)[:SHOWN])
    shown = tuple(
        OutsideEvent(row, {names[f]: float(data[row, f]) for f in map(int, np.flatnonzero(places[row]))})
        for row in rows
    )
    without = fitted(~out) if out.any() and not out.all() else {}
    shift = {name: value - best[name] for name, value in without.items() if np.isfinite(value)}
    return OutsideEvents(int(out.sum()), float(out.mean()) if len(out) else 0.0, features, shown, shift)


def joined(regions: Sequence[OutsideEvents]) -> OutsideEvents:
    """Add up what lies outside in each region; shifts of the parameters add up, too, as long as they are small."""
    if len(regions) == 1:
        return regions[0]
    observed = sum(own.events / own.share for own in regions if own.share)
    names = dict.fromkeys(name for own in regions for name in own.shift)
    events = sum(own.events for own in regions)
    return OutsideEvents(
        events,
        events / observed if observed else 0.0,
        {name: feature for own in regions for name, feature in own.features.items()},
        tuple(event for own in regions for event in own.first)[:SHOWN],
        {name: sum(own.shift.get(name, 0.0) for own in regions) for name in names},
    )


def insist(
    ratios: Mapping[str, npt.NDArray[np.floating[Any]]], x: npt.NDArray[np.float32], names: Sequence[str], what: str
) -> None:
    """Refuse log ratios that are no numbers, or that nobody can exponentiate, before they reach a fit.

    Args:
        ratios: ln r of each event, shape (N,), by ratio.
        x: The features, shape (N, F).
        names: Of the features.
        what: Which events they are, for the message.

    Raises:
        TaskError: There are such; the first is named with its features.
    """
    for ratio, values in ratios.items():
        bad = np.flatnonzero(~(values <= LARGEST))
        if len(bad):
            row = int(bad[0])
            features = ", ".join(f"{name} = {value:g}" for name, value in zip(names, x[row], strict=False))
            raise TaskError(
                f"ln r of {ratio} is {values[row]:.3g} for {len(bad)} of {len(values)} events of {what}, first for event {row} ({features}); "
                "such an event is outside of what the networks know: select it away, or simulate there"
            )
