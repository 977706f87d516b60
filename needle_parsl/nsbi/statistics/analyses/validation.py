"""Regions that are fitted to nothing: what the fit expects there, and whether data agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.fits.distributions import prior_covariance
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.rows import Table
from needle_parsl.nsbi.statistics.results import Distribution, Goodness, Prediction, Validation

Floats = npt.NDArray[np.float64]
THROWN = 20_000
"""Toys of the counts of a region; the smallest p-value is one of them."""


def validate(
    likelihood: Likelihood, builder: Builder, regions: Sequence[Counts], *, dataset: str = "observed", seed: int = 0
) -> Validation:
    """Hold data against what is expected in regions that are fitted to nothing.

        chi2 = r^T (S V S^T + diag(sigma^2 + lambda))^-1 r,   r = n - lambda

    with S = d lambda / d theta, the covariance V of the parameters after the fit, and the error sigma of the finite simulation. Its p-value is
    from toys: lambda thrown with S V S^T and sigma, and n around it. Where no data were fitted, data, if there are any, are held against what is
    expected before the fit, with V of the constraints alone.

    Args:
        likelihood: Of the fit.
        builder: Of its model.
        regions: With errors of the simulation, and with observed counts where they may be looked at.
        dataset: What was fitted, `asimov` or `observed`.
        seed: Of the toys.
    """
    best = minimise(likelihood, likelihood.rates)
    stages = {"prefit": (best.rates.start, prior_covariance(best)), "postfit": (best.theta, best.theta_covariance)}
    judged = "prefit" if dataset == "asimov" else "postfit"
    found = {}
    for region in regions:
        table = builder.acting(region.name).binned(region)
        expected = {s: _expected(likelihood, table, region, *at) for s, at in stages.items()}
        goodness = None if region.observed is None else _judged(region.observed, *expected[judged][1:], seed)
        seen = None if region.observed is None else region.observed.tolist()
        found[region.name] = Distribution(expected["prefit"][0], expected["postfit"][0], None, seen, goodness)
    return Validation(regions=found, judged=judged, dataset=dataset)


def _expected(
    likelihood: Likelihood, table: Table, region: Counts, theta: Floats, covariance: Floats
) -> tuple[Prediction, Floats, Floats]:
    """Expect the counts of a region, (B,), with their covariance, (B, B)."""
    point = table.point(likelihood.rates.multiply(theta, second=False), likelihood.alpha(theta))
    variance = np.zeros(len(point.density))
    for process, own in zip(likelihood.rates.processes, point.components, strict=True):
        nominal = region.expected[process]
        variance += (region.errors[process] * np.divide(own, nominal, out=np.zeros_like(own), where=nominal > 0)) ** 2
    whole = point.slopes.T @ covariance @ point.slopes + np.diag(variance)
    processes = dict(zip(likelihood.rates.processes, point.components.tolist(), strict=True))
    return Prediction(processes, point.density.tolist(), np.sqrt(np.diag(whole)).tolist()), point.density, whole


def _judged(observed: Floats, expected: Floats, covariance: Floats, seed: int) -> Goodness:
    rng = np.random.default_rng(seed)
    inverse = np.linalg.pinv(covariance + np.diag(np.maximum(expected, 0.0)), hermitian=True)
    moved = rng.multivariate_normal(expected, covariance, THROWN, method="eigh")
    thrown = rng.poisson(np.maximum(moved, 0.0)) - expected
    chi2 = float((observed - expected) @ inverse @ (observed - expected))
    above = int((np.einsum("tb,bc,tc->t", thrown, inverse, thrown) >= chi2).sum())
    return Goodness(chi2, len(observed), (above + 1) / (THROWN + 1))
