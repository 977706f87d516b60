"""What the finite number of simulated events is worth on the fit of an Asimov data set."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.rows import FLOOR, Point, Table

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def simulation_errors(likelihood: Likelihood, theta: Floats, covariance: Floats, sample: Ints) -> Floats:
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

    Returns:
        One error per parameter, shape (P,).
    """
    total = np.zeros_like(covariance)
    tables = likelihood.of_kind("events")
    ends = np.cumsum([0, *(table.y.shape[1] for table in tables)])
    for table, (start, stop) in zip(tables, pairwise(ends), strict=True):
        at = table.point(likelihood.rates.multiply(theta, second=False), likelihood.alpha(theta))
        total += _scatter(table, at, sample[start:stop], likelihood.alpha(theta))
    errors: Floats = np.sqrt(np.maximum(np.diag(covariance @ total @ covariance), 0.0))
    return errors * likelihood.rates.stretch(theta)


def _scatter(table: Table, at: Point, sample: Ints, alpha: Floats) -> Floats:
    """Give S of the events of a region, shape (P, P)."""
    density, physics = np.maximum(at.density, FLOOR), len(at.slopes) - len(alpha)
    scores = at.slopes / density
    pulls = np.zeros_like(scores)
    for j, simulation in enumerate(table.simulation):
        own = np.flatnonzero(sample == j)
        weight = table.count[own]
        mean = scores[:, own] @ weight / weight.sum() if weight.sum() else np.zeros(len(scores))
        pulls[:, own] += weight * (scores[:, own] - mean[:, None])
        local, z = simulation.responses.at(j, alpha), simulation(alpha)
        share = float(table.count @ (at.components[j] / density))
        moved = local.first - z.first[local.nuisance, None]
        rows = own if simulation.nominal is None else np.arange(len(sample))
        pulls[np.ix_(physics + local.nuisance, rows)] -= share * simulation.weight * local.product / z.value * moved
    found: Floats = pulls @ pulls.T
    return found
