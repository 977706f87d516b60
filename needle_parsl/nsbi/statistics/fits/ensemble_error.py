"""Uncertainty of the fitted parameters from that of ensemble weights: the two-step estimate of Gong and Samaniego.

    V_tot = V + H^-1 A Cov(w) A^T H^-1,  A = d2 (-ln L) / d theta d w at the best fit
    t'    = t / k,  k = V_tot / V of the parameter that t tests, with V = H^-1

The weights enter every event alike, so that the errors of ratios are fully correlated between events.

References:
    G. Gong, F. J. Samaniego, Ann. Stat. 9 (1981) 861; S. Benevedes, J. Thaler, arXiv:2506.00113.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.rows import FLOOR, RowValues, Table

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Shifted = Callable[[Floats], Likelihood]
"""Gives the likelihood with the weights moved by so much, shape (W,)."""
STEP = 1e-3
"""Of the weights' standard deviations: the slope is taken by differences of exact gradients."""
LARGE = 1.0
"""Added variance over the statistical one beyond which the first order overstates it by some 20 %."""


@dataclass(frozen=True)
class Propagated:
    """The errors that ensemble weights add."""

    parameters: tuple[str, ...]
    covariance: Floats
    """What is added to the covariance of the parameters, shape (P, P)."""
    inflation: Floats
    """k of each parameter, shape (P,); NaN where -ln L has no minimum, and as good at a bound as elsewhere."""

    def error(self, name: str) -> float:
        """Give the ensemble error of a parameter."""
        place = self.parameters.index(name)
        return float(np.sqrt(max(self.covariance[place, place], 0.0)))

    def large(self) -> list[str]:
        """Name the parameters whose added variance is so large that replicas are needed."""
        return [n for n, ratio in zip(self.parameters, self.inflation, strict=True) if ratio > 1 + LARGE]


def propagate(shifted: Shifted, best: Result, covariance: Floats) -> Propagated:
    """Propagate the covariance of ensemble weights.

    Args:
        shifted: Gives the likelihood with the weights moved.
        best: The free fit with the weights as they are.
        covariance: Of all weights of all ratios, shape (W, W).
    """
    slopes = cross(shifted, best.theta, np.sqrt(np.diag(covariance)))
    hessian = shifted(np.zeros(len(covariance))).hessian(best.theta)
    inner = _inverse(hessian, np.diag(best.theta_covariance) > 0) @ slopes
    stretch = best.rates.stretch(best.theta)
    added = (inner @ covariance @ inner.T) * np.outer(stretch, stretch)
    return Propagated(best.parameters, added, _inflation(hessian, slopes @ covariance @ slopes.T))


def inflation(likelihood: Likelihood, shifted: Shifted, theta: Floats, covariance: Floats) -> Floats:
    """Give k of each parameter at a point, shape (P,).

    Args:
        likelihood: Whose t is meant.
        shifted: Gives a likelihood of the same events with the weights moved.
        theta: The point.
        covariance: Of all weights of all ratios, shape (W, W).
    """
    slopes = cross(shifted, theta, np.sqrt(np.diag(covariance)))
    return _inflation(likelihood.hessian(theta), slopes @ covariance @ slopes.T)


def _inverse(hessian: Floats, free: npt.NDArray[np.bool_]) -> Floats:
    """Invert the part of the parameters that are not on a bound; zeros elsewhere."""
    inverse, inside = np.zeros_like(hessian), np.flatnonzero(free)
    inverse[np.ix_(inside, inside)] = np.linalg.inv(hessian[np.ix_(inside, inside)])
    return inverse


def _inflation(hessian: Floats, scatter: Floats) -> Floats:
    """Compare what the gradient's scatter adds with H^-1."""
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return np.full(len(hessian), np.nan)
    own = np.linalg.inv(hessian)
    ratio: Floats = 1 + np.diag(own @ scatter @ own) / np.diag(own)
    return ratio


def cross(shifted: Shifted, theta: Floats, scale: Floats) -> Floats:
    """Give A, shape (P, W).

    Args:
        shifted: Gives the likelihood with the weights moved.
        theta: Where.
        scale: Standard deviations of the weights, shape (W,).
    """
    columns = []
    for place, width in enumerate(scale):
        step = np.zeros(len(scale))
        step[place] = STEP * width
        up, down = (shifted(side * step)(theta)[1] for side in (1.0, -1.0))
        columns.append((up - down) / (2 * step[place]) if width > 0 else np.zeros(len(theta)))
    return np.array(columns).reshape(len(scale), len(theta)).T


def simulation_errors(
    likelihood: Likelihood, theta: Floats, covariance: Floats, sample: Ints, *, apart: bool = False
) -> Floats:
    """Estimate how far the fit of an Asimov data set is off because its simulated events are finite.

        V = C S C,  S = sum_e p_e p_e^T,  p_e = w_e (s_e - s_j) - sum_j c_j omega_je q_je
        s_e = d ln lambda_e / d theta,  omega_je = the weight of e in Z_j,  c_j = sum_all w lambda_j / lambda
        q_je = (prod_k g_k / Z_j) (d ln g / d alpha - d ln Z_j / d alpha)

    The sum of the weights of a process is fixed, hence its mean s_j. The same events estimate Z_j, hence the second
    term. Ratios that are normalised at the yields take the error of the first term away from Asimov data, and bring it to observed data,
    with the other sign. The events that trained the ratios are not in it, and neither are those behind binned regions.

    Args:
        likelihood: Of the Asimov events.
        theta: The best fit.
        covariance: C, of theta.
        sample: The process of each event, in the order of the model and of the tables of events.
        apart: Whether the data are others, and ratios are not normalised on these events, which are behind Z_j alone: without the first term.

    Returns:
        One error per parameter, shape (P,).
    """
    total = np.zeros_like(covariance)
    tables = likelihood.of_kind("events")
    ends = np.cumsum([0, *(table.y.shape[1] for table in tables)])
    for table, (start, stop) in zip(tables, pairwise(ends), strict=True):
        at = table.point(likelihood.rates.multiply(theta, second=False), likelihood.rates.moved(theta))
        pulls = _pulls(table, at, sample[start:stop], likelihood.rates.moved(theta), apart=apart)
        own = likelihood.rates.folded(pulls)
        total += own @ own.T
    errors: Floats = np.sqrt(np.maximum(np.diag(covariance @ total @ covariance), 0.0))
    return errors * likelihood.rates.stretch(theta)


def _pulls(table: Table, at: RowValues, sample: Ints, alpha: Floats, *, apart: bool) -> Floats:
    """Give p_e of the events of a region, by the coordinates of multipliers and responses, shape (physics + K + S, N)."""
    density, physics = np.maximum(at.density, FLOOR), len(at.slopes) - len(alpha)
    scores = at.slopes / density
    pulls = np.zeros_like(scores)
    for j, simulation in enumerate(table.simulation):
        own = np.flatnonzero(sample == j)
        weight = table.count[own]
        mean = scores[:, own] @ weight / weight.sum() if weight.sum() else np.zeros(len(scores))
        if not apart:
            pulls[:, own] += weight * (scores[:, own] - mean[:, None])
        local, z = simulation.responses.at(j, alpha), simulation(alpha)
        share = float(table.count @ (at.components[j] / density))
        moved = local.first - z.first[local.nuisance, None]
        rows = own if simulation.nominal is None else np.arange(len(sample))
        pulls[np.ix_(physics + local.nuisance, rows)] -= share * simulation.weight * local.product / z.value * moved
    return pulls
