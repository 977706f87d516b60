"""The tasks of toys: the confidence belt and coverage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from needle_parsl.analysis import Analysis, Toys, catalogue
from needle_parsl.plan import specs
from needle_parsl.plan.builder import Graph
from needle_parsl.plan.datasets import Datasets, ReplicaSpec, ThrowerTasks
from needle_parsl.plan.specs import Task


def belt(
    graph: Graph, fit: specs.FitSpec, needs: list[Task], datasets: Datasets
) -> tuple[Task | None, list[list[Task]]]:
    """Throw toys of the model at each value of the grid, with nuisance parameters as the data has them there."""
    intervals, poi, grid = graph.analysis.intervals, graph.analysis.poi(), graph.analysis.grid()
    if not grid or not (datasets.reference() or datasets.binned):
        return None, []
    toys = graph.analysis.toys or Toys()
    spec = _thrown_by_model(fit, poi, toys)
    size, before = toys.block, [*needs, *datasets.reference()]
    blocks = [_rounds(graph, spec, {poi: value}, size, before) for value in grid]
    made = specs.Neyman(
        fit=fit,
        poi=poi,
        grid=grid,
        blocks=names(blocks),
        levels=intervals.level,
        smooth=intervals.smooth,
        statistic=intervals.statistic,
    )
    alone: list[Task] = []
    if intervals.background is not None:
        own, without = replace(spec, tested=grid), {poi: intervals.background}
        alone = _blocks(graph, "neyman/background", own, without, (intervals.toys_per_point, size), before)
        made = replace(made, without=intervals.background, background=tuple(task.name for task in alone))
    every = (task for tasks in (*blocks, alone) for task in tasks)
    return graph.add("neyman", "neyman", made, *needs, *every), [*blocks, *([alone] if alone else [])]


def region(
    graph: Graph, fit: specs.FitSpec, needs: list[Task], datasets: Datasets
) -> tuple[Task | None, list[list[Task]]]:
    """Throw toys of the model at each pair of values of two parameters, with nuisance parameters as the data has them there."""
    intervals, grid = graph.analysis.intervals, tuple(graph.analysis.grid_of_two().items())
    if not grid or not (datasets.reference() or datasets.binned):
        return None, []
    toys, ((x, first), (y, second)) = graph.analysis.toys or Toys(), grid
    spec = replace(_thrown_by_model(fit, x, toys), also=(y,))
    before, sizes = [*needs, *datasets.reference()], (intervals.toys_per_point, toys.block)
    truths = [{x: a, y: b} for a in first for b in second]
    blocks = [_blocks(graph, f"neyman/{_label(truth)}", spec, truth, sizes, before) for truth in truths]
    made = specs.NeymanPlane(
        fit=fit, grid=((x, first), (y, second)), blocks=names(blocks), levels=intervals.level, smooth=intervals.smooth
    )
    every = (task for tasks in blocks for task in tasks)
    return graph.add("neyman", "neyman_region", made, *needs, *every), blocks


def _thrown_by_model(fit: specs.FitSpec, poi: str, toys: Toys) -> specs.ToysSpec:
    return specs.ToysSpec(
        fit=fit,
        poi=poi,
        truth=(),
        profiled=True,
        source="model",
        thrower=None,
        least=toys.pool,
        salt=0,
        first=0,
        count=0,
    )


def _rounds(
    graph: Graph, spec: specs.ToysSpec, truth: Mapping[str, float], size: int, before: list[Task]
) -> list[Task]:
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


def coverage(
    graph: Graph,
    fit: specs.FitSpec,
    datasets: Datasets,
    thrower: ThrowerTasks | None,
    belt: Task | None,
    redone: Mapping[str, Sequence[ReplicaSpec]],
) -> tuple[Task | None, list[list[Task]]]:
    """Throw toys at each truth of `[toys]` and sum them up.

    Args:
        graph: The plan.
        fit: The model.
        datasets: What toys are thrown from.
        thrower: A user's function that throws them.
        belt: Whose coverage is given, too.
        redone: Ratios that are made again, by what that is called; their toys are a share each of as many.

    Returns:
        The sum, and the blocks at each truth that are fitted with the run's own ratios.
    """
    toys = graph.analysis.toys
    if toys is None:
        return None, []
    kind, made = toys.source, thrower.spec if thrower else None
    spec = specs.ToysSpec(
        fit=fit,
        poi=graph.analysis.poi(),
        truth=(),
        profiled=False,
        source=kind,
        thrower=made,
        least=toys.pool,
        salt=0,
        first=0,
        count=0,
    )
    before = [*datasets.simulated(), *(thrower.estimators if thrower else ())]
    if kind == "model":
        before += datasets.reference()
    points = [_truth(graph.analysis, point) for point in graph.analysis.truths()]
    truths = {f"coverage/{_label(truth)}": truth for truth in points}
    blocks = [_blocks(graph, name, spec, truth, (toys.count, toys.block), before) for name, truth in truths.items()]
    again = {
        what: [_shares(graph, f"{name}/{what}", spec, truth, made, before) for name, truth in truths.items()]
        for what, made in redone.items()
    }
    summed = specs.CoverageSpec(
        poi=graph.analysis.poi(),
        blocks=names(blocks),
        levels=graph.analysis.intervals.level,
        belt=belt is not None,
        inflated=fit if catalogue.combiner(graph.analysis.ensemble.combine).fitted else None,
        repeated=tuple(specs.RepeatedToys(what, names(own)) for what, own in again.items()),
    )
    every = [task for own in (blocks, *again.values()) for tasks in own for task in tasks]
    return graph.add("coverage", "coverage", summed, *every, *([belt] if belt else [])), blocks


def _shares(
    graph: Graph,
    name: str,
    spec: specs.ToysSpec,
    truth: Mapping[str, float],
    redone: Sequence[ReplicaSpec],
    before: list[Task],
) -> list[Task]:
    """Give each replica its share of the toys of a truth, in one block."""
    each = math.ceil(graph.analysis.toys.count / len(redone)) if graph.analysis.toys else 0
    found = []
    for number, own in enumerate(redone):
        again, needed = (
            replace(spec, again=own.spec),
            list({task.key: task for task in (*before, *own.before)}.values()),
        )
        found += _blocks(graph, name, again, truth, (each, each), needed, start=number * each, place=number)
    return found


def names(blocks: list[list[Task]]) -> tuple[tuple[str, ...], ...]:
    """Name the blocks of each truth."""
    return tuple(tuple(task.name for task in tasks) for tasks in blocks)


def _blocks(
    graph: Graph,
    name: str,
    spec: specs.ToysSpec,
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
