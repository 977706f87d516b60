"""The basis in which wifi weights are fitted: the weighted design is orthonormal there, and the ridge diagonal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg

from needle_parsl.nsbi.estimators.wifi_loss import ClassEvents, PenalisedLoss, Side

Floats = npt.NDArray[np.float64]
SIGNS = (-1, +1)
"""Of ln r in the loss of numerator and denominator."""
SMALLEST_PIVOT = 1e-8
"""Relative to the largest; what is smaller holds no information."""
ROUNDING = 16
"""Pivots are kept above this many rounding errors of the members' type, too: of float32 members, above 2e-6."""


@dataclass(frozen=True)
class Design:
    """Members and constant of all events, made orthonormal: w = basis u.

    The ridge is that of the shortest weights that give the same ln r, sum_k u_k^2 / width_k^2, whatever members are left out
    as combinations of others.
    """

    basis: Floats
    """Shape (1 + M, K); rows of members that are left out are zero."""
    widths: Floats
    """Root mean square of ln r along each direction for weights of length 1, the largest first; shape (K,)."""
    equal: Floats
    """Equal weights and no constant, shape (K,)."""
    dropped: tuple[int, ...]
    """Members that are linear combinations of the others, counted from 0; -1 is the constant."""
    condition: float
    """Of the members and the constant, as they came."""

    @staticmethod
    def of(numerator: ClassEvents, denominator: ClassEvents) -> Design:
        """Decompose it, by a QR with pivots."""
        sides = _sides((numerator, denominator))
        r, pivot = linalg.qr(np.vstack([part for c in sides for part in c.triangles()]), mode="r", pivoting=True)
        diagonal: Any = np.abs(np.diag(r))
        least = max(SMALLEST_PIVOT, ROUNDING * float(np.finfo(numerator.members.dtype).eps))
        rank, size = int((diagonal > least * diagonal[0]).sum()), len(pivot)
        turned, widths, rows = linalg.svd(r[:rank], full_matrices=False)
        basis = np.zeros((size, rank))
        basis[pivot[:rank]] = linalg.solve_triangular(r[:rank, :rank], turned)
        equal = np.r_[0.0, np.full(size - 1, 1 / (size - 1))][pivot]
        dropped = tuple(sorted(int(k) - 1 for k in pivot[rank:]))
        condition = float(diagonal[0] / diagonal[-1]) if len(diagonal) == size and diagonal[-1] else float("inf")
        return Design(basis, widths, widths * (rows @ equal), dropped, condition)

    def loss(self, samples: Sequence[ClassEvents], ridge: float) -> PenalisedLoss:
        """Give the loss over some of the events."""
        return PenalisedLoss(_sides(samples), self.basis, ridge / self.widths**2, self.equal)

    def freedom(self, ridge: float) -> float:
        """Count the directions that a ridge leaves free, sum_k 1 / (1 + ridge / width_k^2)."""
        return float((1 / (1 + ridge / self.widths**2)).sum())


def _sides(samples: Sequence[ClassEvents]) -> list[Side]:
    return [Side(sample, sign) for sample, sign in zip(samples, SIGNS, strict=True)]
