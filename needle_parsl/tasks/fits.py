"""Tasks of fits: the minimum, scans, impacts, limits and distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from needle_parsl import files
from needle_parsl.json_records import JsonRecord
from needle_parsl.nsbi.estimators.results import RatioDiagnostics
from needle_parsl.nsbi.statistics import analyses, injections, network_error
from needle_parsl.nsbi.statistics import residuals as measuring
from needle_parsl.nsbi.statistics.analyses import CrossFitted, ObservedEvents, SimulatedData, WeightMoves
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits import ensemble_shifts
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
    learned, expected = inputs.likelihood(root, spec), spec.dataset == "asimov"
    if spec.binned:
        return analyses.fit_dataset(learned, minos=spec.minos, expected=expected)
    moves = _moves(root, spec, inputs.fitted(root, spec))
    return analyses.fit_dataset(
        learned,
        minos=spec.minos,
        expected=expected,
        simulated=_simulated(root, spec, learned),
        moves=moves,
        networks=_networks(root, spec) if moves is None else None,
        observed=None if expected else _observed(root, spec),
    )


def _observed(root: str, spec: specs.FitSpec) -> ObservedEvents:
    """Read the observed events, and those that say where anything was simulated."""
    build = partial(inputs.likelihood_of, spec, regions=inputs.regions(root, spec))
    data, simulation = inputs.dataset(root, spec.dataset), inputs.simulation(root, spec)
    return ObservedEvents(data, simulation, inputs.features(root, spec.dataset), build)


def _simulated(root: str, spec: specs.FitSpec, learned: Likelihood) -> SimulatedData | None:
    """Read the data for the uncertainty from the finite simulation: Asimov data alone, or, where it normalises the ratios, all."""
    simulation = inputs.simulation(root, spec)
    if spec.dataset != "asimov" and not simulation.priors:
        return None
    asimov = learned if spec.dataset == "asimov" else inputs.likelihood(root, inputs.expected(spec))
    return SimulatedData(asimov, simulation.sample, bool(simulation.priors))


def _networks(root: str, spec: specs.FitSpec) -> CrossFitted | None:
    """Read the networks of cross-fitted ratios; None where ratios are made otherwise."""
    found = network_error.read(inputs.path(root, "evaluate", "asimov"))
    if found is None:
        return None
    return CrossFitted(found, inputs.dataset(root, "asimov"), partial(inputs.likelihood_of, spec))


def _moves(root: str, spec: specs.FitSpec, data: Dataset) -> WeightMoves | None:
    """Read how the likelihood moves with the weights of wifi ratios; None without such."""
    behind = ensemble_shifts.read(inputs.path(root, "evaluate", "asimov"))
    moves = behind if spec.dataset == "asimov" else ensemble_shifts.read(inputs.path(root, "evaluate", spec.dataset))
    if moves is None or behind is None:
        return None
    build = partial(inputs.likelihood_of, spec, regions=inputs.regions(root, spec))
    shifted = ensemble_shifts.mover(build, (data, moves), (inputs.dataset(root, "asimov"), behind))
    return WeightMoves(moves.covariance.values, shifted)


def _known_inflation(root: str, spec: specs.Interval | specs.LimitsSpec) -> float:
    """Read from the fit what t of a parameter is divided by; 1 where weights have no error, or none that is known."""
    if not spec.inflated:
        return 1.0
    fit = FitResult.from_json(files.read_json(inputs.path(root, "fit", spec.fit.dataset)))
    return float(fit.parameters[spec.poi].ensemble_inflation or 1.0)


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
    return analyses.find_impacts(inputs.likelihood(root, spec.fit), spec.poi, spec.methods, dataset=spec.fit.dataset)


def _limits(root: str, spec: specs.LimitsSpec) -> Limits:
    """Find upper limits; what is expected of them comes from Asimov data without a signal."""
    return analyses.find_limits(
        inputs.likelihood(root, spec.fit),
        _asimov(root, spec.fit),
        spec.poi,
        background=spec.background,
        level=spec.level,
        inflation=_known_inflation(root, spec),
        moves_of=None if spec.fit.binned else partial(_moves_of, root, spec.fit),
        blind=spec.fit.dataset == "asimov",
        dataset=spec.fit.dataset,
    )


def _asimov(root: str, spec: specs.FitSpec) -> SimulatedData:
    """Read the nominal Asimov data."""
    return SimulatedData(inputs.likelihood(root, inputs.expected(spec)), inputs.simulation(root, spec).sample)


def _moves_of(root: str, spec: specs.FitSpec, weight: Floats) -> WeightMoves | None:
    """Read how Asimov data with other weights moves with those of wifi ratios, shape (N,)."""
    return _moves(root, inputs.expected(spec), replace(inputs.dataset(root, "asimov"), weight=weight))


def inflations(root: str, spec: specs.CoverageSpec, truths: Sequence[Mapping[str, float]]) -> list[float | None]:
    """Find what t is divided by at each truth for the error of ensemble weights; None where there is none."""
    fit = spec.inflated
    if fit is None:
        return [None] * len(truths)
    moves_of = None if fit.binned else partial(_moves_of, root, fit)
    simulated = SimulatedData(inputs.likelihood(root, fit), inputs.simulation(root, fit).sample)
    return analyses.inflations_at(simulated, truths, spec.poi, moves_of)


def _distributions(root: str, spec: specs.DistributionsSpec) -> Distributions:
    """Compare data with the model before and after the fit; Asimov data shows the model alone."""
    return analyses.describe_distributions(
        inputs.likelihood(root, spec.fit),
        inputs.simulation(root, spec.fit),
        inputs.fitted(root, spec.fit) if spec.fit.dataset != "asimov" else None,
        spec.features,
        dataset=spec.fit.dataset,
    )


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
