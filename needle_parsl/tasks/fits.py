"""Tasks of fits: the minimum, scans, impacts, limits and distributions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from needle_parsl import files
from needle_parsl.json_records import JsonRecord
from needle_parsl.nsbi.estimators.results import RatioDiagnostics
from needle_parsl.nsbi.statistics import analyses, blinding, injections, network_error
from needle_parsl.nsbi.statistics import residuals as measuring
from needle_parsl.nsbi.statistics.analyses import CrossFitted, ObservedEvents, SimulatedData, WeightMoves
from needle_parsl.nsbi.statistics.blinding import HiddenOffset
from needle_parsl.nsbi.statistics.dataset import Dataset, nothing
from needle_parsl.nsbi.statistics.fits import ensemble_shifts
from needle_parsl.nsbi.statistics.fits.distributions import RegionEvents
from needle_parsl.nsbi.statistics.fits.ensemble_shifts import MovedRegion
from needle_parsl.nsbi.statistics.fits.result import Floats
from needle_parsl.nsbi.statistics.model import regions
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.results import (
    Distributions,
    FitResult,
    GroupNormalisation,
    Impacts,
    InjectionTests,
    Limits,
    PlaneStrip,
    ProfilePlane,
    ProfileScan,
    RatioScale,
)
from needle_parsl.plan import Task, specs
from needle_parsl.records import Record, writing
from needle_parsl.tasks import inputs


def fit(root: str, task: Task, *_before: Record) -> Record:
    """Fit a dataset, with learned ratios or with exact densities."""
    with writing(root, task) as out:
        found = (
            _exact(root, task.spec) if isinstance(task.spec, specs.Exact) else _learned(root, task.of(specs.FitSpec))
        )
        files.write_json(out.path, found.to_json())
    return out.record(root)


def _exact(root: str, spec: specs.Exact) -> FitResult:
    learned = inputs.likelihood(root, spec.fit)
    return analyses.fit_exactly(inputs.exact_likelihood(root, spec, learned), learned.rates)


def _learned(root: str, spec: specs.FitSpec) -> FitResult:
    found, offsets = _fitted(root, spec), _offsets(root, spec)
    return blinding.hide_fit(found, offsets) if offsets else found


def _offsets(root: str, spec: specs.FitSpec) -> dict[str, HiddenOffset]:
    """Draw by what parameters are shifted where the fit is written, in units of their expected errors; none without blinding."""
    hidden = spec.blinding
    if hidden is None:
        return {}
    expected = FitResult.from_json(files.read_json(inputs.path(root, "fit", "asimov"))).parameters
    bounds = {name: spec.model.parameters[name].bounds for name in hidden.parameters}
    return {name: HiddenOffset.draw(hidden.phrase, name, expected[name].error, bounds[name]) for name in bounds}


def _fitted(root: str, spec: specs.FitSpec) -> FitResult:
    learned, expected = inputs.likelihood(root, spec), spec.dataset == "asimov"
    if spec.binned:
        return analyses.fit_dataset(learned, minos=spec.minos, expected=expected)
    moves = _moves(root, spec)
    return analyses.fit_dataset(
        learned,
        minos=spec.minos,
        expected=expected,
        added=spec.simulation_error == "add",
        simulated=_simulated(root, spec, learned),
        moves=moves,
        networks=_networks(root, spec) if moves is None else (),
        observed=() if expected else list(_observed(root, spec)),
    )


def _observed(root: str, spec: specs.FitSpec) -> Iterator[ObservedEvents]:
    """Read the observed events of each unbinned region, and those that say where anything was simulated."""
    events, regions = inputs.joint(root, spec), inputs.regions(root, spec)

    def build(region: str, data: Dataset, simulation: Dataset) -> Likelihood:
        return inputs.likelihood_of_all(spec, {**events, region: (data, simulation)}, regions)

    for name, folder in inputs.places(root, spec).items():
        features = inputs.features(folder, spec.dataset)
        several = name if len(events) > 1 else ""
        yield ObservedEvents(*events[name], features, partial(build, name), several)


def _simulated(root: str, spec: specs.FitSpec, learned: Likelihood) -> SimulatedData | None:
    """Read the data for the uncertainty from the finite simulation: of Asimov data alone, or, where it normalises ratios or is added, of all."""
    simulations = inputs.simulations(root, spec)
    normalised = all(simulation.priors for simulation in simulations)
    if spec.dataset != "asimov" and not normalised and spec.simulation_error != "add":
        return None
    asimov = learned if spec.dataset == "asimov" else inputs.likelihood(root, inputs.expected(spec))
    sample = np.concatenate([own.sample for own in simulations])
    return SimulatedData(asimov, sample, normalised, apart=spec.dataset != "asimov")


def _networks(root: str, spec: specs.FitSpec) -> list[CrossFitted]:
    """Read the networks of cross-fitted ratios of each unbinned region; none where ratios are made otherwise."""
    found = []
    for name, folder in inputs.places(root, spec).items():
        if (networks := network_error.read(inputs.path(folder, "evaluate", "asimov"))) is not None:
            build = partial(inputs.likelihood_of, replace(spec, unbinned=(name,) if name else ()))
            found.append(CrossFitted(networks, inputs.dataset(folder, "asimov"), build))
    return found


def _moves(root: str, spec: specs.FitSpec, weight: Floats | None = None) -> WeightMoves | None:
    """Read how the likelihood moves with the weights of wifi ratios; None without such.

    Args:
        root: The run directory.
        spec: What is fitted.
        weight: Other weights of Asimov events, shape (N,), those of several regions one behind the other.
    """
    events, folders = inputs.joint(root, spec), inputs.places(root, spec)
    if weight is not None:
        parts = np.split(weight, np.cumsum([len(data.weight) for data, _ in events.values()])[:-1])
        events = {n: (replace(d, weight=w), s) for (n, (d, s)), w in zip(events.items(), parts, strict=True)}
    moved = {name: _region_moves(folders[name], spec.dataset, pair) for name, pair in events.items()}
    if not any(own.directions and own.behind for own in moved.values()):
        return None
    regions = inputs.regions(root, spec)
    return WeightMoves(*ensemble_shifts.mover(partial(inputs.likelihood_of_all, spec, regions=regions), moved))


def _region_moves(folder: str, dataset: str, pair: tuple[Dataset, Dataset]) -> MovedRegion:
    """Read how the ratios of a region move."""
    behind = ensemble_shifts.read(inputs.path(folder, "evaluate", "asimov"))
    own = behind if dataset == "asimov" else ensemble_shifts.read(inputs.path(folder, "evaluate", dataset))
    return MovedRegion(*pair, own, behind)


def _known_inflation(root: str, spec: specs.Interval | specs.LimitsSpec) -> float:
    """Read from the fit what t of a parameter is divided by; 1 where nothing is beside the likelihood, or nothing that is known."""
    if not spec.inflated:
        return 1.0
    fit = FitResult.from_json(files.read_json(inputs.path(root, "fit", spec.fit.dataset)))
    return float(fit.parameters[spec.poi].ensemble_inflation or 1.0)


def _added(root: str, spec: specs.LimitsSpec) -> float:
    """Read from the fit what the finite simulation adds to what t is divided by."""
    if spec.fit.simulation_error != "add":
        return 0.0
    own = FitResult.from_json(files.read_json(inputs.path(root, "fit", spec.fit.dataset))).parameters[spec.poi]
    return (own.simulation_error / own.error) ** 2 if own.simulation_error and own.error else 0.0


def interval(root: str, task: Task, *_before: Record) -> Record:
    """Do what is done with the profile likelihood: scans, impacts, limits, distributions."""
    with writing(root, task) as out:
        found: JsonRecord = WORK[type(task.spec)](root, task.spec)
        files.write_json(out.path, found.to_json())
    return out.record(root)


def _scan(root: str, spec: specs.Interval) -> ProfileScan:
    """Scan one parameter, and read its confidence intervals off."""
    learned = inputs.likelihood(root, spec.fit)
    return analyses.scan_dataset(
        inputs.exact_likelihood(root, spec.exact, learned) if spec.exact else learned,
        learned.rates,
        spec.poi,
        spec.scan,
        spec.levels,
        statistical=spec.statistical,
        inflation=_known_inflation(root, spec),
        hidden=_offsets(root, spec.fit).get(spec.poi),
        dataset=spec.fit.dataset,
    )


def _strip(root: str, spec: specs.PlaneRows) -> PlaneStrip:
    """Scan some rows of a plane."""
    return analyses.scan_strip(inputs.likelihood(root, spec.fit), spec.plane, spec.rows)


def _plane(root: str, spec: specs.Area) -> ProfilePlane:
    """Join the rows of a plane."""
    strips = [PlaneStrip.from_json(files.read_json(inputs.path(root, "interval", name))) for name in spec.strips]
    return analyses.join_plane(strips, spec.levels, dataset=spec.fit.dataset)


def _impacts(root: str, spec: specs.ImpactsSpec) -> Impacts:
    """Move every nuisance parameter, and look at the parameter of interest."""
    return analyses.find_impacts(
        inputs.likelihood(root, spec.fit),
        spec.poi,
        spec.methods,
        hidden=_offsets(root, spec.fit).get(spec.poi),
        dataset=spec.fit.dataset,
    )


def breakdown(root: str, task: Task, *_before: Record) -> Record:
    """Split the error of a parameter of interest into its sources."""
    spec = task.of(specs.BreakdownSpec)
    with writing(root, task) as out:
        fitted = FitResult.from_json(files.read_json(inputs.path(root, "fit", spec.fit.dataset)))
        found = analyses.break_down(
            inputs.likelihood(root, spec.fit),
            spec.poi,
            dict(spec.groups),
            beside=fitted.parameters[spec.poi],
            expected=spec.fit.dataset == "asimov",
            hidden=_offsets(root, spec.fit).get(spec.poi),
            dataset=spec.fit.dataset,
        )
        files.write_json(out.path, found.to_json())
    return out.record(root)


def _limits(root: str, spec: specs.LimitsSpec) -> Limits:
    """Find upper limits; what is expected of them comes from Asimov data without a signal."""
    return analyses.find_limits(
        inputs.likelihood(root, spec.fit),
        _asimov(root, spec.fit),
        spec.poi,
        background=spec.background,
        level=spec.level,
        inflation=_known_inflation(root, spec),
        added=_added(root, spec),
        moves_of=None if spec.fit.binned else partial(_moves_of, root, spec.fit),
        blind=spec.fit.dataset == "asimov",
        dataset=spec.fit.dataset,
    )


def _asimov(root: str, spec: specs.FitSpec) -> SimulatedData:
    """Read the nominal Asimov data."""
    return SimulatedData(inputs.likelihood(root, inputs.expected(spec)), inputs.samples(root, spec))


def _moves_of(root: str, spec: specs.FitSpec, weight: Floats) -> WeightMoves | None:
    """Read how Asimov data with other weights moves with those of wifi ratios, shape (N,)."""
    return _moves(root, inputs.expected(spec), weight)


def inflations(root: str, spec: specs.CoverageSpec, truths: Sequence[Mapping[str, float]]) -> list[float | None]:
    """Find what t is divided by at each truth for the error of ensemble weights; None where there is none."""
    fit = spec.inflated
    if fit is None:
        return [None] * len(truths)
    moves_of = None if fit.binned else partial(_moves_of, root, fit)
    simulated = SimulatedData(inputs.likelihood(root, fit), inputs.samples(root, fit))
    return analyses.inflations_at(simulated, truths, spec.poi, moves_of)


def _distributions(root: str, spec: specs.DistributionsSpec) -> Distributions:
    """Compare data with the model before and after the fit; Asimov data shows the model alone."""
    fit, expected = spec.fit, spec.fit.dataset == "asimov"
    folders = inputs.places(root, fit)
    scored = inputs.scored(folders, spec.crossed)
    shown = [_shown(name, folder, spec, scored.get(name)) for name, folder in folders.items()]
    counted = RegionEvents(nothing(), None if expected else nothing(), ())
    found = analyses.describe_regions(inputs.likelihood(root, fit), shown or [counted], dataset=fit.dataset)
    return blinding.hide_processes(found) if fit.blinding else found


def _shown(name: str, folder: str, spec: specs.DistributionsSpec, scored: Dataset | None) -> RegionEvents:
    """Read the events of an unbinned region, of which distributions are shown; observed ones where networks are of folds are given."""
    fit = spec.fit
    several = len(fit.unbinned) > 1
    features = inputs.features(folder, next(iter(fit.model.processes))) if several else spec.features
    seen = None if fit.dataset == "asimov" else scored or inputs.dataset(folder, fit.dataset)
    return RegionEvents(inputs.dataset(folder, "asimov"), seen, features, name if several else "")


def _injections(root: str, spec: specs.Closing) -> InjectionTests:
    """Inject variations and signals, normalise on halves, throw toys."""
    simulation = inputs.dataset(root, "asimov")
    processes: dict[str, list[str]] = {}
    for shape in spec.fit.shapes:
        processes.setdefault(shape.nuisance, []).append(shape.process)
    return injections.inject(
        partial(inputs.likelihood_of, spec.fit, regions=inputs.regions(root, spec.fit)),
        simulation,
        {d.name: inputs.varied(root, spec.simulation, d, simulation) for d in spec.simulation.varied},
        processes,
        [density for density in spec.simulation.varied if density.at],
        spec.poi,
        spec.salt,
        normalisation={name: _normalisation(root, name) for name in spec.normalisations},
        points=[dict(point) for point in spec.points],
        against=dict(spec.against),
    )


def _normalisation(root: str, group: str) -> GroupNormalisation:
    """Read how the ratios of a group were normalised."""
    from needle_parsl.nsbi.estimators import yield_scales  # noqa: PLC0415  with torch, which other fits do without

    found = yield_scales.read(inputs.path(root, "normalise", group))
    scales = {
        name: RatioScale(own.slope, own.offset, own.slope_error, own.offset_error) for name, own in found.scales.items()
    }
    return GroupNormalisation(scales, found.loss)


WORK: dict[type, Any] = {
    specs.Closing: _injections,
    specs.Interval: _scan,
    specs.PlaneRows: _strip,
    specs.Area: _plane,
    specs.ImpactsSpec: _impacts,
    specs.LimitsSpec: _limits,
    specs.DistributionsSpec: _distributions,
}
"""What is done for each kind of spec of the stage `interval`."""


def residuals(root: str, task: Task, *_before: Record) -> Record:
    """Say what the measured residuals of ratios do to the parameter of interest."""
    spec = task.of(specs.ResidualsSpec)
    with writing(root, task) as out:
        simulation = inputs.dataset(root, "asimov")
        read = {name: files.read_json(inputs.path(root, "diagnose", name)) for name in spec.ratios}
        found = measuring.measure(
            partial(inputs.likelihood_of, spec.fit, regions=inputs.regions(root, spec.fit)),
            simulation,
            {name: RatioDiagnostics.from_json(own) for name, own in read.items()},
            poi=spec.poi,
            shapes=spec.fit.shapes,
            crosses=spec.fit.crosses,
            features=inputs.features(root, simulation.samples[0]),
            against=dict(spec.against),
            weighted=spec.weighted,
            divided=spec.divided,
        )
        files.write_json(out.path, found.to_json())
    return out.record(root)


def count(root: str, task: Task, *_before: Record) -> Record:
    """Count what is expected and observed in the bins of a region."""
    spec = task.of(specs.Count)
    with writing(root, task) as out:
        names = [share.density.name for share in spec.samples]
        expected = {name: inputs.counted(root, spec, name, scale) for name, scale in inputs.scales(root, spec).items()}
        observed = inputs.counted(root, spec, "observed", 1.0) if spec.observed else None
        overlap = {name: inputs.shared(root, spec, name) for name in names}
        found = regions.count(spec.region, spec.edges, expected, observed, overlap)
        files.write_json(out.path, found.to_json())
    return out.record(root)
