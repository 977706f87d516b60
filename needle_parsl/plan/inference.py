"""The tasks of the inference: fits, scans, toys, the confidence belt and coverage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from needle_parsl.analysis import Analysis, Toys
from needle_parsl.nsbi.physics import Density
from needle_parsl.nsbi.statistics.model import Shape
from needle_parsl.plan import specs
from needle_parsl.plan.growing import Graph
from needle_parsl.plan.specs import Task

ROWS = 3
"""Of a scan of two parameters, in one task."""


@dataclass(frozen=True)
class Datasets:
    """Events with their log ratios."""

    asimov: Task
    observed: Task | None
    reference: Task | None
    """Given where toys are thrown from the model."""
    counts: list[Task]
    """Of the binned regions."""

    def simulated(self) -> list[Task]:
        """List what fits of Asimov data need."""
        return [self.asimov, *self.counts]

    def headline(self) -> list[Task]:
        """List what fits of the observed data need; of Asimov data without them."""
        return [*([self.observed] if self.observed else []), *self.simulated()]


@dataclass(frozen=True)
class Thrower:
    """A user's function that makes the events of toys."""

    spec: specs.Thrower
    estimators: tuple[Task, ...]


@dataclass(frozen=True)
class Measured:
    """What the report shows of the inference."""

    fits: list[Task]
    """The headline's first."""
    scans: list[Task]
    plane: Task | None
    distributions: Task
    impacts: Task | None
    limits: Task | None
    toys: list[list[Task]]
    """The blocks at each truth of `[toys]`."""
    belt: Task | None
    belt_toys: list[list[Task]]
    """The blocks at each value of the grid."""
    coverage: Task | None

    def _single(self) -> tuple[Task | None, ...]:
        return self.plane, self.distributions, self.impacts, self.limits, self.belt, self.coverage

    def learned(self) -> list[specs.Fit]:
        """Say what is fitted with learned ratios."""
        return [replace(task.spec, minos=()) for task in self.fits if isinstance(task.spec, specs.Fit)]

    def tasks(self) -> list[Task]:
        """List the tasks that the report waits for."""
        blocks = [task for tasks in (*self.toys, *self.belt_toys) for task in tasks]
        return [*self.fits, *self.scans, *blocks, *(task for task in self._single() if task)]


def uses_reference(analysis: Analysis) -> bool:
    """Whether toys are thrown from the learned model, and so from events of the reference."""
    return bool(analysis.grid()) or (analysis.toys is not None and analysis.toys.source == "model")


def measure(graph: Graph, datasets: Datasets, thrower: Thrower | None) -> Measured:
    """Plan everything that follows the evaluation of the ratios."""
    poi, shapes = graph.analysis.poi(), learned_shapes(graph.analysis)
    minos = (poi,) if graph.analysis.fit.minos else ()
    headline = datasets.observed or datasets.asimov
    fit = specs.Fit(headline.name, graph.analysis.model, shapes)
    needs = datasets.headline()
    fits, scans = _fits(graph, fit, needs, datasets, minos)
    area = _plane(graph, fit, needs)
    distributions = graph.add(
        "interval", "distributions", specs.Distributions(fit, graph.analysis.features.names), *needs
    )
    impacts = _impacts(graph, fit, needs)
    limits = _limits(graph, fit, [*needs, *fits[: _fitted(graph.analysis)]])
    belt, belt_toys = _belt(graph, fit, needs, datasets)
    coverage, toys = _coverage(graph, replace(fit, dataset=datasets.asimov.name), datasets, thrower, belt)
    return Measured(fits, scans, area, distributions, impacts, limits, toys, belt, belt_toys, coverage)


def _fits(
    graph: Graph, fit: specs.Fit, needs: list[Task], datasets: Datasets, minos: tuple[str, ...]
) -> tuple[list[Task], list[Task]]:
    """Fit and scan: `scan` is the headline's; beside it those of statistics alone, of Asimov data, and of exact densities."""
    analysis, asimov, simulated = graph.analysis, datasets.asimov, datasets.simulated()
    poi, grid, levels = analysis.poi(), analysis.fit.scan, analysis.intervals.level
    fitted = _fitted(analysis)
    fits = [graph.add("fit", fit.dataset, replace(fit, minos=minos), *needs)]
    scan = specs.Interval(fit, poi, grid, levels, inflated=fitted)
    scans = [graph.add("interval", "scan", scan, *needs, *fits[:fitted])]
    if analysis.model.nuisances:
        alone = specs.Interval(fit, poi, grid, levels, statistical=True)
        scans.append(graph.add("interval", "scan_statistical", alone, *needs))
    if not analysis.fit.asimov:
        return fits, scans
    expected = replace(fit, dataset=asimov.name)
    if fit != expected:
        fits.append(graph.add("fit", asimov.name, replace(expected, minos=minos), *simulated))
        scan = specs.Interval(expected, poi, grid, levels, inflated=fitted)
        scans.append(graph.add("interval", "scan_asimov", scan, *simulated, *fits[1 : 1 + fitted]))
    if graph.inputs.exact:
        reference = tuple(graph.share(name) for name in analysis.ratios.reference)
        exact = specs.Exact(expected, graph.inputs.physics, reference)
        fits.append(graph.add("fit", "exact", exact, *simulated))
        scan = specs.Interval(expected, poi, grid, levels, exact=exact)
        scans.append(graph.add("interval", "scan_exact", scan, *simulated))
    return fits, scans


def _fitted(analysis: Analysis) -> bool:
    """Whether ensemble weights are fitted: the fit then says what t of a scan is divided by for their error."""
    return analysis.ensemble.combine == "wifi"


def _plane(graph: Graph, fit: specs.Fit, needs: list[Task]) -> Task | None:
    """Scan a plane in strips, each a task of its own."""
    plane = graph.analysis.fit.plane
    if plane is None:
        return None
    strips = []
    for number, start in enumerate(range(0, plane.points, ROWS)):
        spec = specs.Strip(fit, plane, (start, min(start + ROWS, plane.points)))
        strips.append(graph.add("interval", f"plane/{number:04d}", spec, *needs))
    joined = specs.Area(fit, tuple(task.name for task in strips), graph.analysis.intervals.level)
    return graph.add("interval", "plane", joined, *strips)


def _impacts(graph: Graph, fit: specs.Fit, needs: list[Task]) -> Task | None:
    methods = graph.analysis.fit.impacts
    if not (methods and graph.analysis.model.nuisances):
        return None
    return graph.add("interval", "impacts", specs.Impacts(fit, graph.analysis.poi(), methods), *needs)


def _limits(graph: Graph, fit: specs.Fit, needs: list[Task]) -> Task | None:
    level, poi = graph.analysis.fit.limit, graph.analysis.poi()
    if level is None:
        return None
    background = graph.analysis.model.parameters[poi].bounds[0]
    spec = specs.Limits(fit, poi, level, background, inflated=_fitted(graph.analysis))
    return graph.add("interval", "limits", spec, *needs)


def _belt(graph: Graph, fit: specs.Fit, needs: list[Task], datasets: Datasets) -> tuple[Task | None, list[list[Task]]]:
    """Throw toys of the model at each value of the grid, with nuisance parameters as the data has them there."""
    intervals, poi, grid = graph.analysis.intervals, graph.analysis.poi(), graph.analysis.grid()
    if not grid or datasets.reference is None:
        return None, []
    toys = graph.analysis.toys or Toys()
    spec = specs.Toys(fit, poi, (), True, "model", None, toys.pool, 0, 0, 0)
    size, before = toys.block, [*needs, datasets.reference]
    blocks = [_rounds(graph, spec, {poi: value}, size, before) for value in grid]
    belt = specs.Neyman(fit, poi, grid, names(blocks), intervals.level, intervals.smooth, intervals.statistic)
    alone: list[Task] = []
    if intervals.background is not None:
        own, without = replace(spec, tested=grid), {poi: intervals.background}
        alone = _blocks(graph, "neyman/background", own, without, (intervals.toys_per_point, size), before)
        belt = replace(belt, without=intervals.background, background=tuple(task.name for task in alone))
    every = (task for tasks in (*blocks, alone) for task in tasks)
    return graph.add("neyman", "neyman", belt, *needs, *every), [*blocks, *([alone] if alone else [])]


def _rounds(graph: Graph, spec: specs.Toys, truth: Mapping[str, float], size: int, before: list[Task]) -> list[Task]:
    """Plan the toys at one value of the grid; further rounds look at all earlier ones, and throw only what is needed."""
    intervals = graph.analysis.intervals
    name, each = f"neyman/{_label(truth)}", intervals.toys_per_point
    found = _blocks(graph, name, spec, truth, (each, size), before)
    for number in range(1, intervals.rounds + 1):
        own = replace(
            spec, earlier=tuple(task.name for task in found), levels=intervals.level, statistic=intervals.statistic
        )
        found += _blocks(
            graph, name, own, truth, (each, size), [*before, *found], start=number * each, place=len(found)
        )
    return found


def _coverage(
    graph: Graph, fit: specs.Fit, datasets: Datasets, thrower: Thrower | None, belt: Task | None
) -> tuple[Task | None, list[list[Task]]]:
    """Throw toys at each truth of `[toys]` and sum them up."""
    toys = graph.analysis.toys
    if toys is None:
        return None, []
    kind, made = toys.source, thrower.spec if thrower else None
    spec = specs.Toys(fit, graph.analysis.poi(), (), False, kind, made, toys.pool, 0, 0, 0)
    before = [*datasets.simulated(), *(thrower.estimators if thrower else ())]
    if kind == "model" and datasets.reference:
        before.append(datasets.reference)
    truths = {_label(truth): truth for truth in (_truth(graph.analysis, point) for point in graph.analysis.truths())}
    blocks = [
        _blocks(graph, f"coverage/{label}", spec, truth, (toys.count, toys.block), before)
        for label, truth in truths.items()
    ]
    inflated = fit if _fitted(graph.analysis) else None
    levels = graph.analysis.intervals.level
    summed = specs.Coverage(graph.analysis.poi(), names(blocks), levels, belt is not None, inflated)
    every = (task for tasks in blocks for task in tasks)
    return graph.add("coverage", "coverage", summed, *every, *([belt] if belt else [])), blocks


def names(blocks: list[list[Task]]) -> tuple[tuple[str, ...], ...]:
    """Name the blocks of each truth."""
    return tuple(tuple(task.name for task in tasks) for tasks in blocks)


def _blocks(
    graph: Graph,
    name: str,
    spec: specs.Toys,
    truth: Mapping[str, float],
    sizes: tuple[int, int],
    before: list[Task],
    *,
    start: int = 0,
    place: int = 0,
) -> list[Task]:
    """Cut the toys of one truth into blocks; a toy is what its number and its truth say, whatever block it is in."""
    total, size = sizes
    whole = replace(spec, truth=tuple(truth.items()), salt=graph.salt("toys", name))
    return [
        graph.add(
            "toys", f"{name}.{number:04d}", replace(whole, first=start + first, count=min(size, total - first)), *before
        )
        for number, first in enumerate(range(0, total, size), place)
    ]


def _truth(analysis: Analysis, point: Mapping[str, float]) -> dict[str, float]:
    """Complete a point of `[toys] at`: physics parameters are nominal if not named, nuisance parameters 0."""
    physics = {name: point.get(name, parameter.nominal) for name, parameter in analysis.model.parameters.items()}
    return physics | {name: point[name] for name in analysis.model.nuisances if point.get(name)}


def _label(truth: Mapping[str, float]) -> str:
    return ",".join(f"{name}={value:.12g}" for name, value in truth.items())


def learned_shapes(analysis: Analysis) -> tuple[Shape, ...]:
    """List the learned responses of the model."""
    sides: dict[tuple[str, str], dict[str, str]] = {}
    for name, nuisance, side, _ in analysis.varied():
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
