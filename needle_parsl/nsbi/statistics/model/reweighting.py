"""Simulated events weighted to any point of the model: Asimov data, and distributions before and after the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.rows import Table

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Predicted:
    """What the model expects, as weights of simulated events."""

    weight: Floats
    """Shape (N,); those of process j add up to f_j nu_j G_j."""
    slopes: Floats
    """d weight / d theta, shape (P, N)."""

    def counts(self, bins: Ints, size: int, covariance: Floats) -> tuple[Floats, Floats]:
        """Histogram the events.

        Args:
            bins: The bin of each event, shape (N,); outside 0 to size - 1 it is not counted.
            size: Number of bins.
            covariance: Of theta, shape (P, P).

        Returns:
            Expectation of each bin, and its error from the parameters.
        """
        inside = (bins >= 0) & (bins < size)
        totals = np.bincount(bins[inside], self.weight[inside], size).astype(np.float64)
        slopes = np.array([np.bincount(bins[inside], row[inside], size) for row in self.slopes])
        return totals, np.sqrt(np.maximum(np.einsum("pb,pq,qb->b", slopes, covariance, slopes), 0.0))


def predicted(likelihood: Likelihood, theta: Floats, sample: Ints) -> Predicted:
    """Weight simulated events to a point of the model.

    Args:
        likelihood: With all simulated events behind its Z_j.
        theta: Where.
        sample: The process of each simulated event, in the order of the model, those of several regions one behind the other; shape (N,).
    """
    events = likelihood.of_kind("events")
    totals = likelihood.of_kind("total") or events  # without unbinned regions there are no events to weight
    borders = np.cumsum([table.simulated for table in events])[:-1]
    parts = [
        _predicted(likelihood, theta, pair, own)
        for *pair, own in zip(events, totals, np.split(sample, borders), strict=True)
    ]
    return Predicted(np.concatenate([p.weight for p in parts]), np.concatenate([p.slopes for p in parts], axis=1))


def _predicted(likelihood: Likelihood, theta: Floats, tables: Sequence[Table], sample: Ints) -> Predicted:
    """Weight the simulated events of a region, given by the tables of its events and of its total."""
    rates = likelihood.rates
    f, alpha = rates.multiply(theta, second=False), rates.moved(theta)
    events, total = tables
    scale = events.scale(alpha)
    weight, slopes = np.zeros(len(sample)), np.zeros((rates.physics + len(alpha), len(sample)))
    for simulation in events.simulation:
        j = simulation.process
        share, local = simulation.simulated(alpha)
        # An event without weight, which may be left out, expects nothing.
        own = np.flatnonzero(sample == j) if simulation.nominal is None else np.flatnonzero(simulation.nominal)
        whole = total.y[j, 0] * scale.value[j] * share * local.product
        moves = np.zeros((len(alpha), len(own))) + scale.first[j][:, None]
        moves[local.nuisance] += local.first
        weight[own] = f.value[j] * whole
        slopes[:, own] = np.concatenate([f.slopes[:, j, None] * whole, f.value[j] * whole * moves])
    return Predicted(weight, rates.folded(slopes))


def asimov(likelihood: Likelihood, theta: Floats, sample: Ints, gammas: Sequence[Floats] = ()) -> Likelihood:
    """Make the likelihood of Asimov data at a point: events, binned regions and auxiliary observations as expected there.

    Args:
        likelihood: Over all simulated events, which are behind its Z_j, too.
        theta: Where.
        sample: The process of each event.
        gammas: By what the simulation of each binned region is scaled there, as `Likelihood.gammas` has it; left out, by 1.
    """
    weight = predicted(likelihood, theta, sample).weight
    f, alpha, scales = likelihood.rates.factors(theta)[0], likelihood.alpha(theta), iter(gammas)
    borders = np.cumsum([table.y.shape[1] for table in likelihood.of_kind("events")])[:-1]
    weights, tables = iter(np.split(weight, borders)), []
    for table in likelihood.tables:
        if table.kind == "bins":
            gamma = next(scales, None)
            if gamma is None:
                gamma = np.ones(len(table.count) if table.staterror is None else table.staterror.seen.shape)
            scatter = table.staterror and replace(table.staterror, seen=gamma)
            tables.append(replace(table, count=table.held(gamma).densities(f, alpha), staterror=scatter))
        else:
            tables.append(replace(table, count=next(weights)) if table.kind == "events" else table)
    constraints = replace(likelihood.constraints, auxiliary=likelihood.constraints.expected(likelihood.alpha(theta)))
    return replace(likelihood, tables=tuple(tables), constraints=constraints)
