"""The extended unbinned likelihood of a mixture of learned density ratios, with its exact gradient.

    -ln L(theta) = nu - sum_e w_e ln lambda_e + 1/2 sum_k alpha_k^2
    nu       = sum_j f_j nu_j G_j
    lambda_e = sum_j f_j nu_j G_j r_je prod_k g_jk(x_e, alpha_k) / Z_j
    Z_j      = E_pj[ prod_k g_jk(x, alpha_k) ]

Up and down ratios are normalised at plus and minus one sigma only. Without Z_j their product over nuisances is not,
and the likelihood has a false, deep minimum at large |alpha|.

References:
    ATLAS, arXiv:2412.01600, arXiv:2412.01548; HistFactory, CERN-OPEN-2012-016.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.interpolation import INTERPOLATIONS, Poly6Exp
from needle_parsl.nsbi.statistics.model import Rates, Shape

Floats = npt.NDArray[np.float64]
FLOOR = 1e-30
"""lambda_e is at least this inside the logarithm; events below are counted."""


@dataclass(frozen=True)
class Responses:
    """prod_k g_jk(x_e, alpha_k) of one process over a set of events."""

    curves: tuple[tuple[int, Poly6Exp], ...]
    """Index of the nuisance, and its response per event."""

    def __call__(self, alpha: Floats, events: int) -> tuple[Floats, dict[int, Floats]]:
        """Give the product, shape (N,), and d ln g_jk / d alpha_k by nuisance, each of shape (N,)."""
        product, logs = np.ones(events), {}
        for k, curve in self.curves:
            value, slope = curve(float(alpha[k]))
            product = product * value
            logs[k] = slope / value
        return product, logs


@dataclass(frozen=True)
class Simulation:
    """Events of one process with weights that add up to 1, for Z_j."""

    weight: Floats
    responses: Responses

    def __call__(self, alpha: Floats) -> tuple[float, dict[int, float], float]:
        """Give Z_j, d ln Z_j / d alpha_k by nuisance, and the statistical error of Z_j."""
        product, logs = self.responses(alpha, len(self.weight))
        z = float(self.weight @ product)
        error = float(np.sqrt((self.weight**2 * (product - z) ** 2).sum()))
        return z, {k: float(self.weight @ (product * log)) / z for k, log in logs.items()}, error


@dataclass(frozen=True)
class Likelihood:
    """-ln L of one dataset."""

    rates: Rates
    weight: Floats
    """Of the events, shape (N,)."""
    ratio: tuple[Floats, ...]
    """r_j of each process, shape (N,)."""
    responses: tuple[Responses, ...]
    """By process."""
    simulation: tuple[Simulation, ...]
    """By process."""

    @staticmethod
    def build(rates: Rates, interpolations: Mapping[str, str], shapes: tuple[Shape, ...], data: Dataset,
              simulation: Dataset) -> Likelihood:  # fmt: skip
        """Prepare the likelihood of a dataset.

        Args:
            rates: The model.
            interpolations: By nuisance, a name in `INTERPOLATIONS`.
            shapes: The learned responses.
            data: The events that are fitted.
            simulation: Weighted events of all processes, for Z_j.
        """
        nuisances = rates.parameters[rates.physics :]

        def responses(process: str, values: Mapping[str, Floats]) -> Responses:
            return Responses(
                tuple(
                    (nuisances.index(s.nuisance), INTERPOLATIONS[interpolations[s.nuisance]](*map(np.exp, s.sides(values))))
                    for s in shapes
                    if s.process == process
                )
            )  # fmt: skip

        def own(process: str) -> Simulation:
            rows = simulation.sample == simulation.samples.index(process)
            weight = simulation.weight[rows]
            values = {name: log_ratio[rows] for name, log_ratio in simulation.ratios.items()}
            return Simulation(weight / weight.sum(), responses(process, values))

        ones = np.zeros(len(data.weight))
        return Likelihood(
            rates,
            data.weight,
            tuple(np.exp(data.ratios.get(process, ones)) for process in rates.processes),
            tuple(responses(process, data.ratios) for process in rates.processes),
            tuple(own(process) for process in rates.processes),
        )

    def __call__(self, theta: Floats) -> tuple[float, Floats]:
        """Give -ln L and its gradient.

        Args:
            theta: In the order of `rates.parameters`.
        """
        physics, alpha = self.rates.physics, theta[self.rates.physics :]
        f, df = self.rates.factors(theta)
        gains, log_gains = self.rates.gains(theta)
        expected = self.rates.yields * gains
        densities, log_slopes, z_slopes = self._densities(expected, alpha)
        lam = f @ densities
        share = np.where(lam > FLOOR, self.weight / np.maximum(lam, FLOOR), 0.0)
        value = f @ expected - self.weight @ np.log(np.maximum(lam, FLOOR)) + 0.5 * float(alpha @ alpha)
        gradient = np.empty(len(theta))
        gradient[:physics] = df @ expected - df @ (densities @ share)
        for k in range(len(alpha)):
            slope = f @ (expected * log_gains[k]) + alpha[k]
            for j, density in enumerate(densities):
                bend = log_gains[k, j] - z_slopes[j].get(k, 0.0) + log_slopes[j].get(k, 0.0)
                slope -= f[j] * float(share @ (density * bend))
            gradient[physics + k] = slope
        return float(value), gradient

    def _densities(
        self, expected: Floats, alpha: Floats
    ) -> tuple[Floats, list[dict[int, Floats]], list[dict[int, float]]]:
        """nu_j G_j r_j prod g_jk / Z_j of shape (J, N), and the logarithmic slopes of prod g_jk and Z_j."""
        densities, log_slopes, z_slopes = np.empty((len(expected), len(self.weight))), [], []
        for j, yields in enumerate(expected):
            product, logs = self.responses[j](alpha, len(self.weight))
            z, z_logs, _ = self.simulation[j](alpha)
            densities[j] = yields / z * self.ratio[j] * product
            log_slopes.append(logs)
            z_slopes.append(z_logs)
        return densities, log_slopes, z_slopes

    def floored(self, theta: Floats) -> int:
        """Count the events whose density is not positive."""
        f, _ = self.rates.factors(theta)
        expected = self.rates.yields * self.rates.gains(theta)[0]
        return int((f @ self._densities(expected, theta[self.rates.physics :])[0] <= FLOOR).sum())

    def normalisations(self, theta: Floats) -> dict[str, dict[str, float]]:
        """Report Z_j and its statistical error by process; f_j nu_j G_j times the error is the yield in doubt."""
        alpha = theta[self.rates.physics :]
        found = {}
        for process, simulation in zip(self.rates.processes, self.simulation, strict=True):
            z, _, error = simulation(alpha)
            found[process] = {"z": z, "error": error}
        return found
