"""The tasks of the inference: fits, scans, impacts and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from needle_parsl.analysis import Analysis, Source, catalogue
from needle_parsl.densities import Density, Shape
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
    impacts: Task | None
    breakdowns: list[Task]
    """Of the error of each parameter of interest, the headline's first."""
    goodness: Task | None
    """Of observed events in unbinned regions."""
    validation: Task | None
    """Of regions that are only looked at."""
    limits: Task | None
    toys: list[list[Task]]
    """The blocks at each truth of `[toys]`."""
    belt: Task | None
    belt_toys: list[list[Task]]
    """The blocks at each value of the grid."""
    coverage: Task | None

    def _single(self) -> tuple[Task | None, ...]:
        return (
            self.plane,
            self.distributions,
            self.impacts,
            self.goodness,
            self.validation,
            self.limits,
            self.belt,
            self.coverage,
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
    return bool(analysis.grid()) or (analysis.toys is not None and analysis.toys.source == "model")


def measure(
    graph: Graph, datasets: Datasets, thrower: ThrowerTasks | None, redone: Mapping[str, Sequence[ReplicaSpec]]
) -> InferenceTasks:
    """Plan everything that follows the evaluation of the ratios."""
    minos = (graph.analysis.poi(),) if graph.analysis.fit.minos else ()
    fit = model_of(graph.analysis, datasets.several, datasets.name)
    needs, hidden = datasets.headline(), blinding(graph.analysis, datasets.name)
    shown = replace(fit, blinding=hidden)
    fits, scans = _fits(graph, shown, needs, datasets, minos)
    area = None if hidden else _plane(graph, fit, needs)
    features = () if datasets.binned else graph.analysis.features.names
    distributions = graph.add("interval", "distributions", specs.DistributionsSpec(shown, features), *needs)
    asimov = fits[1:2] if hidden else []  # it says in which units an offset is drawn
    impacts = _impacts(graph, shown, [*needs, *asimov])
    breakdowns = _breakdowns(graph, shown, [*needs, fits[0], *asimov])
    fitted = _inflated(graph.analysis)
    # How far the data are from no signal, and which values of a known grid they accept, would show a hidden offset.
    limited = (replace(fit, dataset=ASIMOV), [*datasets.simulated(), *fits[1 : 1 + fitted]])
    limits = _limits(graph, *(limited if hidden else (fit, [*needs, *fits[:fitted]])))
    none: tuple[Task | None, list[list[Task]]] = (None, [])
    belt, belt_toys = none if hidden else toys.belt(graph, fit, needs, datasets)
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
        belt_toys=belt_toys,
        coverage=coverage,
    )


def blinding(analysis: Analysis, dataset: str) -> specs.Blinding | None:
    """Say what is shifted by a hidden offset in what is written of fits to a dataset; None where nothing is."""
    if not analysis.offset or dataset == ASIMOV:
        return None
    pois = [name for name, parameter in analysis.model.parameters.items() if parameter.role == "poi"]
    names = tuple(dict.fromkeys([analysis.poi(), *pois]))
    return specs.Blinding(analysis.fit.blind_phrase or analysis.name, names)


def _fits(
    graph: Graph, fit: specs.FitSpec, needs: list[Task], datasets: Datasets, minos: tuple[str, ...]
) -> tuple[list[Task], list[Task]]:
    """Fit and scan: `scan` is the headline's; beside it those of statistics alone, of Asimov data, and of exact densities."""
    analysis, simulated = graph.analysis, datasets.simulated()
    poi, grid, levels = analysis.poi(), analysis.fit.scan, analysis.intervals.level
    fitted, expected = _inflated(analysis), replace(fit, dataset=ASIMOV, blinding=None)
    # A hidden offset is drawn in units of the expected error.
    asimov = [graph.add("fit", ASIMOV, replace(expected, minos=minos), *simulated)] if fit.blinding else []
    fits = [graph.add("fit", fit.dataset, replace(fit, minos=minos), *needs, *asimov)]
    own = None if fit.blinding else grid
    scan = specs.Interval(fit=fit, poi=poi, scan=own, levels=levels, inflated=fitted)
    scans = [graph.add("interval", "scan", scan, *needs, *asimov, *fits[:fitted])]
    if analysis.model.nuisances:
        alone = specs.Interval(fit=fit, poi=poi, scan=own, levels=levels, statistical=True)
        scans.append(graph.add("interval", "scan_statistical", alone, *needs, *asimov))
    if not analysis.fit.asimov:
        return fits, scans
    if fit != expected:
        fits += asimov or [graph.add("fit", ASIMOV, replace(expected, minos=minos), *simulated)]
        scan = specs.Interval(fit=expected, poi=poi, scan=grid, levels=levels, inflated=fitted)
        scans.append(graph.add("interval", "scan_asimov", scan, *simulated, *fits[1 : 1 + fitted]))
    if graph.inputs.exact and not (datasets.binned or datasets.several):
        reference = tuple(graph.share(name) for name in analysis.ratios.reference)
        exact = specs.Exact(expected, graph.inputs.physics, reference)
        fits.append(graph.add("fit", "exact", exact, *simulated))
        scan = specs.Interval(fit=expected, poi=poi, scan=grid, levels=levels, exact=exact)
        scans.append(graph.add("interval", "scan_exact", scan, *simulated))
    return fits, scans


def _inflated(analysis: Analysis) -> bool:
    """Whether the fit says what t of a scan is divided by: for the error of ensemble weights that are fitted, or of the finite simulation."""
    added = analysis.fit.simulation_error == "add" and not analysis.binned
    return added or catalogue.combiner(analysis.ensemble.combine).fitted


def _plane(graph: Graph, fit: specs.FitSpec, needs: list[Task]) -> Task | None:
    """Scan a plane in strips, each a task of its own."""
    plane = graph.analysis.fit.plane
    if plane is None:
        return None
    strips = []
    for number, start in enumerate(range(0, plane.points, ROWS)):
        spec = specs.PlaneRows(fit, plane, (start, min(start + ROWS, plane.points)))
        strips.append(graph.add("interval", f"plane/{number:04d}", spec, *needs))
    joined = specs.Area(fit, tuple(task.name for task in strips), graph.analysis.intervals.level)
    return graph.add("interval", "plane", joined, *strips)


def _impacts(graph: Graph, fit: specs.FitSpec, needs: list[Task]) -> Task | None:
    methods = graph.analysis.fit.impacts
    if not (methods and graph.analysis.model.nuisances):
        return None
    return graph.add("interval", "impacts", specs.ImpactsSpec(fit, graph.analysis.poi(), methods), *needs)


def _breakdowns(graph: Graph, fit: specs.FitSpec, needs: list[Task]) -> list[Task]:
    """Split the error of each parameter of interest, where there are nuisance parameters; the fit says what networks add."""
    model, first = graph.analysis.model, graph.analysis.poi()
    if not model.nuisances:
        return []
    others = [name for name, parameter in model.parameters.items() if parameter.role == "poi" and name != first]
    places = {first: "breakdown", **{name: f"breakdown.{name}" for name in others}}
    groups = tuple(model.groups().items())
    return [
        graph.add("breakdown", place, specs.BreakdownSpec(fit, name, groups), *needs) for name, place in places.items()
    ]


def _goodness(graph: Graph, fit: specs.FitSpec, needs: list[Task], datasets: Datasets) -> Task | None:
    """Compare observed events with the model; a hidden offset changes nothing of it."""
    toys = graph.analysis.fit.goodness
    if not toys or datasets.binned or fit.dataset == ASIMOV:
        return None
    spec = specs.GoodnessSpec(fit, graph.analysis.poi(), toys, graph.salt("goodness"))
    return graph.add("goodness", "goodness", spec, *needs)


def _validation(graph: Graph, fit: specs.FitSpec, needs: list[Task], datasets: Datasets) -> Task | None:
    """Look at the regions that are fitted to nothing."""
    regions = graph.analysis.model.regions
    names = graph.analysis.model.validations()
    if not names:
        return None
    spec = specs.ValidationSpec(fit, tuple((name, regions[name].binning.edges) for name in names))
    return graph.add("validation", "validation", spec, *needs, *datasets.validations)


def _limits(graph: Graph, fit: specs.FitSpec, needs: list[Task]) -> Task | None:
    level, poi = graph.analysis.fit.limit, graph.analysis.poi()
    if level is None:
        return None
    background = graph.analysis.model.parameters[poi].background or 0.0
    spec = specs.LimitsSpec(fit, poi, level, background, inflated=_inflated(graph.analysis))
    return graph.add("interval", "limits", spec, *needs)


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
        )
        for (name, nuisance), found in sides.items()
    )
