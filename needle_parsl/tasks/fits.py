"""Tasks of fits: the minimum, scans, impacts, limits and distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from needle_parsl import files
from needle_parsl.files import write_json
from needle_parsl.nsbi.statistics import closure, network_error, outside
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits import distributions, ensemble_error, ensemble_shifts, impacts, weighted_data
from needle_parsl.nsbi.statistics.fits.ensemble_error import Shifted, propagate, simulation_errors
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.result import Floats, Result
from needle_parsl.nsbi.statistics.intervals import limits, planes, profile
from needle_parsl.nsbi.statistics.model import regions
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.reweighting import asimov
from needle_parsl.plan import Task, specs
from needle_parsl.records import Record, writing
from needle_parsl.tasks import inputs


def fit(root: str, task: Task, *_before: Record) -> Record:
    """Fit a dataset, with learned ratios or with exact densities."""
    with writing(root, task) as out:
        found = _exact(root, task.spec) if isinstance(task.spec, specs.Exact) else _learned(root, task.of(specs.Fit))
        files.write_json(out.path, found)
    return out.record(root)


def _exact(root: str, spec: specs.Exact) -> dict[str, Any]:

    learned = inputs.likelihood(root, spec.fit)
    return minimise(inputs.exact_likelihood(root, spec, learned), learned.rates).record(0, {})


def _learned(root: str, spec: specs.Fit) -> dict[str, Any]:

    learned, simulation = inputs.likelihood(root, spec), inputs.simulation(root, spec)
    best = minimise(learned, learned.rates, minos=spec.minos)
    if spec.dataset != "asimov" and not all((table.count == 1).all() for table in learned.of_kind("events")):
        best = weighted_data.weighted(learned, best)
    finite = _finite(root, spec, learned, best)
    floored, normalisations = learned.floored(best.theta), learned.normalisations(best.theta)
    errors, inflation = _ensemble(root, spec, best)
    found = best.record(floored, normalisations, finite, errors, inflation, finite=bool(simulation.priors))
    if spec.binned or spec.dataset == "asimov":
        return found
    return found | {"outside": _outside(root, spec, simulation, best)}


def _outside(root: str, spec: specs.Fit, simulation: Dataset, best: Result) -> dict[str, Any]:
    """Count the observed events where nothing was simulated, and fit the others alone."""
    data, regions = inputs.dataset(root, spec.dataset), inputs.regions(root, spec)

    def fitted(kept: npt.NDArray[np.bool_]) -> dict[str, float]:
        ratios = {name: values[kept] for name, values in data.ratios.items()}
        some = replace(data, x=data.x[kept], weight=data.weight[kept], sample=data.sample[kept], ratios=ratios)
        learned = inputs.likelihood_of(spec, some, simulation, regions)
        other = minimise(learned, learned.rates)
        return {name: other.value(name) for name in other.parameters}

    known = {name: best.value(name) for name in best.parameters}
    return outside.record(data.x, simulation.x, inputs.features(root, spec.dataset), fitted, known)


def _finite(root: str, spec: specs.Fit, learned: Likelihood, best: Result) -> Floats | None:
    """Estimate what the finite number of simulated events is worth: on Asimov data, or on all where they normalise the ratios."""
    simulation = inputs.simulation(root, spec)
    if spec.binned or (spec.dataset != "asimov" and not simulation.priors):
        return None
    asimov = learned if spec.dataset == "asimov" else inputs.likelihood(root, inputs.expected(spec))
    return simulation_errors(asimov, best.theta, best.theta_covariance, simulation.sample)


def _ensemble(root: str, spec: specs.Fit, best: Result) -> tuple[Floats | None, Floats | None]:
    """Propagate the covariance of wifi weights, where the ratios have one: errors of the parameters, and what t is divided by."""
    if spec.binned:
        return None, None
    moved = _moved(root, spec, inputs.fitted(root, spec)) if best.converged else None
    if moved is None:
        return _by_networks(root, spec, best), None
    found = propagate(moved[1], best, moved[0])
    return np.array([found.error(name) for name in best.parameters]), found.inflation


def _by_networks(root: str, spec: specs.Fit, best: Result) -> Floats | None:
    """Estimate the errors that cross-fitted networks add to the parameters; None where ratios are made otherwise."""
    found = network_error.read(inputs.path(root, "evaluate", "asimov")) if best.converged else None
    if found is None:
        return None
    added = network_error.covariance(
        found, inputs.dataset(root, "asimov"), best, lambda events, behind: inputs.likelihood_of(spec, events, behind)
    )
    return np.sqrt(np.maximum(np.diag(added), 0.0))


def _moved(root: str, spec: specs.Fit, data: Dataset) -> tuple[Floats, Shifted] | None:
    """Give the likelihood as a function of the weights of wifi ratios, and before it their covariance; None without such."""
    behind = ensemble_shifts.read(inputs.path(root, "evaluate", "asimov"))
    moves = behind if spec.dataset == "asimov" else ensemble_shifts.read(inputs.path(root, "evaluate", spec.dataset))
    if moves is None or behind is None:
        return None
    regions = inputs.regions(root, spec)
    shifted = ensemble_shifts.mover(
        lambda events, simulation: inputs.likelihood_of(spec, events, simulation, regions),
        (data, moves),
        (inputs.dataset(root, "asimov"), behind),
    )
    return moves.covariance.values, shifted


def _known_inflation(root: str, spec: specs.Interval | specs.Limits) -> float:
    """Read from the fit what t of a parameter is divided by; 1 where weights have no error, or none that is known."""
    if not spec.inflated:
        return 1.0
    fit = files.read_json(inputs.path(root, "fit", spec.fit.dataset))
    return float(fit["parameters"][spec.poi]["ensemble_inflation"] or 1.0)


def interval(root: str, task: Task, *_before: Record) -> Record:
    """Do what is done with the profile likelihood: scans, impacts, limits, distributions."""
    with writing(root, task) as out:
        files.write_json(out.path, WORK[type(task.spec)](root, task.spec))
    return out.record(root)


def _scan(root: str, spec: specs.Interval) -> dict[str, Any]:
    """Scan one parameter, and read its confidence intervals off."""
    learned = inputs.likelihood(root, spec.fit)
    objective = inputs.exact_likelihood(root, spec.exact, learned) if spec.exact else learned
    best = minimise(objective, learned.rates)
    held = best.nuisances() if spec.statistical else None
    found = profile.scan(objective, best, spec.poi, spec.scan, spec.levels, held, _known_inflation(root, spec))
    return {**found, "dataset": spec.fit.dataset}


def _strip(root: str, spec: specs.PlaneRows) -> dict[str, Any]:
    """Scan some rows of a plane."""
    learned = inputs.likelihood(root, spec.fit)
    best = minimise(learned, learned.rates)
    return planes.strip(learned, best, spec.plane, spec.rows)


def _plane(root: str, spec: specs.Area) -> dict[str, Any]:
    """Join the rows of a plane."""
    strips = [files.read_json(inputs.path(root, "interval", name)) for name in spec.strips]
    return {**planes.join(strips, spec.levels), "dataset": spec.fit.dataset}


def _impacts(root: str, spec: specs.Impacts) -> dict[str, Any]:
    """Move every nuisance parameter, and look at the parameter of interest."""
    learned = inputs.likelihood(root, spec.fit)
    best = minimise(learned, learned.rates)
    return {**impacts.impacts(learned, best, spec.poi, spec.methods), "dataset": spec.fit.dataset}


def _limits(root: str, spec: specs.Limits) -> dict[str, Any]:
    """Find upper limits; what is expected of them comes from Asimov data without a signal."""
    learned = inputs.likelihood(root, spec.fit)
    held = minimise(learned, learned.rates, fixed={spec.poi: spec.background}, errors=False)
    simulated = inputs.likelihood(root, inputs.expected(spec.fit))
    without = asimov(simulated, held.theta, inputs.simulation(root, spec.fit).sample, learned.gammas(held.theta))
    seen = limits.Test.of(learned, spec.poi, _known_inflation(root, spec))
    expected = limits.Test.of(without, spec.poi, _inflation(root, spec.fit, spec.poi, without, held.theta) or 1.0)
    found = limits.limits(seen, expected, spec.background, spec.level, blind=spec.fit.dataset == "asimov")
    return {**found, "converged": found["converged"] and held.converged, "dataset": spec.fit.dataset}


def _inflation(root: str, spec: specs.Fit, poi: str, thrown: Likelihood, theta: Floats) -> float | None:
    """Find what t of Asimov data of some truth is divided by; None where weights have no error, or none that is known."""
    if spec.binned:
        return None
    (events,) = thrown.of_kind("events")
    data = replace(inputs.dataset(root, "asimov"), weight=events.count)
    moved = _moved(root, inputs.expected(spec), data)
    if moved is None:
        return None
    found = ensemble_error.inflation(thrown, moved[1], theta, moved[0])[thrown.rates.parameters.index(poi)]
    return None if np.isnan(found) else float(found)


def inflations(root: str, spec: specs.Coverage, truths: Sequence[Mapping[str, float]]) -> list[float | None]:
    """Find what t is divided by at each truth for the error of ensemble weights; None where there is none."""
    if spec.inflated is None:
        return [None] * len(truths)
    simulated, sample = inputs.likelihood(root, spec.inflated), inputs.simulation(root, spec.inflated).sample
    where = [simulated.rates.at(truth) for truth in truths]
    return [_inflation(root, spec.inflated, spec.poi, asimov(simulated, theta, sample), theta) for theta in where]


def _distributions(root: str, spec: specs.Distributions) -> dict[str, Any]:
    """Compare data with the model before and after the fit; Asimov data shows the model alone."""
    learned = inputs.likelihood(root, spec.fit)
    best, observed = minimise(learned, learned.rates), spec.fit.dataset != "asimov"
    data = inputs.fitted(root, spec.fit) if observed else None
    found = distributions.describe(learned, best, inputs.simulation(root, spec.fit), data, spec.features)
    return {**found, "dataset": spec.fit.dataset}


def _closing(root: str, spec: specs.Closing) -> dict[str, Any]:
    """Inject variations and signals, normalise on halves, throw toys."""
    simulation, regions = inputs.dataset(root, "asimov"), inputs.regions(root, spec.fit)
    varied = {d.name: inputs.varied(root, spec.simulation, d, simulation) for d in spec.simulation.varied}
    processes: dict[str, list[str]] = {}
    for shape in spec.fit.shapes:
        processes.setdefault(shape.nuisance, []).append(shape.process)

    def build(data: Dataset, behind: Dataset) -> Likelihood:
        return inputs.likelihood_of(spec.fit, data, behind, regions)

    from needle_parsl.nsbi.estimators import yield_scales  # noqa: PLC0415  with torch, which other fits do without

    found = {name: yield_scales.read(inputs.path(root, "normalise", name)) for name in spec.normalisations}
    return {
        "points": [dict(point) for point in spec.points],
        "yields": dict(simulation.priors),
        "normalisation": {name: one.record() for name, one in found.items()},
        "variations": closure.record(closure.variations(build, simulation, varied, processes)),
        "signals": closure.record(closure.signals(build, simulation, spec.poi)),
        "halves": closure.record(closure.halves(build, simulation, spec.salt)),
        "toys": closure.scatter(build, simulation, spec.poi, spec.salt),
    }


WORK: dict[type, Any] = {
    specs.Closing: _closing,
    specs.Interval: _scan,
    specs.PlaneRows: _strip,
    specs.Area: _plane,
    specs.Impacts: _impacts,
    specs.Limits: _limits,
    specs.Distributions: _distributions,
}
"""What is done for each kind of spec of the stage `interval`."""


def count(root: str, task: Task, *_before: Record) -> Record:
    """Count what is expected and observed in the bins of a region."""
    spec = task.of(specs.Count)
    with writing(root, task) as out:
        names = [share.density.name for share in spec.samples]
        expected = {name: inputs.counted(root, spec, name, scale) for name, scale in inputs.scales(root, spec).items()}
        observed = inputs.counted(root, spec, "observed", 1.0) if spec.observed else None
        overlap = {name: inputs.shared(root, spec, name) for name in names}
        write_json(out.path, regions.record(spec.region, spec.edges, expected, observed, overlap))
    return out.record(root)
