"""Weighted quantiles of a column, from which transforms are fitted: |w|, so that negative weights do no harm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
ATOM = 0.1
"""Share of the events from which on a value that repeats is left out of the middle quantiles."""


@dataclass(frozen=True)
class Sorted:
    """Values of a column in their order."""

    values: Floats
    """Shape (N,)."""
    weight: Floats
    """Shape (N,), not negative."""

    @staticmethod
    def of(values: Floats, weight: Floats) -> Sorted:
        """Sort values; events without weight count for nothing, unless none has any."""
        size = np.abs(weight)
        if not size.any():
            size = np.ones(len(values))
        counted = np.flatnonzero(size > 0)
        order = counted[np.argsort(values[counted], kind="stable")]
        return Sorted(values[order], size[order])

    def quantiles(self, p: npt.ArrayLike) -> Floats:
        """Give the values below which a share p of the weight is."""
        middle = np.cumsum(self.weight) - self.weight / 2
        found: Floats = np.interp(np.asarray(p) * self.weight.sum(), middle, self.values)
        return found

    def runs(self) -> tuple[Floats, Floats]:
        """Give the distinct values, and the share of the weight that each has."""
        first = np.flatnonzero(np.concatenate([[True], self.values[1:] != self.values[:-1]]))
        shares: Floats = np.add.reduceat(self.weight, first) / self.weight.sum()
        return self.values[first], shares

    def core(self) -> Sorted:
        """Leave out values that many events share exactly, if others are left."""
        values, shares = self.runs()
        kept = ~np.isin(self.values, values[shares > ATOM])
        return Sorted(self.values[kept], self.weight[kept]) if kept.any() else self

    def moments(self) -> tuple[float, float]:
        """Give mean and standard deviation."""
        mean = float(np.average(self.values, weights=self.weight))
        return mean, float(np.sqrt(np.average((self.values - mean) ** 2, weights=self.weight)))
