"""What other measurements say of the nuisance parameters: one term of -ln L each, 0 where it is smallest.

    gauss      1/2 (alpha - a)^2
    lognormal  1/2 ((ln alpha - a) / sigma)^2,  alpha > 0
    poisson    tau gamma - m ln gamma - ...,    gamma = 1 + alpha / sqrt(tau): m events were counted where tau are expected

`a` and `m` are the auxiliary observations. A nuisance parameter whose range begins at 0 has one side only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from needle_parsl.analysis import WALL
from needle_parsl.analysis import Model as ModelTable

Floats = npt.NDArray[np.float64]
KINDS = ("gauss", "lognormal", "poisson")
MARGIN = 1e-3
"""gamma and alpha stay this far above 0, where their logarithm ends."""


@dataclass(frozen=True)
class Constraints:
    """The constraint terms of all nuisance parameters."""

    kind: npt.NDArray[np.intp]
    """Place in `KINDS`, shape (K,)."""
    scale: Floats
    """sigma of a log-normal, tau of a Poisson term; shape (K,)."""
    auxiliary: Floats
    """What was observed: a, or m of a Poisson term; shape (K,)."""

    @staticmethod
    def build(table: ModelTable) -> Constraints:
        """Make the constraints of a `[model]` table, with the observations that its nominal parameters have."""
        nuisances = table.nuisances.values()
        kind = np.array([KINDS.index(n.constraint) for n in nuisances], dtype=np.intp)
        scale = np.array([n.events if n.constraint == "poisson" else n.sigma for n in nuisances], dtype=np.float64)
        made = Constraints(kind, scale, np.zeros(len(kind)))
        return replace(made, auxiliary=made.expected(made.nominal()))

    def nominal(self) -> Floats:
        """Give the nominal nuisance parameters: 0, and 1 for a log-normal one."""
        return np.where(self.kind == KINDS.index("lognormal"), 1.0, 0.0)

    def ranges(self, table: ModelTable) -> list[tuple[float, float]]:
        """Give the smallest and the largest value of each: the user's, or the walls."""
        low = np.full(len(self.kind), -WALL)
        counted, positive = (self.kind == KINDS.index(name) for name in ("poisson", "lognormal"))
        low[counted] = np.maximum(-WALL, -(1 - MARGIN) * np.sqrt(self.scale[counted]))
        low[positive] = MARGIN
        stated = [n.bounds for n in table.nuisances.values()]
        return [
            (max(float(least), pair[0]), pair[1]) if pair else (float(least), WALL)
            for least, pair in zip(low, stated, strict=True)
        ]

    def expected(self, alpha: Floats) -> Floats:
        """Give the auxiliary observations that are expected at alpha, shape (K,)."""
        found = alpha.astype(np.float64).copy()
        for k in np.flatnonzero(self.kind):
            gamma = 1 + alpha[k] / math.sqrt(self.scale[k])
            found[k] = math.log(alpha[k]) if KINDS[self.kind[k]] == "lognormal" else self.scale[k] * gamma
        return found

    def throw(self, alpha: Floats, generator: np.random.Generator) -> Constraints:
        """Throw the auxiliary observations of a toy whose true nuisance parameters are alpha."""
        found = self.expected(alpha)
        noise = generator.standard_normal(len(alpha))
        counted = self.kind == KINDS.index("poisson")
        width = np.where(self.kind == KINDS.index("lognormal"), self.scale, 1.0)
        thrown = found + width * noise
        thrown[counted] = generator.poisson(found[counted])
        return replace(self, auxiliary=thrown)

    def shifted(self, place: int, sigmas: float) -> Constraints:
        """Move one auxiliary observation by so many of its standard deviations."""
        kind, scale = KINDS[self.kind[place]], float(self.scale[place])
        width = {"gauss": 1.0, "lognormal": scale, "poisson": math.sqrt(scale)}[kind]
        auxiliary = self.auxiliary.copy()
        auxiliary[place] += sigmas * width
        return replace(self, auxiliary=auxiliary)

    def __call__(self, alpha: Floats) -> tuple[float, Floats, Floats]:
        """Give the sum of the terms and its first and second derivatives, shapes (K,)."""
        pull = alpha - self.auxiliary
        value, first, second = 0.5 * pull**2, pull, np.ones(len(alpha))
        for k in np.flatnonzero(self.kind):
            term = _lognormal if KINDS[self.kind[k]] == "lognormal" else _poisson
            value[k], first[k], second[k] = term(float(alpha[k]), float(self.scale[k]), float(self.auxiliary[k]))
        return float(value.sum()), first, second


def _lognormal(alpha: float, sigma: float, a: float) -> tuple[float, float, float]:
    pull = (math.log(alpha) - a) / sigma
    return 0.5 * pull**2, pull / (sigma * alpha), (1 / sigma - pull) / (sigma * alpha**2)


def _poisson(alpha: float, tau: float, m: float) -> tuple[float, float, float]:
    root = math.sqrt(tau)
    gamma = 1 + alpha / root
    least = m - m * math.log(m / tau) if m else 0.0
    return tau * gamma - m * math.log(gamma) - least, root - m / (gamma * root), m / (gamma**2 * tau)
