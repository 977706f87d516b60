"""Ratios that are made again: for the replicas of `[bootstrap]` with what their scatter says, and for toys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from needle_parsl.plan import estimators, specs, training
from needle_parsl.plan.builder import Graph
from needle_parsl.plan.datasets import RegionEvents, ReplicaSpec
from needle_parsl.plan.specs import Task

FOLDER = "bootstrap"
"""Where the packs of replicas are."""


@dataclass(frozen=True)
class ReplicaInputs:
    """What ratios are made from, again and again."""

    ratios: Sequence[specs.Ratio]
    """Of the model."""
    stores: Mapping[str, Task]
    events: RegionEvents
    """Simulated and observed ones, with the ratios of the run."""
    counts: Sequence[Task]
    """Of the binned regions."""

    @property
    def simulation(self) -> specs.Evaluate:
        """Say which events they are evaluated at; their weights have no covariance."""
        return replace(self.events.asimov.of(specs.Evaluate), covariance=False)

    def of_model(self) -> ReplicaInputs:
        """Leave out ratios that no fit uses."""
        return replace(self, ratios=[ratio for ratio in self.ratios if ratio.name in self.simulation.ratios])

    def read(self) -> list[Task]:
        """List what is read beside packs: the events of the ratios, those that are fitted, and counts."""
        names = [share.density.name for share in self.simulation.samples]
        names += [density.name for density in self.simulation.varied]
        names += [self.events.observed.name] if self.events.observed else []
        own = [store for ratio in self.ratios for store in estimators.needed(ratio, self.stores)]
        return [*dict.fromkeys([*own, *(self.stores[name] for name in names), *self.counts])]


def both(graph: Graph, made: ReplicaInputs) -> tuple[list[ReplicaSpec], list[ReplicaSpec]]:
    """Plan the networks of `[bootstrap]`: those of resampled events, and those of other seeds alone.

    Args:
        graph: The plan.
        made: What the ratios are made from.
    """
    asked = graph.analysis.bootstrap
    if asked is None:
        return [], []
    return (
        _retrained(graph, made, "replica", asked.replicas, resampled=True),
        _retrained(graph, made, "repeat", asked.repeats, resampled=False),
    )


def _retrained(graph: Graph, made: ReplicaInputs, kind: str, count: int, *, resampled: bool) -> list[ReplicaSpec]:
    """Plan other networks; their members are trained together, so that a pack may hold those of several.

    Args:
        graph: The plan.
        made: What the ratios are made from.
        kind: Begins the names of packs.
        count: How many times.
        resampled: Whether events have other weights each time, too.
    """
    size = _size(graph)
    salts = [graph.salt(kind, number) if resampled else None for number in range(count)]
    packs = training.of_ratios(
        graph,
        made.ratios,
        lambda ratio: _members(graph, size, (kind, ratio.name), salts),
        made.stores,
        f"{FOLDER}/{kind}/",
    )
    return [
        _redone(graph, made, packs, (number * size, (number + 1) * size), salt) for number, salt in enumerate(salts)
    ]


def refitted(graph: Graph, made: ReplicaInputs, packs: Mapping[str, Sequence[Task]], count: int) -> list[ReplicaSpec]:
    """Plan other weights of the run's own networks, fitted to resampled events.

    Args:
        graph: The plan.
        made: What the ratios are made from.
        packs: By ratio.
        count: How many times.
    """
    span = (0, graph.analysis.training.count())
    return [_redone(graph, made, packs, span, graph.salt("refitted", number)) for number in range(count)]


def replicas(
    graph: Graph, resampled: Sequence[ReplicaSpec], repeated: Sequence[ReplicaSpec], fits: Sequence[specs.FitSpec]
) -> Task | None:
    """Plan the fits of all replicas, if there are any, and what their scatter says.

    Args:
        graph: The plan.
        resampled: Ratios with resampled events.
        repeated: Ratios with other seeds alone.
        fits: What is fitted, and how.
    """
    if not resampled:
        return None
    own = graph.analysis.training
    series = {
        kind: [
            graph.add("replica", f"{kind}-{number:04d}", specs.ReplicaFit(one.spec, tuple(fits)), *one.before)
            for number, one in enumerate(redone)
        ]
        for kind, redone in (("replica", resampled), ("repeat", repeated))
    }
    first, second = (tuple(task.name for task in tasks) for tasks in series.values())
    summed = specs.BootstrapSpec(first, second, _size(graph), own.count(), bool(own.bootstrap))
    return graph.add("bootstrap", "bootstrap", summed, *(task for tasks in series.values() for task in tasks))


def _size(graph: Graph) -> int:
    """Count the members of a ratio and fold in one replica."""
    asked, own = graph.analysis.bootstrap, graph.analysis.training
    return (asked.members if asked else None) or own.count()


def _redone(
    graph: Graph, made: ReplicaInputs, packs: Mapping[str, Sequence[Task]], span: tuple[int, int], salt: int | None
) -> ReplicaSpec:
    held = {name: _holding(own, span) for name, own in packs.items()}
    normalises = tuple(spec for spec, _ in estimators.normalising(graph, made.ratios, held))
    later = {one.ratio.name for spec in normalises for one in spec.ratios}
    combines = tuple(
        estimators.combining(graph, ratio, held[ratio.name], "none" if ratio.name in later else "")
        for ratio in made.ratios
    )
    before = {task.name: task for own in held.values() for task in own}
    return ReplicaSpec(
        specs.Resampling(combines, span, salt, made.simulation, normalises), (*before.values(), *made.read())
    )


def _members(graph: Graph, size: int, names: tuple[str, str], salts: Sequence[int | None]) -> list[specs.MemberSpec]:
    """List the networks of a ratio in all replicas; a replica draws the same weight for an event in every ratio."""
    folds, own = range(graph.analysis.training.folds or 1), training.entered(graph, names[1])
    return [
        specs.MemberSpec(
            member=number * size + member,
            fold=fold,
            seed=graph.salt(*names, number, member, fold),
            bootstrap=salt,
            **own[graph.analysis.training.entry_of(member)],
        )
        for (number, salt), member, fold in product(enumerate(salts), range(size), folds)
    ]


def _holding(packs: Sequence[Task], span: tuple[int, int]) -> list[Task]:
    """Keep the packs that hold some of a range of members."""
    return [task for task in packs if any(span[0] <= m.member < span[1] for m in task.of(specs.Train).members)]
