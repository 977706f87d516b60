"""Where has the reference too few events for a ratio to be learned?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BINS = 50
"""Of ln r, with equal numbers of events of the numerator."""
LEAST = 10.0
"""Effective events of the reference below which a region is sparse."""


@dataclass(frozen=True)
class Sparse:
    """The bins of ln r with fewest events of the reference, as many as have fewer than 10 effective events all together.

    That none of them has 10 would say as much of the width of the bins as of the ratio.
    """

    edges: Floats
    """Between the bins, shape (B - 1,)."""
    bins: npt.NDArray[np.bool_]
    """Which are sparse, shape (B,)."""
    share: float
    """Of the numerator."""
    effective: float
    """Events of the reference."""

    @staticmethod
    def of(above: Floats, below: Floats, target: Floats, reference: Floats) -> Sparse:
        """Look for them.

        Args:
            above: ln r of the numerator, shape (N,).
            below: ln r of the reference, shape (R,).
            target: Weights of the numerator.
            reference: Weights of the reference.
        """
        edges = np.quantile(above, np.linspace(0, 1, BINS + 1)[1:-1])
        place, other = np.searchsorted(edges, above), np.searchsorted(edges, below)
        sums = np.array([np.bincount(other, w, BINS) for w in (reference, reference**2)])
        order = np.argsort(_effective(sums), kind="stable")
        together = _effective(np.cumsum(sums[:, order], axis=1))
        few = np.minimum.accumulate(together < LEAST)
        bins = np.zeros(BINS, np.bool_)
        bins[order[few]] = True
        share = np.bincount(place, target, BINS)[bins].sum() / target.sum()
        return Sparse(edges, bins, float(share), float(together[few][-1]) if few.any() else 0.0)

    def holds(self, log_ratio: Floats) -> npt.NDArray[np.bool_]:
        """Say which events are there, shape (N,)."""
        return self.bins[np.searchsorted(self.edges, log_ratio)]


def _effective(sums: Floats) -> Floats:
    """Give effective events from sums of weights and of their squares, shape (2, B)."""
    total, squares = sums
    found: Floats = np.divide(total**2, squares, out=np.zeros(len(total)), where=squares > 0)
    return found
