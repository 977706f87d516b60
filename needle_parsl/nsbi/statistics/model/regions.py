"""Binned regions: what is expected and observed in their bins."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from needle_parsl.errors import InputError
from needle_parsl.nsbi.statistics.model.builder import Counts
from needle_parsl.nsbi.statistics.results import RegionCounts

Floats = npt.NDArray[np.float64]
Histogram = tuple[Floats, Floats]
"""Sums of weights and of their squares, each of shape (B,)."""


def histogram(values: npt.NDArray[np.floating[Any]], weight: Floats, edges: Sequence[float]) -> Histogram:
    """Add up weights by bin; the last bin holds its upper edge.

    Args:
        values: Shape (N,).
        weight: Shape (N,).
        edges: Ascending, shape (B + 1,).
    """
    sums, squares = (np.histogram(values, edges, weights=w)[0] for w in (weight, weight**2))
    return sums.astype(np.float64), squares.astype(np.float64)


def count(
    region: str,
    edges: Sequence[float],
    expected: Mapping[str, Histogram],
    observed: Histogram | None,
    overlap: Mapping[str, Mapping[str, int]],
) -> RegionCounts:
    """Judge the counts of a region.

    Args:
        region: Its name.
        edges: Of the bins.
        expected: By process and varied process.
        observed: None where data may not be looked at.
        overlap: Events of each process that are fitted elsewhere, too, by the place.

    Raises:
        InputError: The region is empty, shares events with the unbinned fit or another region, or a bin has a negative expectation.
    """
    key = f"model.regions.{region}"
    if not any(sums.any() for sums, _ in expected.values()):
        raise InputError(f"{key}: no simulated event is in its bins; change its selection or its binning")
    for process, where, shared in ((p, where, n) for p, own in overlap.items() for where, n in own.items()):
        if shared:
            raise InputError(
                f"{key}.selection: {shared} events of {process} are in this region and in {where}, and would "
                "count twice; make the selections exclude each other"
            )
    for name, (sums, _) in expected.items():
        if (sums < 0).any():
            place = int(np.argmin(sums))
            raise InputError(
                f"{key}.binning: {name} has the negative expectation {sums[place]:.3g} between {edges[place]:g} and "
                f"{edges[place + 1]:g}, from negative weights; merge bins"
            )
    _simulated(key, edges, expected, observed)
    return RegionCounts(
        region,
        tuple(edges),
        {name: sums.tolist() for name, (sums, _) in expected.items()},
        {name: np.sqrt(squares).tolist() for name, (_, squares) in expected.items()},
        None if observed is None else observed[0].tolist(),
    )


def _simulated(key: str, edges: Sequence[float], expected: Mapping[str, Histogram], observed: Histogram | None) -> None:
    """Refuse bins with data where nothing was simulated: no model can expect what was seen there."""
    nothing = np.all([sums <= 0 for name, (sums, _) in expected.items() if "." not in name], axis=0)
    filled = np.flatnonzero(nothing & (observed[0] > 0)) if observed is not None else np.empty(0)
    if observed is not None and len(filled):
        place = int(filled[0])
        raise InputError(
            f"{key}.binning: {observed[0][place]:g} observed events are between {edges[place]:g} and {edges[place + 1]:g}, where no "
            "process has a simulated one; merge bins, or simulate there"
        )


def yields(regions: Sequence[RegionCounts]) -> dict[str, float]:
    """Add up what is expected in some regions, by process and varied process."""
    names = dict.fromkeys(name for region in regions for name in region.expected)
    return {name: float(sum(sum(region.expected[name]) for region in regions)) for name in names}


def counts(
    region: RegionCounts,
    *,
    observed: bool,
    staterror: bool | str = True,
    own: Collection[str] = (),
    threshold: float = 0.0,
) -> Counts:
    """Give the counts of a region to a likelihood.

    Args:
        region: Its counts.
        observed: Whether what was observed is wanted; else it is what the nominal parameters expect.
        staterror: Whether the statistics of the simulation is part of the fit; `per_process` gives each process factors of its own.
        own: Processes that have factors of their own, whatever `staterror` says.
        threshold: Share of a bin below which an error from the simulation is left out.
    """
    expected = {name: np.array(sums) for name, sums in region.expected.items()}
    seen = np.array(region.observed) if observed and region.observed is not None else None
    alone = tuple(name for name in region.errors if staterror == "per_process" or name in own)
    errors = {name: np.array(error) for name, error in region.errors.items() if staterror or name in alone}
    return Counts(region.region, expected, seen, errors, alone, threshold)
