"""The extended unbinned likelihood of a mixture of learned density ratios, with its exact gradient.

    -ln L(theta) = nu - sum_e w_e ln lambda_e + 1/2 sum_k (alpha_k - a_k)^2
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
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics import curvature
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.interpolation import INTERPOLATIONS, Poly6Exp, Rows
from needle_parsl.nsbi.statistics.model import Rates, Shape

Floats = npt.NDArray[np.float64]
FLOOR = 1e-30
"""lambda_e is at least this inside the logarithm; events below are counted."""
FEWEST = 4096
"""Effective events behind a thinned Z_j, at least."""


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

    def take(self, rows: Rows) -> Responses:
        """Keep the responses of some events."""
        return Responses(tuple((k, curve.take(rows)) for k, curve in self.curves))


@dataclass(frozen=True)
class Simulation:
    """Events that stand for the density of one process, for Z_j."""

    weight: Floats
    """Shape (N,); they add up to 1."""
    responses: Responses

    def __call__(self, alpha: Floats) -> tuple[float, dict[int, float], float]:
        """Give Z_j, d ln Z_j / d alpha_k by nuisance, and the statistical error of Z_j."""
        product, logs = self.responses(alpha, len(self.weight))
        z = float(self.weight @ product)
        error = float(np.sqrt((self.weight**2 * (product - z) ** 2).sum()))
        return z, {k: float(self.weight @ (product * log)) / z for k, log in logs.items()}, error

    def thinned(self, events: float) -> Simulation:
        """Keep as many events, picked at random, as make the error of Z_j small against that of a data set.

            n_eff = max(4096, 10 nu sum_k Var g_jk),  each variance the larger one of those at alpha_k = +-1

        Args:
            events: nu, expected in a data set.
        """
        total = self.weight.sum()
        spread = sum(max(self._variance(curve(a)[0]) for a in (1.0, -1.0)) for _, curve in self.responses.curves)
        picked = np.random.default_rng(0).permutation(len(self.weight))
        weight = self.weight[picked]
        effective = np.cumsum(weight) ** 2 / np.maximum(np.cumsum(weight**2), np.finfo(float).tiny)
        rows = picked[: 1 + int(np.searchsorted(np.maximum.accumulate(effective), max(FEWEST, 10 * events * spread)))]
        return Simulation(self.weight[rows] * (total / self.weight[rows].sum()), self.responses.take(rows))

    def _variance(self, response: Floats) -> float:
        """Give the relative variance of a response."""
        mean = np.average(response, weights=self.weight)
        return float(np.average((response / mean - 1) ** 2, weights=self.weight))


class Point(NamedTuple):
    """What the likelihood is made of, at one theta."""

    expected: float
    """nu."""
    expected_slopes: Floats
    """d nu / d theta, shape (P,)."""
    density: Floats
    """lambda_e, shape (N,)."""
    density_slopes: Floats
    """d lambda_e / d theta, shape (P, N)."""
    components: Floats
    """The processes' parts of lambda_e, shape (J, N)."""
    unscaled: Floats
    """The same without their multipliers f_j, shape (J, N)."""


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
    auxiliary: Floats
    """a_k, where the constraint of each nuisance parameter stands: 0 in data, thrown in toys; shape (K,)."""

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
            np.zeros(len(nuisances)),
        )

    def take(self, rows: Rows, auxiliary: Floats) -> Likelihood:
        """Make the likelihood of a toy: some of the events, each counted once, and constraints where they were thrown.

        Args:
            rows: Which events; one that was drawn twice stands there twice.
            auxiliary: a_k, shape (K,).
        """
        ratio = tuple(r[rows] for r in self.ratio)
        responses = tuple(r.take(rows) for r in self.responses)
        ones = np.ones(len(ratio[0]))
        return replace(self, weight=ones, ratio=ratio, responses=responses, auxiliary=auxiliary)

    def thinned(self, theta: Floats) -> Likelihood:
        """Let fewer events stand behind Z_j: as many as toys thrown at theta need."""
        expected = self.rates_and_densities(theta).expected
        return replace(self, simulation=tuple(s.thinned(expected) for s in self.simulation))

    def __call__(self, theta: Floats) -> tuple[float, Floats]:
        """Give -ln L and its gradient.

        Args:
            theta: In the order of `rates.parameters`.
        """
        at, pull = self.rates_and_densities(theta), theta[self.rates.physics :] - self.auxiliary
        value = at.expected - self.weight @ np.log(np.maximum(at.density, FLOOR)) + 0.5 * float(pull @ pull)
        gradient = at.expected_slopes - at.density_slopes @ self._share(at)
        gradient[self.rates.physics :] += pull
        return float(value), gradient

    def rates_and_densities(self, theta: Floats) -> Point:
        """Compute nu and lambda_e with their derivatives."""
        physics, alpha, events = self.rates.physics, theta[self.rates.physics :], len(self.weight)
        f, df = self.rates.factors(theta)
        gains, log_gains = self.rates.gains(theta)
        expected = self.rates.yields * gains
        slopes = np.zeros((len(theta), events))
        unscaled = np.zeros((len(f), events))
        for j in range(len(f)):
            product, logs = self.responses[j](alpha, events)
            z, z_logs, _ = self.simulation[j](alpha)
            unscaled[j] = expected[j] / z * self.ratio[j] * product
            own = f[j] * unscaled[j]
            for k in range(len(alpha)):
                slopes[physics + k] += own * (log_gains[k, j] - z_logs.get(k, 0.0) + logs.get(k, 0.0))
        slopes[:physics] = df @ unscaled
        components = f[:, None] * unscaled
        by_parameter = np.concatenate([df @ expected, log_gains @ (f * expected)])
        return Point(float(f @ expected), by_parameter, components.sum(axis=0), slopes, components, unscaled)

    def hessian(self, theta: Floats) -> Floats:
        """Give the exact Hessian of -ln L, shape (P, P)."""
        at = self.rates_and_densities(theta)
        return curvature.hessian(self, theta, at, self._share(at))

    def _share(self, at: Point) -> Floats:
        """w_e / lambda_e; events without positive density have no slope."""
        return np.where(at.density > FLOOR, self.weight / np.maximum(at.density, FLOOR), 0.0)

    def simulation_errors(self, theta: Floats, covariance: Floats, sample: npt.NDArray[np.int64]) -> Floats:
        """Estimate how far the fit of an Asimov data set is off because its simulated events are finite.

            V = C S C,  S = sum_j sum_{e in j} p_e p_e^T,  p_e = w_e (s_e - s_j) - c_j omega_e q_e
            s_e = d ln lambda_e / d theta,  omega_e = w_e / sum_j w,  c_j = sum_all w lambda_j / lambda
            q_e = (prod_k g_k / Z_j) (d ln g / d alpha - d ln Z_j / d alpha)

        The sum of the weights of a process is fixed, hence its mean s_j. The same events estimate Z_j, hence the second
        term. The events that trained the ratios are not in it.

        Args:
            theta: The best fit.
            covariance: C, of theta.
            sample: The process of each event, in the order of the model.

        Returns:
            One error per parameter, shape (P,).
        """
        physics, alpha = self.rates.physics, theta[self.rates.physics :]
        at = self.rates_and_densities(theta)
        density = np.maximum(at.density, FLOOR)
        total = np.zeros_like(covariance)
        for j, simulation in enumerate(self.simulation):
            weight, scores = self.weight[sample == j], at.density_slopes[:, sample == j] / density[sample == j]
            mean = scores @ weight / weight.sum() if weight.sum() else np.zeros(len(theta))
            pulls = weight * (scores - mean[:, None])
            product, logs = simulation.responses(alpha, len(simulation.weight))
            z, z_logs, _ = simulation(alpha)
            share = float(self.weight @ (at.components[j] / density))
            for k, log in logs.items():
                pulls[physics + k] -= share * simulation.weight * product / z * (log - z_logs[k])
            total += pulls @ pulls.T
        errors: Floats = np.sqrt(np.maximum(np.diag(covariance @ total @ covariance), 0.0))
        return errors * self.rates.stretch(theta)

    def floored(self, theta: Floats) -> int:
        """Count the events whose density is not positive."""
        return int((self.rates_and_densities(theta).density <= FLOOR).sum())

    def normalisations(self, theta: Floats) -> dict[str, dict[str, float]]:
        """Report Z_j and its statistical error by process; f_j nu_j G_j times the error is the yield in doubt."""
        alpha = theta[self.rates.physics :]
        found = {}
        for process, simulation in zip(self.rates.processes, self.simulation, strict=True):
            z, _, error = simulation(alpha)
            found[process] = {"z": z, "error": error}
        return found
