"""From an analysis to its tasks, in an order in which each comes after what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import takewhile

from needle_parsl.analysis import Analysis, Data, recommended, unused
from needle_parsl.plan import estimators as estimating
from needle_parsl.plan import (
    events,
    inference,
    learning,
    morphing,
    own_stages,
    packing,
    precision,
    pruning,
    regions,
    replicas,
    residuals,
    specs,
    stage_rules,
    toys,
)
from needle_parsl.plan.builder import Graph, Inputs
from needle_parsl.plan.datasets import OBSERVED, Datasets, RegionEvents, ReplicaSpec, ThrowerTasks
from needle_parsl.plan.learning import Learned
from needle_parsl.plan.plan import Plan
from needle_parsl.plan.sources import densities, sources
from needle_parsl.plan.specs import Task
from needle_parsl.plan.specs.stores import REGION, whole
from needle_parsl.plan.stages import ALL
from needle_parsl.site import Site


def build(analysis: Analysis, inputs: Inputs, pack: int, memory_mib: int = Site.memory_mib) -> Plan:
    """Plan a run.

    Args:
        analysis: What the user wrote.
        inputs: What a look into the files has told.
        pack: Members that one training task holds, at most; 0 lets `packing` choose.
        memory_mib: Memory that a task of conversion may use; it changes how files are cut, and no result.

    Returns:
        The tasks; every task comes after those it needs.
    """
    whole, verdicts = analysis, [one for one in pruning.judged(analysis, inputs.effects) if one.keep != "shape"]
    if analysis.pruning.prune:
        analysis = pruning.pruned(analysis, verdicts)
    graph = Graph(
        analysis=_crossed(recommended.settle(analysis), inputs),
        inputs=inputs,
        pack=pack,
        memory=memory_mib * 2**20,
        pruned=tuple(one.sentence(pruned=True) for one in verdicts) if whole.pruning.prune else (),
    )
    graph.due = partial(own_stages.before_stage, graph, analysis)
    own_stages.before_samples(graph, analysis)
    (_stages_alone if analysis.stages_alone else _measured)(graph)
    own_stages.before_report(graph, analysis)
    own_stages.after_report(graph, analysis)
    return replace(_ordered(graph), verdicts=tuple(verdicts), regions=tuple(inputs.regions))


def build_first(analysis: Analysis, inputs: Inputs) -> tuple[Plan, dict[str, list[str]]]:
    """Plan the stages that make files of samples, with those before them.

    Returns:
        Their tasks; and by key of the analysis the files that they make, relative to the run directory.
    """
    graph = Graph(analysis=analysis, inputs=inputs, pack=1, memory=0)
    for name in stage_rules.first(analysis):
        own_stages.add(graph, analysis, name)
    return _ordered(graph), own_stages.made_files(graph)


def _stages_alone(graph: Graph) -> None:
    """Plan the report of an analysis of the user's stages alone."""
    sections = own_stages.sections(graph)
    analysis = graph.analysis
    spec = specs.StagesReport(name=analysis.name, seed=analysis.seed, sections=tuple(place for place, _ in sections))
    graph.add("report", "report", spec, *dict.fromkeys(task for _, task in sections))


def _measured(graph: Graph) -> None:
    """Plan everything from the events to the report."""
    analysis = graph.analysis
    stores = _stores(graph)
    if analysis.binned:
        _counted_alone(graph, stores)
        return
    learned = learning.learned(graph, stores)
    if learned.events is not None:
        _fitted(graph, stores, learned, learned.events)
    elif analysis.unfitted:
        own_stages.before_report(graph, analysis)
        _stages_alone(graph)


def _fitted(graph: Graph, stores: Mapping[str, Task], learned: Learned, events: RegionEvents) -> None:
    """Plan the common fit of all regions, and all that comes with it."""
    counts, validations = _counts(graph, stores)
    start = Datasets({graph.analysis.region: events, **regions.add(graph)}, counts, validations)
    if start.several:
        fit = inference.model_of(graph.analysis, start.several, start.name)
        start = replace(start, counts=[*counts, regions.compare(graph, fit, start.regions, counts, stores)])
    made = replicas.ReplicaInputs(learned.ratios, stores, events, counts).of_model()
    resampled, repeated = replicas.both(graph, made)
    redone = _redone(graph, made, learned.packs, resampled)
    closing = learning.closing(graph, events.asimov, learned.estimators, stores)
    single = not (start.several or graph.analysis.simulated)
    if not graph.analysis.simulated:
        closing += residuals.measure(graph, events.asimov, learned.checks, learning.against(graph.analysis))
    measured = inference.measure(graph, start, _thrower(graph, learned.estimators), redone)
    morphing.add(graph, start, measured, stores)
    again = replicas.replicas(graph, resampled, repeated, measured.learned())
    enough = [precision.measure(graph, events.asimov, measured.fits, again, learned.ratios, stores)] if single else []
    _report(graph, stores, learned.ratios, learned.packs, [*learned.checks, *closing, *enough], measured, again)


def build_region(analysis: Analysis, inputs: Inputs, pack: int, memory_mib: int = Site.memory_mib) -> tuple[Task, ...]:
    """Plan what comes before the common fit of an unbinned region beside the first one; arguments as those of `build`."""
    graph = Graph(
        analysis=_crossed(recommended.settle(analysis), inputs), inputs=inputs, pack=pack, memory=memory_mib * 2**20
    )
    stores = _stores(graph)
    learned = learning.learned(graph, stores)
    if learned.events is not None:
        learning.closing(graph, learned.events.asimov, learned.estimators, stores)
    return _ordered(graph).tasks


def _counted_alone(graph: Graph, stores: Mapping[str, Task]) -> None:
    """Plan an analysis of binned regions alone."""
    start = Datasets({}, *_counts(graph, stores))
    measured = inference.measure(graph, start, None, {})
    morphing.add(graph, start, measured, stores)
    _report(graph, stores, [], {}, [], measured, None)


def _crossed(analysis: Analysis, inputs: Inputs) -> Analysis:
    """Say into how many folds events are divided, where the analysis leaves it open."""
    split = analysis.split
    if split.cross is None:
        counts = [packing.events_of(analysis, inputs.files, name) for name in analysis.samples]
        split = replace(split, cross=recommended.folds(min([count for count in counts if count], default=0)))
    folds = split.cross or analysis.training.folds or 1
    return replace(analysis, split=split, training=replace(analysis.training, folds=folds))


def _redone(
    graph: Graph, made: replicas.ReplicaInputs, packs: Mapping[str, list[Task]], resampled: list[ReplicaSpec]
) -> dict[str, list[ReplicaSpec]]:
    """Say which toys are fitted with other ratios than those of the run."""
    own = graph.analysis.toys
    if own is None:
        return {}
    found = {"retrained": resampled} if own.retrained else {}
    return found | ({"refitted": replicas.refitted(graph, made, packs, own.refitted)} if own.refitted else {})


def _ordered(graph: Graph) -> Plan:
    """Order tasks by stages: those of the user's stand behind the last one that they come after."""
    order = {stage.name: place for place, stage in enumerate(ALL)}
    order["trials"] = order["search"]  # each step of a search comes after the trials of those before
    stages = graph.analysis.stages
    for name in stage_rules.ordered(stages):
        order[name] = max((order[before] for before in stage_rules.ancestors(stages, name) & order.keys()), default=-1)
    last = order["report"]
    tasks = tuple(sorted(graph.tasks, key=lambda task: -1 if task.part else order.get(task.stage.name, last)))
    return Plan(tasks, graph.networks, graph.shared, graph.kept, graph.trials)


def _stores(graph: Graph) -> dict[str, Task]:
    """Generate and convert: one store per source. What a stated yield is of comes before the region of its sample."""
    every = sources(graph.analysis)
    found: dict[str, Task] = {}
    for name in sorted(every, key=lambda name: not name.endswith(whole(""))):
        before = [found[whole(name)]] if whole(name) in found else []
        found[name] = events.convert(graph, name, every[name], before)
    return {name: found[name] for name in every}


def _counts(graph: Graph, stores: Mapping[str, Task]) -> tuple[list[Task], list[Task]]:
    """Count in the regions that are fitted, and in those that are only looked at."""
    model = graph.analysis.model
    fitted = [_count(graph, name, stores) for name in model.fitted().regions]
    return fitted, [_count(graph, name, stores) for name in model.validations()]


def _count(graph: Graph, region: str, stores: Mapping[str, Task]) -> Task:
    """Count in a binned region; a yield that the user states is that of the other events, hence their stores."""
    analysis = graph.analysis
    processes = tuple(analysis.model.processes)
    varied = densities(analysis, region)
    read = [*processes, *(density.name for density in varied)]
    own = [stores[name] for name in stores if name.endswith(f"{REGION}{region}")]
    seen = f"{OBSERVED}{REGION}{region}" in stores
    edges = {name: own.binning.edges for name, own in analysis.model.regions.items()}
    # One that is only looked at may share no event with any that is fitted.
    before = tuple(takewhile(lambda name: name != region, analysis.model.fitted().regions))
    shares, beside = tuple(graph.share(name) for name in processes), tuple((name, edges[name]) for name in before)
    spec = specs.Count(
        region=region,
        edges=edges[region],
        samples=shares,
        varied=varied,
        observed=seen,
        binned=analysis.binned,
        beside=beside,
    )
    others = [stores[f"{process}{REGION}{name}"] for name in before for process in processes]
    return graph.add("count", region, spec, *own, *(stores[name] for name in read if name in stores), *others)


def _thrower(graph: Graph, estimators: Mapping[str, Task]) -> ThrowerTasks | None:
    """Say how toys get events of their own, if the user has a function for that."""
    own = graph.analysis.toys
    if own is None or not own.generate:
        return None
    ratios = estimating.of_model(graph.analysis, estimators)
    kept = replace(events.conversion(graph, "toys", Data(generate=own.generate), ()), id=())
    spec = specs.Thrower(own.generate, graph.inputs.physics, kept, tuple(ratios))
    return ThrowerTasks(spec, tuple(ratios.values()))


def _listed(analysis: Analysis, store: str) -> bool:
    """Whether the report lists a store: simulated samples, and those of regions where there are these alone."""
    name, _, region = store.partition(REGION)
    return name != OBSERVED and bool(region) == analysis.binned


def _report(
    graph: Graph,
    stores: Mapping[str, Task],
    ratios: list[specs.Ratio],
    packs: Mapping[str, list[Task]],
    checks: list[Task],
    measured: inference.InferenceTasks,
    again: Task | None,
) -> None:
    analysis = graph.analysis
    own_stages.before_report(graph, analysis)
    sections = own_stages.sections(graph)
    spec = specs.Report(
        name=analysis.name,
        seed=analysis.seed,
        stores=tuple(name for name in stores if _listed(analysis, name)),
        regions=tuple(analysis.model.fitted().regions),
        ratios=tuple(ratios),
        packs=tuple(dict.fromkeys(task.name for tasks in packs.values() for task in tasks)),
        fits=tuple(task.name for task in measured.fits),
        scans=tuple(task.name for task in measured.scans),
        plane=measured.plane is not None,
        impacts=bool(measured.impacts),
        limits=bool(measured.limits),
        bootstrap=again is not None,
        mixture=any(isinstance(task.spec, specs.MixtureSpec) for task in checks),
        closure=any(isinstance(task.spec, specs.Closing) for task in checks),
        toys=toys.names(measured.toys),
        belt=measured.belt is not None,
        headline=measured.fits[0].name,
        poi=analysis.poi(),
        splitting=graph.splitting,
        physics=graph.inputs.physics if graph.inputs.exact else None,
        blinded=analysis.fit.data is not None and analysis.data() is None,
        warnings=tuple(f"{name}: {message}" for name, message in unused.found(analysis, settled=True)),
        thresholds=analysis.diagnostics,
        binned=analysis.binned,
        sections=tuple(place for place, _ in sections),
        precision=any(isinstance(task.spec, specs.PrecisionSpec) for task in checks),
        offset=shown.parameters if (shown := inference.blinding(analysis, measured.fits[0].name)) else (),
        breakdowns=tuple(task.name for task in measured.breakdowns),
        pruned=graph.pruned,
        residuals=any(isinstance(task.spec, specs.ResidualsSpec) for task in checks),
        further=analysis.pois()[1:],
        further_regions=measured.fits[0].of(specs.FitSpec).unbinned[1:],
        region=measured.region is not None,
        goodness=measured.goodness is not None,
        validation=measured.validation is not None,
    )
    trained = {task.name: task for tasks in packs.values() for task in tasks}
    before = [*stores.values(), *trained.values(), *checks, *measured.tasks()]
    before += [again] if again else []
    before += dict.fromkeys(task for _, task in sections)
    graph.add("report", "report", spec, *before)
