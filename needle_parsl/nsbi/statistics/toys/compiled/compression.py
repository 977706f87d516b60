"""Few simulated events that stand for all of them in Z_j, with weights of their own: chosen once per campaign.

    sum_few v_i prod_k g_jik(alpha_k)  ~  Z_j(alpha) = sum_all w_i prod_k g_jik(alpha_k)

As functions of alpha the products of different events are nearly linear combinations of those of a few hundred. A QR
decomposition with pivots picks these, and the weights with which Z_j and its slopes are right at many points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.linalg import qr, solve_triangular

from needle_parsl.nsbi.statistics.toys.compiled.arrays import Rows
from needle_parsl.nsbi.statistics.toys.compiled.evaluation import scratch
from needle_parsl.nsbi.statistics.toys.compiled.normalisation import correction, total

if TYPE_CHECKING:
    from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
    from needle_parsl.nsbi.statistics.model.normalisation import Simulation

Floats = npt.NDArray[np.float64]
FEW, CANDIDATES = 384, 640
"""Events that are chosen for a process, and those from which they are."""
NEAR, ANYWHERE = 160, 40
"""Points at which the weights are fitted: spread like minima of toys, and in all of the box."""
SPREAD = 1.1
"""How far the near ones are spread, in sigma."""
LIGHT = 1e-3
"""Weight of the others; it keeps Z_j positive where hardly any fit comes."""
SINGULAR = 1e-13
"""Pivots that are smaller, relative to the first, say nothing."""
TRIALS = 100
"""Points at which it is seen how good the few are."""
SLOPE, VALUE = 1e-4, 3e-7
"""Errors of -ln L and of its slopes that Z_j may cause without a sum over all events; a slope of 1e-4 moves a minimum by at
most as many standard errors."""


def few(
    simulations: Sequence[Sequence[Simulation]], every: Rows, likelihood: Likelihood
) -> list[tuple[Simulation, ...]]:
    """Choose events of each region and process, and their weights.

    Args:
        simulations: The events behind Z_j, by region.
        every: The same as tables.
        likelihood: Whose they are.
    """
    rng, (low, high) = np.random.default_rng(0), _box(likelihood)
    near = np.clip(rng.normal(0, SPREAD, (NEAR, len(low))), low, high)
    points = np.concatenate([near, rng.uniform(low, high, (ANYWHERE, len(low)))])
    logs, slopes = _sums(every, likelihood, points)
    processes = len(likelihood.rates.processes)
    return [
        tuple(_chosen(s, points, np.exp(logs[:, r + s.process]), slopes[:, r + s.process], rng) for s in region)
        for r, region in zip(range(0, logs.shape[1], processes), simulations, strict=True)
    ]


def _chosen(simulation: Simulation, points: Floats, z: Floats, slopes: Floats, rng: np.random.Generator) -> Simulation:
    responses, n = simulation.responses, len(simulation.weight)
    if n <= FEW or not len(responses.process):
        return simulation
    rows = np.sort(rng.choice(n, min(n, CANDIDATES), replace=False))
    own, scale = responses.take(rows), np.sqrt(np.abs(simulation.weight[rows]))
    design = np.empty((len(points), 1 + len(own.process), len(rows)))
    for place, alpha in enumerate(points):
        curves = own.curves(alpha)
        design[place, 0] = curves.value.prod(axis=0) / z[place]
        design[place, 1:] = design[place, 0] * curves.slope
    wanted = np.concatenate([np.ones((len(points), 1)), slopes[:, own.nuisance]], axis=1)
    heavy = np.where(np.arange(len(points)) < NEAR, 1.0, LIGHT)
    q, r, pivots = qr((design * heavy[:, None, None]).reshape(-1, len(rows)) * scale, mode="economic", pivoting=True)
    size = min(FEW, int((np.abs(np.diag(r)) > SINGULAR * abs(r[0, 0])).sum()))
    found = solve_triangular(r[:size, :size], q[:, :size].T @ (wanted * heavy[:, None]).ravel())
    kept = pivots[:size]
    return replace(simulation, weight=found * scale[kept], responses=own.take(kept))


def trusted(few: Rows, every: Rows, likelihood: Likelihood) -> float:
    """Find the largest |alpha| up to which the few are good enough at all of some further points; infinite without shapes."""
    if not every.begin[-1]:
        return np.inf
    rng, (low, high) = np.random.default_rng(1), _box(likelihood)
    points = rng.normal(0, 1, (TRIALS, len(low))) * np.linspace(0.2, 1.6, TRIALS)[:, None]
    points = np.clip(points, low, high)
    weight = np.abs(likelihood.expected_by_region(likelihood.rates.start)).ravel()
    (logs, slopes), (right, right_slopes) = (_sums(rows, likelihood, points) for rows in (few, every))
    good = np.abs(logs - right) @ weight < VALUE
    good &= (np.abs(slopes - right_slopes) * weight[:, None]).sum(axis=1).max(axis=1) < SLOPE
    far = np.linalg.norm(points, axis=1)
    return float(far.max() if good.all() else far[~good].min())


def _box(likelihood: Likelihood) -> tuple[Floats, Floats]:
    low, high = np.array(likelihood.rates.limits()[likelihood.rates.physics :]).reshape(-1, 2).T
    return low, high


def _sums(sample: Rows, likelihood: Likelihood, points: Floats) -> tuple[Floats, Floats]:
    """Give ln Z_j of the processes of all regions, shape (S, M J), and its slopes, shape (S, M J, K), by the code that fits use."""
    tables, nuisances = len(sample.size), likelihood.nuisances
    s, c = scratch(nuisances, len(likelihood.rates.processes), sample.nuisance.shape[1]), correction(tables, nuisances)
    logs, slopes = np.empty((len(points), tables)), np.empty((len(points), tables, nuisances))
    for place, alpha in enumerate(points):
        total(sample, alpha, s, c, False)
        logs[place], slopes[place] = c.log, c.up
    return logs, slopes
