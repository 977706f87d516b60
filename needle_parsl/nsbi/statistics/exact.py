"""The likelihood with the exact densities of `physics.py` in place of learned ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.physics import LogDensity
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.likelihood import FLOOR
from needle_parsl.nsbi.statistics.model import Rates

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ExactLikelihood:
    """-ln L with p_j(x | alpha) at every alpha: no interpolation, no ratio, no Z_j. Same yields and constraints."""

    rates: Rates
    data: Dataset
    log_density: LogDensity
    shapes: Mapping[str, Sequence[str]]
    """The nuisances that change the shape of each process, as in the learned model."""
    log_reference: Floats
    """ln p_ref of the events, shape (N,), so that the value can be compared with the learned one."""
    auxiliary: Floats
    """Where the constraints stand, shape (K,)."""

    def __call__(self, theta: Floats) -> tuple[float, None]:
        """Give -ln L, without a gradient."""
        physics = self.rates.physics
        alpha = dict(zip(self.rates.parameters, map(float, theta), strict=True))
        f, _ = self.rates.factors(theta)
        expected = f * self.rates.yields * self.rates.gains(theta)[0]
        x = self.data.x.astype(np.float64)
        lam = sum(
            nu * np.exp(self.log_density(process, x, {k: alpha[k] for k in self.shapes[process]}) - self.log_reference)
            for nu, process in zip(expected, self.rates.processes, strict=True)
        )
        pull = theta[physics:] - self.auxiliary
        constraint = 0.5 * float(pull @ pull)
        return float(expected.sum() - self.data.weight @ np.log(np.maximum(lam, FLOOR)) + constraint), None
