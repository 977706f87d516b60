"""Distributions before and after the fit, by reweighting simulated events, and how well they describe the data.

The goodness of fit of binned data is the saturated deviance, which follows chi-squared:

    D = 2 sum_b [ lambda_b - n_b + n_b ln(n_b / lambda_b) ]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.reweighting import Predicted, predicted
from needle_parsl.nsbi.statistics.model.rows import Table
from needle_parsl.nsbi.statistics.results import Distribution, Distributions, Goodness, Prediction
from needle_parsl.nsbi.training.closure import p_value

Floats = npt.NDArray[np.float64]
BINS = 20
"""Of a distribution; each expects about as many events as the others."""
FEWEST = 10.0
"""Events that a bin expects, at least, so that chi-squared holds."""


@dataclass(frozen=True)
class RegionEvents:
    """The events of an unbinned region, of which distributions are shown."""

    simulation: Dataset
    """Events of all processes, which are behind Z_j."""
    data: Dataset | None
    """Observed events; None leaves them out."""
    features: Sequence[str]
    """Names of the features."""
    name: str = ""
    """Of the region, where there are several."""


Columns = dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any] | None]]
"""Values of simulated and of observed events, by what they are called."""
Stages = Mapping[str, tuple[Predicted, Floats]]
"""What is expected of simulated events before and after the fit, with the covariance of theta."""


def describe(likelihood: Likelihood, best: Result, regions: Sequence[RegionEvents]) -> Distributions:
    """Compare data with the model before and after the fit.

    Args:
        likelihood: That was fitted.
        best: Its fit.
        regions: Events of its unbinned regions, in their order.
    """
    stages = {"prefit": (best.rates.start, prior_covariance(best)), "postfit": (best.theta, best.theta_covariance)}
    sample = np.concatenate([np.empty(0, np.int64), *(own.simulation.sample for own in regions)])
    weighted = {stage: (predicted(likelihood, theta, sample), c) for stage, (theta, c) in stages.items()}
    found: dict[str, Distribution] = {}
    start = 0
    for own in regions:
        rows = slice(start, start + len(own.simulation.sample))
        parts = {s: (Predicted(p.weight[rows], p.slopes[:, rows]), c) for s, (p, c) in weighted.items()}
        found |= {name: _column(parts, own, *pair) for name, pair in _columns(own).items()}
        start = rows.stop
    observed = any(own.data is not None for own in regions)
    return Distributions(found, _regions(likelihood, best, observed=observed))


def _columns(own: RegionEvents) -> Columns:
    """List the features and log ratios of a region."""
    simulation, data = own.simulation, own.data
    found: Columns = {
        name: (simulation.x[:, k], None if data is None else data.x[:, k]) for k, name in enumerate(own.features)
    }
    for name in (name for name in simulation.samples if name in simulation.ratios):
        found[f"ln r of {name}"] = simulation.ratios[name], None if data is None else data.ratios[name]
    return {f"{name} in {own.name}" if own.name else name: pair for name, pair in found.items()}


def prior_covariance(best: Result) -> Floats:
    """Before the fit only constraints are known: unit errors of the nuisance parameters."""
    unit: Floats = np.diag(np.r_[np.zeros(best.rates.physics), np.ones(len(best.theta) - best.rates.physics)])
    return unit


def _column(stages: Stages, own: RegionEvents, values: npt.NDArray[Any], seen: npt.NDArray[Any] | None) -> Distribution:
    simulation, data = own.simulation, own.data
    edges = _edges(values.astype(np.float64), np.maximum(stages["prefit"][0].weight, 0.0))
    size, bins = len(edges) - 1, np.searchsorted(edges[1:-1], values, side="right").astype(np.int64)
    prefit, postfit = (
        _filled(weighted, simulation, bins, size, covariance) for weighted, covariance in stages.values()
    )
    if seen is None or data is None:
        return Distribution(prefit, postfit, edges.tolist())
    counted = np.bincount(np.searchsorted(edges[1:-1], seen, side="right"), data.weight, size).astype(np.float64)
    judged = deviance(counted, np.array(postfit.total), 1)
    return Distribution(prefit, postfit, edges.tolist(), counted.tolist(), judged)


def _filled(
    weighted: Predicted, simulation: Dataset, bins: npt.NDArray[np.int64], size: int, covariance: Floats
) -> Prediction:
    """Fill weighted events into bins, process by process."""
    total, error = weighted.counts(bins, size, covariance)
    processes = {
        name: np.bincount(bins[simulation.sample == j], weighted.weight[simulation.sample == j], size).tolist()
        for j, name in enumerate(simulation.samples)
    }
    return Prediction(processes, total.tolist(), error.tolist())


def _edges(values: Floats, weight: Floats) -> Floats:
    """Cut at weighted quantiles, so that the deviance holds; the outer edges are those of almost all events."""
    size = int(np.clip(weight.sum() / FEWEST, 2, BINS))
    order = np.argsort(values)
    share = np.cumsum(weight[order]) / weight.sum()
    inner = np.interp(np.linspace(0, 1, size + 1)[1:-1], share, values[order])
    low, high = np.interp([0.002, 0.998], share, values[order])
    return np.unique([min(low, inner[0]), *inner, max(high, inner[-1])])


def deviance(observed: Floats, expected: Floats, lost: int) -> Goodness:
    """Give the saturated deviance of counts, its degrees of freedom and its p-value.

    Args:
        observed: Shape (B,).
        expected: Shape (B,).
        lost: Degrees of freedom that the fit has taken, about.
    """
    safe = np.maximum(expected, 1e-300)
    logs = np.where(observed > 0, observed * np.log(np.where(observed > 0, observed, 1.0) / safe), 0.0)
    value, ndf = 2 * float((expected - observed + logs).sum()), max(len(observed) - lost, 1)
    return Goodness(value, ndf, p_value(value, ndf))


def _regions(likelihood: Likelihood, best: Result, *, observed: bool) -> dict[str, Distribution]:
    found = {}
    for table in likelihood.of_kind("bins"):
        prefit = _counted(likelihood, table, best.rates.start, prior_covariance(best))
        postfit = _counted(likelihood, table, best.theta, best.theta_covariance)
        seen = table.count.tolist() if observed else None
        judged = deviance(table.count, np.array(postfit.total), 0) if observed else None
        found[table.name] = Distribution(prefit, postfit, None, seen, judged)
    return found


def _counted(likelihood: Likelihood, table: Table, theta: Floats, covariance: Floats) -> Prediction:
    """Expect the counts of a region."""
    point = likelihood.point(table, theta)
    error = np.sqrt(np.maximum(np.einsum("pb,pq,qb->b", point.slopes, covariance, point.slopes), 0.0))
    processes = dict(zip(likelihood.rates.processes, point.components.tolist(), strict=True))
    return Prediction(processes, point.density.tolist(), error.tolist())


UNLIKELY = 1e-3
"""Probability, over all features, of as many events beyond the extremes if data and simulation are alike."""


def outside(data: npt.NDArray[np.float32], simulation: npt.NDArray[np.float32], names: Sequence[str]) -> list[str]:
    """Say of which features more events lie outside the simulated range than the finite simulation explains.

    If both are alike, the k largest of all N + M values are of the data with a probability of C(N, k) / C(N + M, k).

    Args:
        data: Features, shape (N, F).
        simulation: Features of all simulated events, shape (M, F).
        names: Of the features.
    """
    low, high = np.nanmin(simulation, axis=0), np.nanmax(simulation, axis=0)
    sides = np.array([(data < low).sum(axis=0), (data > high).sum(axis=0)])
    limit = np.log(UNLIKELY / sides.size)
    return [
        f"{sides[:, f].sum()} of {len(data)} observed events have {names[f]} outside {low[f]:g} to {high[f]:g}, where nothing "
        "was simulated and no ratio is known; narrow the selection, or simulate there"
        for f in map(int, np.flatnonzero((_log_chance(sides, len(data), len(simulation)) < limit).any(axis=0)))
    ]


def explained(beyond: npt.NDArray[np.intp], data: int, simulation: int) -> bool:
    """Whether the ends of a finite simulation explain as many observed events beyond them, see `outside`.

    Args:
        beyond: Events outside, shape (F,).
        data: N.
        simulation: M.
    """
    return bool((_log_chance(beyond, data, simulation) > np.log(UNLIKELY / (2 * len(beyond)))).all())


def _log_chance(beyond: npt.NDArray[np.intp], data: int, simulation: int) -> npt.NDArray[np.float64]:
    """Give ln C(N, k) / C(N + M, k)."""
    whole = data + simulation
    found: npt.NDArray[np.float64] = (
        gammaln(data + 1) - gammaln(data - beyond + 1) - gammaln(whole + 1) + gammaln(whole - beyond + 1)
    )
    return found
