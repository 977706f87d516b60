"""Errors of weighted data: what each event's weight does to the fit, not only how many events there are.

    V = H^-1 ( sum_i w_i^2 s_i s_i^T + constraints ) H^-1,  s_i = d ln lambda_i / d theta

References:
    V. B. S. Chan et al. (LHCb), C. Langenbruch, Parameter uncertainties in weighted unbinned maximum likelihood fits, arXiv:1911.01303.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.rows import FLOOR

Floats = npt.NDArray[np.float64]


def weighted(likelihood: Likelihood, best: Result) -> Result:
    """Give a fit the errors of its weighted events.

    Args:
        likelihood: Of the weighted data.
        best: Its fit.
    """
    covariance = best.theta_covariance
    return replace(best, theta_covariance=covariance @ scores(likelihood, best.theta) @ covariance)


def scores(likelihood: Likelihood, theta: Floats) -> Floats:
    """Give what the scatter of data does to the slopes of -ln L, with the constraints: sum_i w_i^2 s_i s_i^T + constraints, shape (P, P)."""
    inner = np.arange(likelihood.rates.physics, len(theta))
    total = np.zeros((len(theta), len(theta)))
    total[inner, inner] = likelihood.constraints(likelihood.alpha(theta))[2]
    for table in likelihood.tables:
        at = likelihood.point(table, theta)
        share = np.where(at.density > FLOOR, table.count / np.maximum(at.density, FLOOR), 0.0)
        # Counts of bins are Poisson numbers: their scores scatter by what -ln L is curved.
        square = share**2 if table.kind == "events" else np.maximum(table.loss(at.density).second, 0.0)
        total += (at.slopes * square) @ at.slopes.T
    return total
