"""Fits of datasets, with all errors that are known, and what is done with the profile likelihood beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl.analysis import Plane as PlaneTable
from needle_parsl.analysis import Scan as ScanTable
from needle_parsl.nsbi.statistics import blinding, network_error, outside
from needle_parsl.nsbi.statistics.blinding import HiddenOffset
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits import distributions, ensemble_error, weighted_data
from needle_parsl.nsbi.statistics.fits import impacts as moving
from needle_parsl.nsbi.statistics.fits.descent import Objective
from needle_parsl.nsbi.statistics.fits.distributions import RegionEvents
from needle_parsl.nsbi.statistics.fits.ensemble_error import Shifted, propagate, simulation_errors
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.intervals import limits, planes, profile
from needle_parsl.nsbi.statistics.model import Rates
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.reweighting import asimov
from needle_parsl.nsbi.statistics.network_error import Networks
from needle_parsl.nsbi.statistics.results import (
    Distributions,
    FitResult,
    Impacts,
    Limits,
    OutsideEvents,
    PlaneStrip,
    ProfileScan,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Build = Callable[[Dataset, Dataset], Likelihood]
"""Makes the likelihood of events, with others behind Z_j; with the binned regions of the model."""


class SimulatedData(NamedTuple):
    """Asimov data, for the uncertainty from the finite number of simulated events."""

    likelihood: Likelihood
    sample: Ints
    """The process of each event, shape (N,)."""
    normalised: bool = False
    """Whether ratios are normalised at the yields, so that the total error holds it."""
    apart: bool = False
    """Whether other data are fitted."""


class WeightMoves(NamedTuple):
    """How a likelihood moves with the fitted weights of wifi ensembles."""

    covariance: Floats
    """Of all weights of all ratios, shape (W, W)."""
    shifted: Shifted
    """Gives the likelihood with the weights moved."""


MovesOf = Callable[[Floats], WeightMoves | None]
"""Gives the moves of Asimov data whose events have other weights, shape (N,); None without wifi ensembles."""


@dataclass(frozen=True)
class CrossFitted:
    """The networks of cross-fitted ratios, one by one."""

    networks: Networks
    simulation: Dataset
    """All simulated events."""
    build: Build


@dataclass(frozen=True)
class ObservedEvents:
    """Observed events, and the simulated ones whose range they may leave."""

    data: Dataset
    simulation: Dataset
    features: Sequence[str]
    build: Build
    """With the other regions as they are."""
    region: str = ""
    """Its name, where there are several."""


def fit_dataset(
    likelihood: Likelihood,
    *,
    minos: Sequence[str] = (),
    expected: bool = False,
    added: bool = False,
    simulated: SimulatedData | None = None,
    moves: WeightMoves | None = None,
    networks: Sequence[CrossFitted] = (),
    observed: Sequence[ObservedEvents] = (),
) -> FitResult:
    """Minimise -ln L, and estimate every error that is known.

    Args:
        likelihood: Of the data.
        minos: Parameters whose MINOS interval is wanted.
        expected: Whether the data are expectations, as Asimov data; the weights of observed events widen the errors.
        added: Whether the error of the finite simulation is part of the total error, and of what t is divided by.
        simulated: For the error of the finite simulation; None leaves it out.
        moves: For the error of ensemble weights, in the place of that of networks.
        networks: For the error of cross-fitted networks, of each unbinned region.
        observed: For the events where nothing was simulated, of each unbinned region; none does not look for them.
    """
    best = minimise(likelihood, likelihood.rates, minos=minos)
    if not expected and not all((table.count == 1).all() for table in likelihood.of_kind("events")):
        best = weighted_data.weighted(likelihood, best)
    finite = _finite(simulated, best) if simulated else None
    errors, inflation = _ensemble(best, moves, networks) if best.converged else (None, None)
    if added and finite is not None:
        inflation = _with_simulation(best, finite, inflation)
    floored, normalisations = likelihood.floored(best.theta), likelihood.normalisations(best.theta)
    normalised = simulated is not None and simulated.normalised
    found = best.record(
        floored, normalisations, finite, errors, inflation, finite=normalised, added=added and finite is not None
    )
    return replace(found, outside=outside.joined([_outside(own, best) for own in observed])) if observed else found


def fit_exactly(objective: Objective, rates: Rates) -> FitResult:
    """Minimise -ln L of exact densities."""
    return minimise(objective, rates).record(0, {})


def _finite(simulated: SimulatedData, best: Result) -> Floats:
    """Estimate the uncertainty of each parameter from the finite number of simulated events, shape (P,)."""
    apart = simulated.apart and not simulated.normalised
    return simulation_errors(simulated.likelihood, best.theta, best.theta_covariance, simulated.sample, apart=apart)


def _with_simulation(best: Result, finite: Floats, inflation: Floats | None) -> Floats:
    """Add the variance of the finite simulation, over that of the fit, to what t of each parameter is divided by: k = 1 + sigma_sim^2 / sigma^2."""
    errors = np.array([best.error(name) for name in best.parameters])
    more = np.divide(finite, errors, out=np.zeros_like(finite), where=errors > 0) ** 2
    found: Floats = (np.ones_like(finite) if inflation is None else np.nan_to_num(inflation, nan=1.0)) + more
    return found


def _ensemble(
    best: Result, moves: WeightMoves | None, crossed: Sequence[CrossFitted]
) -> tuple[Floats | None, Floats | None]:
    """Give the errors of parameters that weights or networks add, and what t is divided by for those of weights."""
    if moves is not None:
        found = propagate(moves.shifted, best, moves.covariance)
        return np.array([found.error(name) for name in best.parameters]), found.inflation
    if not crossed:
        return None, None
    # Networks of different regions are independent.
    added = sum(network_error.covariance(own.networks, own.simulation, best, own.build) for own in crossed)
    return np.sqrt(np.maximum(np.diag(added), 0.0)), None


def _outside(observed: ObservedEvents, best: Result) -> OutsideEvents:
    """Count the observed events where nothing was simulated, and fit the others alone."""
    data = observed.data

    def fitted(kept: npt.NDArray[np.bool_]) -> dict[str, float]:
        ratios = {name: values[kept] for name, values in data.ratios.items()}
        some = replace(data, x=data.x[kept], weight=data.weight[kept], sample=data.sample[kept], ratios=ratios)
        likelihood = observed.build(some, observed.simulation)
        other = minimise(likelihood, likelihood.rates)
        return {name: other.value(name) for name in other.parameters}

    known = {name: best.value(name) for name in best.parameters}
    named = [f"{name} in {observed.region}" if observed.region else name for name in observed.features]
    return outside.count(data.x, observed.simulation.x, named, fitted, known)


def scan_dataset(
    objective: Objective,
    rates: Rates,
    parameter: str,
    where: ScanTable | None = None,
    levels: Sequence[float] = (0.68, 0.95),
    *,
    statistical: bool = False,
    inflation: float = 1.0,
    hidden: HiddenOffset | None = None,
    dataset: str = "",
) -> ProfileScan:
    """Scan one parameter, and read its confidence intervals off.

    Args:
        objective: Gives -ln L and its gradient.
        rates: Names, starting values and bounds.
        parameter: What is scanned.
        where: The grid; None chooses one.
        levels: Confidence levels.
        statistical: Whether the nuisance parameters are held at their best fit.
        inflation: k, for the error of ensemble weights.
        hidden: By what the parameter is shifted in the result, which then is around the best value.
        dataset: Its name.
    """
    best = minimise(objective, rates)
    held = best.nuisances() if statistical else None
    around = hidden.window(best.value(parameter)) if hidden else where
    found = replace(profile.scan(objective, best, parameter, around, levels, held, inflation), dataset=dataset)
    return blinding.hide_scan(found, hidden) if hidden else found


def scan_strip(likelihood: Likelihood, where: PlaneTable, rows: tuple[int, int]) -> PlaneStrip:
    """Scan some rows of a plane; see `planes.strip`, and `planes.join`, which puts strips together."""
    return planes.strip(likelihood, minimise(likelihood, likelihood.rates), where, rows)


def find_impacts(
    likelihood: Likelihood,
    parameter: str,
    methods: Sequence[str] = moving.METHODS,
    *,
    hidden: HiddenOffset | None = None,
    dataset: str = "",
) -> Impacts:
    """Move every nuisance parameter, and look at the parameter of interest; see `fits.impacts`."""
    best = minimise(likelihood, likelihood.rates)
    found = replace(moving.impacts(likelihood, best, parameter, methods), dataset=dataset)
    return blinding.hide_impacts(found, best.value(parameter), hidden) if hidden else found


def find_limits(
    likelihood: Likelihood,
    simulated: SimulatedData,
    parameter: str,
    *,
    background: float = 0.0,
    level: float = 0.95,
    inflation: float = 1.0,
    added: float = 0.0,
    moves_of: MovesOf | None = None,
    blind: bool = False,
    dataset: str = "",
) -> Limits:
    """Find upper limits by asymptotic CLs; what is expected of them comes from Asimov data without a signal.

    Args:
        likelihood: Of the data.
        simulated: Over all simulated events, with the auxiliary observations and regions of Asimov data.
        parameter: The parameter of interest.
        background: Its value without a signal.
        level: Confidence level.
        inflation: k of the data, for the error of ensemble weights.
        added: What the finite simulation adds to k; `inflation` holds it.
        moves_of: For that of the Asimov data.
        blind: Leaves out the observed limit.
        dataset: Its name.
    """
    held = minimise(likelihood, likelihood.rates, fixed={parameter: background}, errors=False)
    without = asimov(simulated.likelihood, held.theta, simulated.sample, likelihood.gammas(held.theta))
    seen = limits.Test.of(likelihood, parameter, inflation)
    expected = limits.Test.of(
        without, parameter, (inflation_of(without, held.theta, parameter, moves_of) or 1.0) + added
    )
    found = limits.limits(seen, expected, background, level, blind=blind)
    return replace(found, converged=found.converged and held.converged, dataset=dataset)


def inflation_of(thrown: Likelihood, theta: Floats, parameter: str, moves_of: MovesOf | None) -> float | None:
    """Find what t of Asimov data of some truth is divided by; None where weights have no error, or none that is known.

    Args:
        thrown: The Asimov data.
        theta: Their truth, shape (P,).
        parameter: That t tests.
        moves_of: How their likelihood moves with ensemble weights.
    """
    moves = moves_of(np.concatenate([table.count for table in thrown.of_kind("events")])) if moves_of else None
    if moves is None:
        return None
    found = ensemble_error.inflation(thrown, moves.shifted, theta, moves.covariance)
    k = float(found[thrown.rates.parameters.index(parameter)])
    return None if np.isnan(k) else k


def inflations_at(
    simulated: SimulatedData, truths: Sequence[Mapping[str, float]], parameter: str, moves_of: MovesOf | None
) -> list[float | None]:
    """Find what t is divided by at each truth; see `inflation_of`."""
    likelihood, sample = simulated.likelihood, simulated.sample
    where = [likelihood.rates.at(truth) for truth in truths]
    return [inflation_of(asimov(likelihood, theta, sample), theta, parameter, moves_of) for theta in where]


def describe_distributions(
    likelihood: Likelihood,
    simulation: Dataset,
    data: Dataset | None,
    features: tuple[str, ...],
    *,
    dataset: str = "",
) -> Distributions:
    """Compare data with the model before and after the fit; see `distributions.describe`."""
    return describe_regions(likelihood, [RegionEvents(simulation, data, features)], dataset=dataset)


def describe_regions(likelihood: Likelihood, regions: Sequence[RegionEvents], *, dataset: str = "") -> Distributions:
    """Compare data with the model in several unbinned regions, before and after the fit; see `distributions.describe`."""
    best = minimise(likelihood, likelihood.rates)
    return replace(distributions.describe(likelihood, best, regions), dataset=dataset)
