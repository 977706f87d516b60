"""The search: its steps, the packs that train trials, and its end, all planned before anything is known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from needle_parsl.analysis import Search, catalogue
from needle_parsl.errors import InputError
from needle_parsl.nsbi.search import design
from needle_parsl.nsbi.search.design import Design
from needle_parsl.plan import packing, specs, training
from needle_parsl.plan.builder import Graph
from needle_parsl.plan.specs import Task
from needle_parsl.plan.training import Subject

PACKS = 8
"""Packs of a step, where it has so many trials and their work does not ask for more: they end together, and several workers are busy."""


class _Searched(NamedTuple):
    """One search."""

    name: str
    """What the names of its tasks begin with."""
    design: Design
    subjects: tuple[specs.Train, ...]
    needed: Sequence[Task]


def search(graph: Graph, ratios: Sequence[specs.Ratio], stores: Mapping[str, Task]) -> None:
    """Plan the searches of an analysis: one for all ratios, or one for each."""
    own = graph.analysis.search
    if own is None:
        return
    whole = design.complete(own, graph.analysis.training.epochs)
    if whole < own.taken():
        raise InputError(
            f"search.ensemble: asks for the {own.taken()} best, and {whole} trials are trained to their end; expected at most as many, or more trials"
        )
    subjects = [s for s, _ in training.subjects(graph, ratios) if training.replicas(graph, s)]
    groups = {subject.name: [subject] for subject in subjects} if own.per_ratio else {"": subjects}
    for name, group in groups.items():
        searched = _searched(graph, own, name, group, stores)
        _insist(graph, own, searched)
        graph.trials += sum(b.counts[0] for b in searched.design.brackets) * sum(
            len(s.members) for s in searched.subjects
        )
        end = _planned(graph, own, searched)
        graph.searched[name] = end.name
        graph.ends[end.name] = end
    _section(graph, own)


def _insist(graph: Graph, own: Search, searched: _Searched) -> None:
    """Insist on as many networks of the same settings as a trial has replicas; folds follow from the events where nothing is said of them."""
    there = min(len(subject.members) for subject in searched.subjects)
    folds = graph.analysis.training.folds or 1
    if there < own.replicas:
        raise InputError(
            f"search.replicas: found {own.replicas}, and an ensemble has {there} networks of the same settings ({folds} folds); expected at most as many"
        )
    networks = Counter(member.fold for member in searched.subjects[0].members)
    if own.combines() and min(networks.values()) < 2:
        raise InputError(
            f"search.replicas: found {own.replicas} in {folds} folds, and a key of [ensemble] is searched by what it makes of several networks of a fold; "
            f"expected at least {2 * folds}"
        )


def fewest(search: Search, epochs: int | None, least: int) -> int:
    """Give the smallest number of trials that leaves as many as the ensemble is made of, and is not below `least`."""
    numbers = range(least, search.trials)
    enough = (n for n in numbers if design.complete(replace(search, trials=n), epochs) >= search.taken())
    return next(enough, search.trials)


def _searched(
    graph: Graph, own: Search, name: str, subjects: Sequence[Subject], stores: Mapping[str, Task]
) -> _Searched:
    made = design.of(own, graph.analysis.training.epochs, graph.salt("search", name))
    names = dict.fromkeys(density.name for subject in subjects for density in subject.densities())
    needed = [stores[store] for store in names]
    return _Searched(f"{name}/" if name else "", made, tuple(_subject(graph, one) for one in subjects), needed)


def _subject(graph: Graph, ratio: Subject) -> specs.Train:
    """Say what a trial trains of a ratio: the first networks of the ensemble."""
    splitting = graph.splitting if graph.splitting.folds else replace(graph.splitting, combine=0.0, test=0.0)
    members = tuple(
        specs.MemberSpec(
            member=member,
            fold=fold,
            seed=graph.salt("member", ratio.name, member, fold),
            bootstrap=graph.salt("bootstrap", member) if graph.analysis.training.bootstrap else None,
        )
        for member, fold in training.replicas(graph, ratio)
    )
    return replace(training.trained_from(graph, ratio, splitting, graph.analysis.training), members=members)


def _planned(graph: Graph, own: Search, searched: _Searched) -> Task:
    """Plan the steps one by one; a step decides what was trained `OPEN_STEPS` steps before. Give the end."""
    made = searched.design
    packs: list[list[Task]] = []
    before: list[Task] = []
    for step in range(made.steps):
        measured = packs[step - design.OPEN_STEPS] if step >= design.OPEN_STEPS else []
        decided = _step(graph, searched, step, before, measured)
        packs.append(_packs(graph, own, searched, step, decided, measured))
        before = [decided]
    left = [task for tasks in packs[-design.OPEN_STEPS :] for task in tasks]
    spec = specs.Best(
        search=made,
        before=before[0].name,
        measured=tuple(task.name for task in left),
        subjects=tuple(one.ratio.name for one in searched.subjects),
    )
    return graph.add("search", f"{searched.name}best", spec, *before, *left)


def _step(graph: Graph, searched: _Searched, step: int, before: Sequence[Task], measured: Sequence[Task]) -> Task:
    spec = specs.Suggest(
        search=searched.design,
        step=step,
        before=before[0].name if before else "",
        measured=tuple(task.name for task in measured),
        packs=_count(graph, searched, step),
        subjects=searched.subjects,
        stacked=graph.pack > 0,
    )
    return graph.add(
        "search", f"{searched.name}step.{step:03d}", spec, *before, *measured, *(() if before else searched.needed)
    )


def _count(graph: Graph, searched: _Searched, step: int) -> int:
    """Choose the packs of a step by its trials, and by the networks that the site trains together, or by their work in networks of the size that is recommended."""
    running = searched.design.running(step)
    trials = sum(bracket.counts[rung] for bracket, rung in running)
    if graph.pack:
        return min(trials, math.ceil(trials * max(len(subject.members) for subject in searched.subjects) / graph.pack))
    work = sum(bracket.counts[rung] * _part(bracket.epochs, rung) for bracket, rung in running)
    networks = sum(len(subject.members) for subject in searched.subjects)
    names = list(dict.fromkeys(density.sample for one in searched.subjects for density in one.ratio.densities()))
    most = packing.members(graph.analysis, graph.inputs.files, names)
    return min(trials, max(PACKS, math.ceil(work * networks / most)))


def _part(epochs: Sequence[int], rung: int) -> float:
    """Give the part of a whole training that a rung is."""
    return (epochs[rung] - (epochs[rung - 1] if rung else 0)) / epochs[-1] if epochs[-1] else 1.0


def _packs(
    graph: Graph, own: Search, searched: _Searched, step: int, decided: Task, measured: Sequence[Task]
) -> list[Task]:
    spec = specs.Trials(
        step=decided.name,
        place=0,
        metrics=searched.design.metrics,
        subjects=searched.subjects,
        fitted=_fitted(graph, own),
        combined=_combined(graph, own),
    )
    count = decided.of(specs.Suggest).packs
    return [
        graph.add(
            "trials", f"{searched.name}{step:03d}.{k:03d}", replace(spec, place=k), decided, *measured, *searched.needed
        )
        for k in range(count)
    ]


def _combined(graph: Graph, own: Search) -> tuple[str, str] | None:
    """Give how members are combined where a search varies that."""
    ensemble = graph.analysis.ensemble
    return (ensemble.combine, ensemble.calibration) if own.combines() else None


def _fitted(graph: Graph, own: Search) -> specs.FittedMetric | None:
    """Give the model to metrics that fit the parameter of interest."""
    analysis = graph.analysis
    if not any(catalogue.SEARCH_METRICS[name].fitted for name in own.metrics()):
        return None
    return specs.FittedMetric(
        model=replace(analysis.model, nuisances={}, regions={}),
        poi=analysis.poi(),
        samples=tuple(graph.share(name) for name in analysis.model.processes),
        networks=analysis.training.count() * (analysis.training.folds or 1),
    )


def _section(graph: Graph, own: Search) -> None:
    """Plan the section of the report."""
    ends = {end.of(specs.Best): end for end in graph.ends.values()}
    spec = specs.SearchSection(
        searches=tuple((_words(best.subjects), end.name) for best, end in ends.items()),
        search=next(iter(ends)).search,
        replicas=own.replicas,
    )
    graph.add("searched", "", spec, *ends.values())


def _words(subjects: Sequence[str]) -> str:
    """Say what was searched, as people call it: networks of many classes have a name of needle's."""
    return ", ".join("all ratios" if name.startswith("@") else name for name in subjects)
