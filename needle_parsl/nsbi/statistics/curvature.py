"""The exact Hessian of the likelihood.

    H = d2 nu - sum_e w_e [ d2 lambda_e / lambda_e - d lambda_e d lambda_e^T / lambda_e^2 ] + constraints

A part lambda_j of lambda has d2 lambda_j / d alpha_k d alpha_l = lambda_j (L_k L_l + d L_k / d alpha_l), where L_k is the
derivative of ln (G_j g_j / Z_j). Sums over events of what differs by event are all that is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from needle_parsl.nsbi.statistics.likelihood import Likelihood, Point, Responses, Simulation

Floats = npt.NDArray[np.float64]


class Moments(NamedTuple):
    """Weighted sums over events of the derivatives of ln prod_k g_k, with l_k the first and m_k the second one."""

    total: float
    """sum_e s_e."""
    first: Floats
    """sum_e s_e l_ke, shape (K,)."""
    second: Floats
    """sum_e s_e (l_ke l_me + [k = m] m_ke), shape (K, K)."""


def moments(responses: Responses, alpha: Floats, weight: Floats) -> Moments:
    """Add up the derivatives of the responses of events.

    Args:
        responses: Of one process.
        alpha: Nuisance parameters, shape (K,).
        weight: s_e, shape (N,).
    """
    k = [index for index, _ in responses.curves]
    first, second = np.zeros(len(alpha)), np.zeros((len(alpha), len(alpha)))
    if k:
        slopes, bends = map(np.array, zip(*(curve.logarithm(alpha[i]) for i, curve in responses.curves), strict=True))
        first[k] = slopes @ weight
        second[np.ix_(k, k)] = (slopes * weight) @ slopes.T + np.diag(bends @ weight)
    return Moments(float(weight.sum()), first, second)


def log_normalisation(simulation: Simulation, alpha: Floats) -> tuple[Floats, Floats]:
    """Give the first and second derivatives of ln Z_j, shapes (K,) and (K, K)."""
    product, _ = simulation.responses(alpha, len(simulation.weight))
    total, first, second = moments(simulation.responses, alpha, simulation.weight * product)
    return first / total, second / total - np.outer(first, first) / total**2


def hessian(likelihood: Likelihood, theta: Floats, at: Point, share: Floats) -> Floats:
    """Compute the Hessian of -ln L.

    Args:
        likelihood: Of the data set.
        theta: Where, shape (P,).
        at: What the likelihood is made of there.
        share: w_e / lambda_e, 0 for events without positive density, shape (N,).

    Returns:
        Shape (P, P).
    """
    rates, physics = likelihood.rates, likelihood.rates.physics
    alpha, nuisances = theta[physics:], slice(physics, None)
    density = np.where(share != 0, at.density, 1.0)
    total: Floats = (at.density_slopes * (share / density)) @ at.density_slopes.T
    total[nuisances, nuisances] += np.eye(len(alpha))
    f, slopes = rates.factors(theta)
    bends = rates.bends_at(theta)
    gains, log_gains = rates.gains(theta)
    gain_bends = rates.gain_bends(theta)
    for j, expected in enumerate(rates.yields * gains):
        z, zz = log_normalisation(likelihood.simulation[j], alpha)
        seen = moments(likelihood.responses[j], alpha, share * at.unscaled[j])
        up, twice = log_gains[:, j], np.outer(log_gains[:, j], log_gains[:, j]) + np.diag(gain_bends[:, j])
        rest = up - z
        own = np.outer(rest, rest) + np.diag(gain_bends[:, j]) - zz
        cross = np.outer(rest, seen.first)
        total[:physics, :physics] += bends[j] * (expected - seen.total)
        mixed = np.outer(slopes[:, j], expected * up - seen.first - rest * seen.total)
        total[:physics, nuisances] += mixed
        total[nuisances, :physics] += mixed.T
        total[nuisances, nuisances] += f[j] * (expected * twice - seen.second - cross - cross.T - own * seen.total)
    return total
