"""The tasks of `[bootstrap]`: replicas of all trainings and fits, and what their scatter says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from needle_parsl.plan import estimating, specs, training
from needle_parsl.plan.growing import Graph
from needle_parsl.plan.inference import Datasets
from needle_parsl.plan.specs import Task

FOLDER = "bootstrap"
"""Where the packs of replicas are."""


@dataclass(frozen=True)
class _Again:
    """What every replica does again."""

    ratios: Sequence[specs.Ratio]
    """Of the model."""
    stores: Mapping[str, Task]
    datasets: Datasets
    fits: Sequence[specs.Fit]
    size: int
    """Members of a ratio and fold."""


def replicas(
    graph: Graph,
    ratios: Sequence[specs.Ratio],
    stores: Mapping[str, Task],
    datasets: Datasets,
    fits: Sequence[specs.Fit],
) -> Task | None:
    """Plan the replicas, if any are asked for.

    Args:
        graph: The plan.
        ratios: All that are learned.
        stores: Of all samples.
        datasets: What is fitted.
        fits: How.
    """
    asked, own = graph.analysis.bootstrap, graph.analysis.training
    if asked is None:
        return None
    used = datasets.asimov.of(specs.Evaluate).ratios
    again = _Again([r for r in ratios if r.name in used], stores, datasets, fits, asked.members or own.members)
    salts = [graph.salt("replica", number) for number in range(asked.replicas)]
    resampled = _series(graph, again, "replica", salts)
    repeated = _series(graph, again, "repeat", [None] * asked.repeats)
    summed = specs.Bootstrap(_names(resampled), _names(repeated), again.size, own.members, own.bootstrap)
    return graph.add("bootstrap", "bootstrap", summed, *resampled, *repeated)


def _names(tasks: Sequence[Task]) -> tuple[str, ...]:
    return tuple(task.name for task in tasks)


def _series(graph: Graph, again: _Again, kind: str, salts: Sequence[int | None]) -> list[Task]:
    """Plan replicas of one kind; their members are trained together, so that a pack may hold those of several.

    Args:
        graph: The plan.
        again: What each does.
        kind: Begins their names.
        salts: Of the resampling of each; None for the events as they are.
    """
    packs = training.of_ratios(
        graph,
        again.ratios,
        lambda ratio: _members(graph, again, (kind, ratio.name), salts),
        again.stores,
        f"{FOLDER}/{kind}/",
    )
    simulation, read = replace(again.datasets.asimov.of(specs.Evaluate), covariance=False), _read(again)
    tasks = []
    for number, salt in enumerate(salts):
        span = (number * again.size, (number + 1) * again.size)
        held = {name: _holding(own, span) for name, own in packs.items()}
        combines = tuple(estimating.combining(graph, ratio, held[ratio.name]) for ratio in again.ratios)
        spec = specs.Replica(combines, span, salt, simulation, tuple(again.fits))
        before = list({task.name: task for own in held.values() for task in own}.values())
        tasks.append(graph.add("replica", f"{kind}-{number:04d}", spec, *before, *read))
    return tasks


def _members(graph: Graph, again: _Again, names: tuple[str, str], salts: Sequence[int | None]) -> list[specs.Member]:
    """List the networks of a ratio in all replicas; a replica draws the same weight for an event in every ratio."""
    folds = range(graph.analysis.training.folds)
    return [
        specs.Member(number * again.size + member, fold, graph.salt(*names, number, member, fold), salt)
        for (number, salt), member, fold in product(enumerate(salts), range(again.size), folds)
    ]


def _holding(packs: Sequence[Task], span: tuple[int, int]) -> list[Task]:
    """Keep the packs that hold some of a range of members."""
    return [task for task in packs if any(span[0] <= m.member < span[1] for m in task.of(specs.Train).members)]


def _read(again: _Again) -> list[Task]:
    """List what else a replica reads: the events of its ratios, those that are fitted, and counts."""
    simulation, datasets, stores = again.datasets.asimov.of(specs.Evaluate), again.datasets, again.stores
    names = [share.density.name for share in simulation.samples] + [density.name for density in simulation.varied]
    names += [datasets.observed.name] if datasets.observed else []
    own = [store for ratio in again.ratios for store in estimating.needed(ratio, stores)]
    return [*dict.fromkeys([*own, *(stores[name] for name in names), *datasets.counts])]
