"""Whether data lie where there is simulation: outside, no ratio was trained and no density is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

UNLIKELY = 1e-3
"""Probability, over all features, of as many events beyond the extremes if data and simulation are alike."""


def outside(data: npt.NDArray[np.float32], simulation: npt.NDArray[np.float32], names: Sequence[str]) -> list[str]:
    """Say of which features more events lie outside the simulated range than the finite simulation explains.

    If both are alike, the k largest of all N + M values are of the data with a probability of C(N, k) / C(N + M, k).

    Args:
        data: Features, shape (N, F).
        simulation: Features of all simulated events, shape (M, F).
        names: Of the features.
    """
    low, high = np.nanmin(simulation, axis=0), np.nanmax(simulation, axis=0)
    sides = np.array([(data < low).sum(axis=0), (data > high).sum(axis=0)])
    limit = np.log(UNLIKELY / sides.size)
    return [
        f"{sides[:, f].sum()} of {len(data)} observed events have {names[f]} outside {low[f]:g} to {high[f]:g}, where nothing "
        "was simulated and no ratio is known; narrow the selection, or simulate there"
        for f in map(int, np.flatnonzero((_log_chance(sides, len(data), len(simulation)) < limit).any(axis=0)))
    ]


def explained(beyond: npt.NDArray[np.intp], data: int, simulation: int) -> bool:
    """Whether the ends of a finite simulation explain as many observed events beyond them, see `outside`.

    Args:
        beyond: Events outside, shape (F,).
        data: N.
        simulation: M.
    """
    return bool((_log_chance(beyond, data, simulation) > np.log(UNLIKELY / (2 * len(beyond)))).all())


def _log_chance(beyond: npt.NDArray[np.intp], data: int, simulation: int) -> npt.NDArray[np.float64]:
    """Give ln C(N, k) / C(N + M, k)."""
    whole = data + simulation
    found: npt.NDArray[np.float64] = (
        gammaln(data + 1) - gammaln(data - beyond + 1) - gammaln(whole + 1) + gammaln(whole - beyond + 1)
    )
    return found
