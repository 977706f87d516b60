"""How far a fit would move if a ratio were wrong where there are too few simulated events to learn it.

Where a process is alone, or is not to be seen, ln r may be wrong without any effect: what counts is the derivative of the score by ln r,
P_j (d ln f_j / d theta - s) with the probability P_j of the process and the score s of the event. It is taken from the likelihood itself, to first
order in ln r.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from needle_parsl.nsbi.estimators.checks.sparse import Sparse
from needle_parsl.nsbi.statistics.dataset import Dataset, at
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.results import SparseRegion

Floats = npt.NDArray[np.float64]
Build = Callable[[Dataset, Dataset], Likelihood]
"""Makes the likelihood of events, with others behind Z_j."""


def sparse_regions(
    build: Build, simulation: Dataset, poi: str, against: Mapping[str, Sequence[str]]
) -> dict[str, SparseRegion]:
    """Look for the sparse region of the ratio of each process, and at what it does to the fit.

    Args:
        build: Makes likelihoods.
        simulation: All simulated events.
        poi: The parameter of interest.
        against: By process, the samples against which its ratio is learned.
    """
    effect, found = _Effect(build, simulation, poi), {}
    for name in against:
        if sparse := _sparse(simulation, name, against[name]):
            own, rows = sparse
            found[name] = SparseRegion(own.share, own.effective, own.empty, effect(name, rows, _size(own)))
    return found


def _size(own: Sparse) -> float:
    """Give the error of ln r that so few events leave; a factor e where there are none."""
    return float(max(own.effective, 1.0) ** -0.5)


def _sparse(simulation: Dataset, name: str, against: Sequence[str]) -> tuple[Sparse, npt.NDArray[np.bool_]] | None:
    """Find the sparse region and the events in it; None without a ratio, or where what it is learned against is not in the fit."""
    if name not in simulation.ratios or not {name, *against} <= {*simulation.samples} or not against:
        return None
    places = [simulation.samples.index(other) for other in against]
    own, others = simulation.sample == simulation.samples.index(name), np.isin(simulation.sample, places)
    value = _densities(simulation, [name])[0] - logsumexp(_densities(simulation, against), axis=0)
    sparse = Sparse.of(value[own], value[others], simulation.weight[own], simulation.weight[others])
    return sparse, sparse.holds(value)


def _densities(simulation: Dataset, names: Sequence[str]) -> Floats:
    """Give ln (nu_j r_j) of some processes, shape (J, N)."""
    flat = np.zeros(len(simulation.weight))
    return np.array([np.log(simulation.yields[name]) + simulation.ratios.get(name, flat) for name in names])


class _Effect:
    """What a wrong ratio does to the fit of Asimov data, whose parameters are the nominal ones."""

    def __init__(self, build: Build, simulation: Dataset, poi: str) -> None:
        self.build, self.simulation = build, simulation
        rates = build(simulation, simulation).rates
        self.place, self.theta = rates.parameters.index(poi), rates.start
        factors = dict(zip(rates.processes, rates.factors(rates.start)[0].tolist(), strict=True))
        self.data = at(simulation, factors)
        likelihood = build(self.data, simulation)
        self.gradient, self.covariance = likelihood(self.theta)[1], _inverse(likelihood.hessian(self.theta))

    def __call__(self, name: str, rows: npt.NDArray[np.bool_], size: float) -> float | None:
        """Give the shift of the parameter of interest, in its error, with ln r off by so much in some events; None without an error."""
        variance = self.covariance[self.place, self.place]
        by: Floats = size * rows.astype(np.float64)
        shifts = [self._moved(name, sign * by) for sign in (1, -1)]
        return float(np.abs(shifts).max() / np.sqrt(variance)) if variance > 0 and np.isfinite(shifts).all() else None

    def _moved(self, name: str, by: Floats) -> float:
        ratios = {**self.simulation.ratios, name: self.simulation.ratios[name] + by}
        changed = self.build(replace(self.data, ratios=ratios), self.simulation)(self.theta)[1] - self.gradient
        return float(self.covariance[self.place] @ changed)


def _inverse(hessian: Floats) -> Floats:
    """Invert it; NaN where it is singular."""
    try:
        return np.asarray(np.linalg.inv(hessian), np.float64)
    except np.linalg.LinAlgError:
        return np.full_like(hessian, np.nan)
