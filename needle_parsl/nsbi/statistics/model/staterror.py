"""The statistics of the simulation in bins, after Barlow and Beeston, in the light form: one factor per bin for all processes.

    -ln L_b = gamma lambda - n ln(gamma lambda) + (gamma - a)^2 / (2 delta^2),   minimised over gamma
    delta   = sqrt(sum_j f_j^2 sigma_j^2) / sum_j f_j y_j   at the nominal parameters

gamma has its minimum in closed form, and is no parameter of the fit; the constraint is the Gaussian one of HistFactory's and
pyhf's `staterror`.

References:
    R. Barlow, C. Beeston, Comput. Phys. Commun. 77 (1993) 219; J. S. Conway, arXiv:1103.0354.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FLOOR = 1e-300


class Profiled(NamedTuple):
    """-ln L of bins, minimised over gamma, as a function of their expectation."""

    gamma: Floats
    value: Floats
    """Shape (B,)."""
    first: Floats
    """d value / d lambda."""
    second: Floats
    """d2 value / d lambda2."""


@dataclass(frozen=True)
class Staterror:
    """What the finite simulation lets bins scatter by."""

    spread: Floats
    """delta, shape (B,); 0 for bins without an error."""
    seen: Floats
    """a, 1 but in toys; shape (B,)."""

    @staticmethod
    def of(expected: Floats, variance: Floats) -> Staterror | None:
        """Make it of the expectation of bins and its variance; None where no bin has an error.

        Args:
            expected: Shape (B,).
            variance: From the simulation, shape (B,).
        """
        safe = np.where(expected > 0, expected, 1.0)
        spread = np.where(expected > 0, np.sqrt(variance) / safe, 0.0)
        return Staterror(spread, np.ones(len(spread))) if spread.any() else None

    def throw(self, generator: np.random.Generator) -> Floats:
        """Throw a for a toy, shape (B,)."""
        return 1 + self.spread * generator.standard_normal(len(self.spread))

    def profile(self, density: Floats, count: Floats) -> Profiled:
        """Minimise over gamma.

        Args:
            density: lambda, positive, shape (B,).
            count: n, shape (B,).
        """
        square, loose = self.spread**2, self.spread > 0
        b = np.where(loose, density * square - self.seen, 0.0)
        root = np.sqrt(b**2 + 4 * count * square)
        with np.errstate(divide="ignore", invalid="ignore"):
            gamma = np.where(b > 0, 2 * count * square / np.maximum(b + root, FLOOR), (root - b) / 2)
            gamma = np.where(loose, gamma, 1.0)
            inverse = np.where(
                loose, 1 / (count / np.maximum(gamma, FLOOR) ** 2 + 1 / np.where(loose, square, 1.0)), 0.0
            )
        pull = np.where(loose, (gamma - self.seen) ** 2 / (2 * np.where(loose, square, 1.0)), 0.0)
        logs = np.where(count > 0, count * np.log(np.maximum(gamma * density, FLOOR)), 0.0)
        stuck = loose & (gamma <= 0)  # nothing was seen where less than nothing would be best
        return Profiled(
            gamma,
            gamma * density - logs + pull,
            gamma - count / density,
            count / density**2 - np.where(stuck, 0.0, inverse),
        )
