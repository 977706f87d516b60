"""What other measurements say of the nuisance parameters: one term of -ln L each, 0 where it is smallest.

    gauss      1/2 (alpha - a)^2
    poisson    tau gamma - m ln gamma - ...,    gamma = 1 + alpha / sqrt(tau): m events were counted where tau are expected

`a` and `m` are the auxiliary observations. A log-normal parameter is fitted as alpha = ln(parameter) / sigma (`rates`), where
its constraint is a Gaussian one and its nominal value, 1, is alpha = 0. A nuisance parameter whose range begins at 0 has one side only.
Toys have the same terms in compiled code (`toys.compiled.scalars.constrain`), held against these by `tests/nsbi/statistics/test_batched.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from needle_parsl.analysis import WALL, Nuisance
from needle_parsl.analysis import Model as ModelTable

Floats = npt.NDArray[np.float64]
KINDS = ("gauss", "poisson")
MARGIN = 1e-3
"""gamma stays this far above 0, where its logarithm ends."""


@dataclass(frozen=True)
class Constraints:
    """The constraint terms of all nuisance parameters."""

    kind: npt.NDArray[np.intp]
    """Place in `KINDS`, shape (K,)."""
    scale: Floats
    """tau of a Poisson term, else 1; shape (K,)."""
    auxiliary: Floats
    """What was observed: a, or m of a Poisson term; shape (K,)."""

    @staticmethod
    def build(table: ModelTable) -> Constraints:
        """Make the constraints of a `[model]` table, with the observations that its nominal parameters have."""
        nuisances = table.nuisances.values()
        kind = np.array([n.constraint == "poisson" for n in nuisances], dtype=np.intp)
        scale = np.array([n.events if n.constraint == "poisson" else 1.0 for n in nuisances], dtype=np.float64)
        made = Constraints(kind, scale, np.zeros(len(kind)))
        return replace(made, auxiliary=made.expected(made.nominal()))

    def nominal(self) -> Floats:
        """Give the nominal nuisance parameters, 0."""
        return np.zeros(len(self.kind))

    def ranges(self, table: ModelTable) -> list[tuple[float, float]]:
        """Give the smallest and the largest alpha of each: the user's, or the walls."""
        low, counted = np.full(len(self.kind), -WALL), self.kind == KINDS.index("poisson")
        low[counted] = np.maximum(-WALL, -(1 - MARGIN) * np.sqrt(self.scale[counted]))
        return [_range(nuisance, float(least)) for nuisance, least in zip(table.nuisances.values(), low, strict=True)]

    def expected(self, alpha: Floats) -> Floats:
        """Give the auxiliary observations that are expected at alpha, shape (K,)."""
        found = alpha.astype(np.float64).copy()
        for k in np.flatnonzero(self.kind):
            found[k] = self.scale[k] * (1 + alpha[k] / math.sqrt(self.scale[k]))
        return found

    def throw(self, alpha: Floats, generator: np.random.Generator) -> Constraints:
        """Throw the auxiliary observations of a toy whose true nuisance parameters are alpha."""
        found = self.expected(alpha)
        noise = generator.standard_normal(len(alpha))
        counted = self.kind == KINDS.index("poisson")
        thrown = found + noise
        thrown[counted] = generator.poisson(found[counted])
        return replace(self, auxiliary=thrown)

    def shifted(self, place: int, sigmas: float) -> Constraints:
        """Move one auxiliary observation by so many of its standard deviations."""
        width = math.sqrt(self.scale[place]) if KINDS[self.kind[place]] == "poisson" else 1.0
        auxiliary = self.auxiliary.copy()
        auxiliary[place] += sigmas * width
        return replace(self, auxiliary=auxiliary)

    def __call__(self, alpha: Floats) -> tuple[float, Floats, Floats]:
        """Give the sum of the terms and its first and second derivatives, shapes (K,)."""
        pull = alpha - self.auxiliary
        value, first, second = 0.5 * pull**2, pull, np.ones(len(alpha))
        for k in np.flatnonzero(self.kind):
            value[k], first[k], second[k] = _poisson(float(alpha[k]), float(self.scale[k]), float(self.auxiliary[k]))
        return float(value.sum()), first, second


def _range(nuisance: Nuisance, least: float) -> tuple[float, float]:
    """Give the range of alpha; that of a log-normal parameter is stated in the parameter."""
    if not nuisance.bounds:
        return least, WALL
    low, high = nuisance.bounds
    if nuisance.constraint == "lognormal":
        inner = math.log(low) / nuisance.sigma if low > 0 else -WALL
        return max(-WALL, inner), math.log(high) / nuisance.sigma
    return max(least, low), high


def _poisson(alpha: float, tau: float, m: float) -> tuple[float, float, float]:
    root = math.sqrt(tau)
    gamma = 1 + alpha / root
    least = m - m * math.log(m / tau) if m else 0.0
    return tau * gamma - m * math.log(gamma) - least, root - m / (gamma * root), m / (gamma**2 * tau)
