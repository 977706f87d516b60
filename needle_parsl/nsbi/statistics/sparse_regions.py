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

from needle_parsl.nsbi.estimators.checks.sparse import LEAST, Sparse
from needle_parsl.nsbi.statistics.dataset import Dataset, at
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.results import SparseRegion

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Build = Callable[[Dataset, Dataset], Likelihood]
"""Makes the likelihood of events, with others behind Z_j."""


def sparse_regions(
    build: Build, simulation: Dataset, poi: str, against: Mapping[str, Sequence[str]]
) -> dict[str, SparseRegion]:
    """Look where the ratio of each process has too few events to be learned, and at what that does to the fit.

    Args:
        build: Makes likelihoods.
        simulation: All simulated events.
        poi: The parameter of interest.
        against: By process, the samples against which its ratio is learned; without a ratio, or where these are not in the fit, nothing is said.
    """
    effect, samples = _Effect(build, simulation, poi), {*simulation.samples}
    known = [name for name, others in against.items() if name in simulation.ratios and {name, *others} <= samples]
    return {name: _region(simulation, name, against[name], effect) for name in known if against[name]}


def _region(simulation: Dataset, name: str, against: Sequence[str], effect: _Effect) -> SparseRegion:
    own = simulation.sample == simulation.samples.index(name)
    others = np.isin(simulation.sample, [simulation.samples.index(other) for other in against])
    value = _densities(simulation, [name])[0] - logsumexp(_densities(simulation, against), axis=0)
    weight = simulation.weight
    few = Sparse.of(value[own], value[others], weight[own], weight[others])
    none, beyond = _beyond(simulation, own, others)
    error = np.where(none, 1.0, few.holds(value) / np.sqrt(max(few.effective, 1.0)))
    return SparseRegion(few.share, few.effective, beyond, effect(name, error))


def _densities(simulation: Dataset, names: Sequence[str]) -> Floats:
    """Give ln (nu_j r_j) of some processes, shape (J, N)."""
    flat = np.zeros(len(simulation.weight))
    return np.array([np.log(simulation.yields[name]) + simulation.ratios.get(name, flat) for name in names])


def _beyond(simulation: Dataset, own: Mask, others: Mask) -> tuple[Mask, float]:
    """Find the events beyond all others in the feature in which they are the largest share of a process.

    Returns:
        Which they are, shape (N,), and that share. There are none where fewer than 10 of the others would be there if these were alike: the ends
        of a finite sample.
    """
    low, high = (simulation.x[others].min(axis=0), simulation.x[others].max(axis=0))
    outside = (simulation.x < low) | (simulation.x > high)
    shares = simulation.weight[own] @ outside[own] / simulation.weight[own].sum()
    place, weight = int(shares.argmax()), simulation.weight[others]
    alike = shares[place] * weight.sum() ** 2 / (weight**2).sum()
    return (outside[:, place], float(shares[place])) if alike >= LEAST else (np.zeros_like(own), 0.0)


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

    def __call__(self, name: str, error: Floats) -> float | None:
        """Give the shift of the parameter of interest, in its error, with ln r of a process off by so much, shape (N,); None without an error."""
        variance = self.covariance[self.place, self.place]
        shifts = [self._moved(name, sign * error) for sign in (1, -1)]
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
