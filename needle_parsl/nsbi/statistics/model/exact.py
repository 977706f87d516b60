"""The likelihood with the exact densities of `physics.py` in place of learned ratios."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.physics import LogDensity
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.rates import Rates
from needle_parsl.nsbi.statistics.model.rows import FLOOR

Floats = npt.NDArray[np.float64]
KEPT = 4
"""Values of the nuisance parameters at which the densities of a process are remembered: other parameters move alone at them."""


@dataclass(frozen=True)
class ExactLikelihood:
    """-ln L with p_j(x | alpha) at every alpha: no interpolation, no ratio, no Z_j. Same yields, bins and constraints."""

    learned: Likelihood
    """Of the same events; yields, binned regions and constraints are its own."""
    data: Dataset
    log_density: LogDensity
    shapes: Mapping[str, Sequence[str]]
    """The nuisances that change the shape of each process, as in the learned model."""
    log_reference: Floats
    """ln p_ref of the events, shape (N,), so that the value can be compared with the learned one."""

    @property
    def rates(self) -> Rates:
        """Give the parameters of the learned model."""
        return self.learned.rates

    @cached_property
    def _ratios(self) -> dict[str, Callable[..., Floats]]:
        """For each process, p(x | alpha) / p_ref of the events at values of the nuisances of its shape."""

        def of(process: str) -> Callable[..., Floats]:
            def ratio(*alpha: float) -> Floats:
                nuisances = dict(zip(self.shapes[process], alpha, strict=True))
                log_density = self.log_density(process, self.data.x.astype(np.float64), nuisances)
                found: Floats = np.exp(log_density - self.log_reference)
                return found

            return lru_cache(KEPT)(ratio)

        return {process: of(process) for process in self.rates.processes}

    def __call__(self, theta: Floats) -> tuple[float, None]:
        """Give -ln L, without a gradient."""
        alpha = dict(zip(self.rates.parameters, map(float, self.rates.outward(theta)), strict=True))
        expected = self.learned.expected(theta)
        lam = sum(
            nu * self._ratios[process](*(alpha[k] for k in self.shapes[process]))
            for nu, process in zip(expected, self.rates.processes, strict=True)
        )
        value = -float(self.data.weight @ np.log(np.maximum(lam, FLOOR)))
        return value + self._others(theta, expected), None

    def _others(self, theta: Floats, expected: Floats) -> float:
        """Add the expected number of events, the binned regions and the constraints."""
        value = self.learned.constraints(self.learned.alpha(theta))[0]
        value += sum(table.loss(expected.sum(keepdims=True)).value for table in self.learned.of_kind("total"))
        for table, counts in zip(self.learned.of_kind("bins"), self.learned.counts(theta), strict=True):
            value += table.loss(counts).value
        return value
