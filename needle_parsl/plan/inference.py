"""The tasks of the inference: fits, scans, impacts and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from needle_parsl.analysis import Analysis, Plane, Source, catalogue
from needle_parsl.densities import Cross, Density, Shape
from needle_parsl.plan import specs, toys
from needle_parsl.plan.builder import Graph
from needle_parsl.plan.datasets import ASIMOV, Datasets, ReplicaSpec, ThrowerTasks
from needle_parsl.plan.specs import Task

ROWS = 3
"""Of a scan of two parameters, in one task."""


@dataclass(frozen=True, kw_only=True)
class InferenceTasks:
    """What the report shows of the inference."""

    fits: list[Task]
    """The headline's first."""
    scans: list[Task]
    plane: Task | None
    distributions: Task
    impacts: list[Task]
    """Of each parameter of interest, the headline's first, as those below."""
    breakdowns: list[Task]
    goodness: Task | None
    """Of observed events in unbinned regions."""
    validation: Task | None
    """Of regions that are only looked at."""
    limits: list[Task]
    toys: list[list[Task]]
    """The blocks at each truth of `[toys]`."""
    belt: Task | None
    belt_toys: list[list[Task]]
    """The blocks at each value of the grid."""
    coverage: Task | None
    region: Task | None = None
    """Of two parameters; `belt_toys` are then those of each pair of values."""

    def _single(self) -> tuple[Task | None, ...]:
        return (
            self.plane,
            self.distributions,
            *self.impacts,
            self.goodness,
            self.validation,
            *self.limits,
            self.belt,
            self.coverage,
            self.region,
        )

    def learned(self) -> list[specs.FitSpec]:
        """Say what is fitted with learned ratios."""
        return [replace(task.spec, minos=()) for task in self.fits if isinstance(task.spec, specs.FitSpec)]

    def tasks(self) -> list[Task]:
        """List the tasks that the report waits for."""
        blocks = [task for tasks in (*self.toys, *self.belt_toys) for task in tasks]
        return [*self.fits, *self.scans, *self.breakdowns, *blocks, *(task for task in self._single() if task)]


def uses_reference(analysis: Analysis) -> bool:
    """Whether toys are thrown from the learned model, and so from events of the reference."""
    return bool(analysis.grid() or analysis.grid_of_two()) or (
        analysis.toys is not None and analysis.toys.source == "model"
    )


def measure(
    graph: Graph, datasets: Datasets, thrower: ThrowerTasks | None, redone: Mapping[str, Sequence[ReplicaSpec]]
) -> InferenceTasks:
    """Plan everything that follows the evaluation of the ratios."""
    minos = graph.analysis.pois() if graph.analysis.fit.minos else ()
    fit = model_of(graph.analysis, datasets.several, datasets.name)
    needs, hidden = datasets.headline(), blinding(graph.analysis, datasets.name)
    shown = replace(fit, blinding=hidden)
    fits, scans = _fits(graph, shown, needs, datasets, minos)
    area = None if hidden else _plane(graph, fit, needs)
    features = () if datasets.binned else graph.analysis.features.names
    distributions = graph.add(
        "interval", "distributions", specs.DistributionsSpec(shown, features, _crossed(shown, datasets)), *needs
    )
    asimov = fits[1:2] if hidden else []  # it says in which units an offset is drawn
    impacts = _impacts(graph, shown, [*needs, *asimov])
    breakdowns = _breakdowns(graph, shown, [*needs, fits[0], *asimov])
    fitted = _inflated(graph.analysis)
    # How far the data are from no signal, and which values of a known grid they accept, would show a hidden offset.
    limited = (replace(fit, dataset=ASIMOV), [*datasets.simulated(), *fits[1 : 1 + fitted]])
    limits = _limits(graph, *(limited if hidden else (fit, [*needs, *fits[:fitted]])))
    none: tuple[Task | None, list[list[Task]]] = (None, [])
    belt, belt_toys = none if hidden else toys.belt(graph, fit, needs, datasets)
    region, region_toys = none if hidden else toys.region(graph, fit, needs, datasets)
    coverage, thrown = toys.coverage(graph, replace(fit, dataset=ASIMOV), datasets, thrower, belt, redone)
    return InferenceTasks(
        fits=fits,
        scans=scans,
        plane=area,
        distributions=distributions,
        impacts=impacts,
        breakdowns=breakdowns,
        goodness=_goodness(graph, fit, needs, datasets),
        validation=_validation(graph, shown, needs, datasets),
        limits=limits,
        toys=thrown,
        belt=belt,
        belt_toys=[*belt_toys, *region_toys],
        region=region,
        coverage=coverage,
    )


def blinding(analysis: Analysis, dataset: str) -> specs.Blinding | None:
    """Say what is shifted by a hidden offset in what is written of fits to a dataset; None where nothing is."""
    if not analysis.offset or dataset == ASIMOV:
        return None
    return specs.Blinding(analysis.fit.blind_phrase or analysis.name, _interesting(analysis))


def _interesting(analysis: Analysis) -> tuple[str, ...]:
    """Name what is of interest, whether it gets an interval or not, that of the headline first."""
    pois = [name for name, parameter in analysis.model.parameters.items() if parameter.role == "poi"]
    return tuple(dict.fromkeys([analysis.poi(), *pois]))


def named(what: str, poi: str, analysis: Analysis) -> str:
    """Name what is made for a parameter of interest: `scan` of the headline's, `scan.NAME` of a further one."""
    return what if poi == analysis.poi() else f"{what}.{poi}"


def _fits(
    graph: Graph, fit: specs.FitSpec, needs: list[Task], datasets: Datasets, minos: tuple[str, ...]
) -> tuple[list[Task], list[Task]]:
    """Fit and scan: `scan` is the headline's; beside it those of statistics alone, of Asimov data, and of exact densities."""
    analysis, simulated = graph.analysis, datasets.simulated()
    expected = replace(fit, dataset=ASIMOV, blinding=None)
    # A hidden offset is drawn in units of the expected error.
    asimov = [graph.add("fit", ASIMOV, replace(expected, minos=minos), *simulated)] if fit.blinding else []
    fits = [graph.add("fit", fit.dataset, replace(fit, minos=minos), *needs, *asimov)]
    other = analysis.fit.asimov and fit != expected
    if other:
        fits += asimov or [graph.add("fit", ASIMOV, replace(expected, minos=minos), *simulated)]
    exact = None
    if analysis.fit.asimov and graph.inputs.exact and not (datasets.binned or datasets.several or analysis.simulated):
        reference = tuple(graph.share(name) for name in analysis.ratios.reference)
        exact = specs.Exact(expected, graph.inputs.physics, reference)
    fitted, scans = _inflated(analysis), []
    for poi in analysis.pois():
        own = specs.Interval(fit=fit, poi=poi, scan=None, levels=analysis.intervals.level)
        scans.append(_scan(graph, "scan", replace(own, inflated=fitted), *needs, *asimov, *fits[:fitted]))
        if analysis.model.nuisances:
            scans.append(_scan(graph, "scan_statistical", replace(own, statistical=True), *needs, *asimov))
        own = replace(own, fit=expected)
        if other:
            scans.append(_scan(graph, "scan_asimov", replace(own, inflated=fitted), *simulated, *fits[1 : 1 + fitted]))
        if exact is not None:
            scans.append(_scan(graph, "scan_exact", replace(own, exact=exact), *simulated))
    if exact is not None:
        fits.append(graph.add("fit", "exact", exact, *simulated))
    return fits, scans


def _scan(graph: Graph, what: str, spec: specs.Interval, *needs: Task) -> Task:
    """Scan a parameter of interest; where the user says, which is of the headline's alone, and not around a hidden offset."""
    analysis = graph.analysis
    where = analysis.fit.scan if spec.poi == analysis.poi() and not spec.fit.blinding else None
    return graph.add("interval", named(what, spec.poi, analysis), replace(spec, scan=where), *needs)


def _inflated(analysis: Analysis) -> bool:
    """Whether the fit says what t of a scan is divided by: for the error of ensemble weights that are fitted, or of the finite simulation."""
    added = analysis.fit.simulation_error == "add" and not analysis.binned
    return added or catalogue.combiner(analysis.ensemble.combine).fitted


def _plane(graph: Graph, fit: specs.FitSpec, needs: list[Task]) -> Task | None:
    """Scan a plane in strips, each a task of its own: the one that the user names, or that of two parameters of interest."""
    plane, pois = graph.analysis.fit.plane, graph.analysis.pois()
    if plane is None and len(pois) == 2:
        plane = Plane((pois[0], pois[1]))
    if plane is None:
        return None
    strips = []
    for number, start in enumerate(range(0, plane.points, ROWS)):
        spec = specs.PlaneRows(fit, plane, (start, min(start + ROWS, plane.points)))
        strips.append(graph.add("interval", f"plane/{number:04d}", spec, *needs))
    joined = specs.Area(fit, tuple(task.name for task in strips), graph.analysis.intervals.level)
    return graph.add("interval", "plane", joined, *strips)


def _impacts(graph: Graph, fit: specs.FitSpec, needs: list[Task]) -> list[Task]:
    analysis, methods = graph.analysis, graph.analysis.fit.impacts
    if not (methods and analysis.model.nuisances):
        return []
    return [
        graph.add("interval", named("impacts", poi, analysis), specs.ImpactsSpec(fit, poi, methods), *needs)
        for poi in analysis.pois()
    ]


def _breakdowns(graph: Graph, fit: specs.FitSpec, needs: list[Task]) -> list[Task]:
    """Split the error of each parameter of interest, where there are nuisance parameters; the fit says what networks add."""
    analysis, model = graph.analysis, graph.analysis.model
    if not model.nuisances:
        return []
    groups = tuple(model.groups().items())
    return [
        graph.add("breakdown", named("breakdown", name, analysis), specs.BreakdownSpec(fit, name, groups), *needs)
        for name in _interesting(analysis)
    ]


def _goodness(graph: Graph, fit: specs.FitSpec, needs: list[Task], datasets: Datasets) -> Task | None:
    """Compare observed events with the model; a hidden offset changes nothing of it."""
    toys = graph.analysis.fit.goodness
    if not toys or datasets.binned or fit.dataset == ASIMOV:
        return None
    spec = specs.GoodnessSpec(fit, graph.analysis.poi(), toys, graph.salt("goodness"), _crossed(fit, datasets))
    return graph.add("goodness", "goodness", spec, *needs)


def _crossed(fit: specs.FitSpec, datasets: Datasets) -> tuple[specs.Evaluate, ...]:
    """Say how observed events were evaluated, where networks are of folds: ln r of data is compared by those of one fold an event."""
    evaluated = () if fit.dataset == ASIMOV else tuple(task.of(specs.Evaluate) for task in datasets.observed())
    return evaluated if all(own.splitting.folds for own in evaluated) else ()


def _validation(graph: Graph, fit: specs.FitSpec, needs: list[Task], datasets: Datasets) -> Task | None:
    """Look at the regions that are fitted to nothing."""
    regions = graph.analysis.model.regions
    names = graph.analysis.model.validations()
    if not names:
        return None
    spec = specs.ValidationSpec(fit, tuple((name, regions[name].binning.edges) for name in names))
    return graph.add("validation", "validation", spec, *needs, *datasets.validations)


def _limits(graph: Graph, fit: specs.FitSpec, needs: list[Task]) -> list[Task]:
    analysis, found = graph.analysis, []
    if analysis.fit.limit is None:
        return []
    for poi in analysis.pois():
        background = analysis.model.parameters[poi].background or 0.0
        spec = specs.LimitsSpec(fit, poi, analysis.fit.limit, background, inflated=_inflated(analysis))
        found.append(graph.add("interval", named("limits", poi, analysis), spec, *needs))
    return found


def model_of(analysis: Analysis, regions: tuple[str, ...] = (), dataset: str = ASIMOV) -> specs.FitSpec:
    """Say what is fitted to a dataset.

    Args:
        analysis: Of the first unbinned region.
        regions: The unbinned ones that are fitted together; empty for that of the analysis alone.
        dataset: `asimov` or `observed`.
    """
    return specs.FitSpec(
        dataset=dataset,
        model=analysis.model.fitted(),
        shapes=learned_shapes(analysis, analysis.every_variation()),
        crosses=learned_crosses(analysis),
        staterror=analysis.fit.staterror,
        simulation_error="report" if analysis.binned else analysis.fit.simulation_error,
        staterror_threshold=analysis.fit.staterror_threshold,
        binned=analysis.binned,
        unbinned=regions or ((analysis.region,) if analysis.region else ()),
    )


def learned_shapes(analysis: Analysis, varied: Sequence[tuple[str, str, str, Source]]) -> tuple[Shape, ...]:
    """List the learned responses of the model to some of its variations."""
    sides: dict[tuple[str, str], dict[str, str]] = {}
    for name, nuisance, side, _ in varied:
        sides.setdefault((name, nuisance), {})[side] = Density(name, nuisance, side).name
    return tuple(
        Shape(
            name,
            nuisance,
            found.get("up", ""),
            found.get("down", ""),
            analysis.samples[name].variations[nuisance].one_sided or "",
            symmetric=analysis.model.nuisances[nuisance].symmetrise,
        )
        for (name, nuisance), found in sides.items()
    )


def learned_crosses(analysis: Analysis) -> tuple[Cross, ...]:
    """List what pairs of nuisance parameters do together: each is read off the first joint variation that moves these alone."""
    found: dict[tuple[str, str, str], Cross] = {}
    for sample, joint in analysis.joint():
        point = dict(joint.point())
        for first, second in combinations(analysis.samples[sample].crossed(), 2):
            if {*point} == {first, second}:
                name, values = Density(sample, at=joint.point()).name, (point[first], point[second])
                found.setdefault((sample, first, second), Cross(sample, first, second, name, values))
    return tuple(found.values())
