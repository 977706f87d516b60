"""From an analysis to its tasks, in an order in which each comes after what it needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile

from needle_parsl import addresses
from needle_parsl.analysis import Analysis, Data, Sample, Source, catalogue, recommended, unused
from needle_parsl.densities import Density
from needle_parsl.errors import InputError, closest
from needle_parsl.plan import estimators as estimating
from needle_parsl.plan import (
    events,
    inference,
    own_stages,
    packing,
    precision,
    pruning,
    replicas,
    residuals,
    specs,
    stage_rules,
    toys,
    training,
)
from needle_parsl.plan import search as searching
from needle_parsl.plan.builder import Graph, Inputs
from needle_parsl.plan.datasets import ASIMOV, OBSERVED, Datasets, ReplicaSpec, ThrowerTasks
from needle_parsl.plan.specs import Share, Task
from needle_parsl.plan.stages import ALL, STAGES, Stage
from needle_parsl.site import Site

MIXTURE = "mixture"
"""The measurement of all processes together."""
REFERENCE = "reference"
"""Events of the reference, with the log ratios of the model."""


@dataclass(frozen=True)
class Plan:
    """All tasks of a run."""

    tasks: tuple[Task, ...]
    networks: int
    shared: int = 0
    """Calls of the user's stages that are made from the same as another one, and so need no task."""
    kept: int = 0
    """Networks of the ensembles that the search has trained."""
    trials: int = 0
    """Networks that the search trains."""
    verdicts: tuple[pruning.VariationVerdict, ...] = ()
    """Variations that cannot matter, or by their yield alone, whether they are left out or not."""

    def stages(self) -> dict[str, int]:
        """Count the tasks by stage, in order."""
        counts = Counter(task.stage.name for task in self.tasks)
        return {stage.name: counts[stage.name] for stage in self.order() if stage.name in counts}

    def order(self) -> tuple[Stage, ...]:
        """List the stages: those of needle, and those that only this plan has, each where its first task is."""
        found = {stage.name: stage for stage in ALL}
        last = ""
        for task in self.tasks:
            if task.stage.name not in found:
                names = list(found)
                place = names.index(last) + 1 if last else 0
                found = dict(
                    [*list(found.items())[:place], (task.stage.name, task.stage), *list(found.items())[place:]]
                )
            last = task.stage.name
        return tuple(found.values())

    def needed(self, held: Collection[str]) -> Plan:
        """Leave out tasks whose outputs only pass on to tasks that are done.

        Args:
            held: Keys of the tasks that are done.
        """
        kept: list[Task] = []
        wanted: set[str] = set()
        for task in reversed(self.tasks):
            if task.stage.temporary and task.key not in wanted:
                continue
            kept.append(task)
            if task.key not in held:
                wanted.update(task.after)
        return replace(self, tasks=tuple(reversed(kept)))

    def until(self, stage: str) -> Plan:
        """Keep the stages up to one.

        Raises:
            InputError: There is no such stage.
        """
        names = [known.name for known in self.order()]
        parts = {task.part for task in self.tasks if task.part}
        if stage not in {*names, *parts}:
            raise InputError(f"--until {stage}: there is no such stage{closest(stage, [*names, *parts])}")
        kept = names[: names.index(stage) + 1] if stage in STAGES else [stage]
        return self._leading_to(kept)

    def _leading_to(self, stages: Collection[str]) -> Plan:
        """Keep some stages, or analyses of stages, and what they need."""
        wanted: set[str] = set()
        for task in reversed(self.tasks):
            if (task.part or task.stage.name) in stages or task.key in wanted:
                wanted |= {task.key, *task.after}
        return replace(self, tasks=tuple(task for task in self.tasks if task.key in wanted))


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
    return replace(_ordered(graph), verdicts=tuple(verdicts))


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
    ratios = _ratios(analysis)
    searching.search(graph, ratios, stores)
    packs = training.of_ratios(graph, ratios, partial(training.members, graph), stores)
    estimators = estimating.combine(graph, ratios, packs, stores)
    # What comes next needs a model, and is made of events at one value of the parameters.
    if analysis.unfitted or analysis.features.parameters:
        for ratio in ratios:
            _diagnose(graph, ratio, packs[ratio.name], estimators[ratio.name], stores)
        if analysis.unfitted:
            own_stages.before_report(graph, analysis)
            _stages_alone(graph)
        return
    covariance = estimating.covariance(graph, ratios, estimators, stores)
    estimating.leave(graph, ratios, estimators, covariance, stores)
    checks = [_diagnose(graph, ratio, packs[ratio.name], estimators[ratio.name], stores) for ratio in ratios]
    mixture = _mixture(graph, ratios, estimators, stores)
    asimov = _evaluate(graph, ASIMOV, stores, estimators, covariance)
    observed = _evaluate(graph, OBSERVED, stores, estimators, covariance) if OBSERVED in stores else None
    reference = _evaluate(graph, REFERENCE, stores, estimators) if inference.uses_reference(analysis) else None
    counts = [_count(graph, name, stores) for name in analysis.model.regions]
    start = Datasets(asimov, observed, reference, counts)
    made = replicas.ReplicaInputs(ratios, stores, start).of_model()
    resampled, repeated = replicas.both(graph, made)
    redone = _redone(graph, made, packs, resampled)
    closing = _closing(graph, asimov, estimators, stores)
    closing += residuals.measure(graph, asimov, checks, _against(analysis))
    measured = inference.measure(graph, start, _thrower(graph, estimators), redone)
    again = replicas.replicas(graph, resampled, repeated, measured.learned())
    enough = precision.measure(graph, asimov, measured.fits, again, ratios, stores)
    _report(graph, stores, ratios, packs, [*checks, *mixture, *closing, enough], measured, again)


def _counted_alone(graph: Graph, stores: Mapping[str, Task]) -> None:
    """Plan an analysis of binned regions alone."""
    counts = [_count(graph, name, stores) for name in graph.analysis.model.regions]
    measured = inference.measure(graph, Datasets(None, None, None, counts), None, {})
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


def sources(analysis: Analysis) -> dict[str, Sample | Data]:
    """List everything that is converted, by the name of its store: samples, varied samples, observed data.

    Without unbinned events, of all samples those whose stated yield is that of all of their events.
    """
    used = dict.fromkeys((*analysis.model.processes, *analysis.ratios.targets, *analysis.ratios.reference))
    found: dict[str, Sample | Data] = {name: analysis.samples[name] for name in used}
    for name, nuisance, side, source in analysis.varied():
        found[Density(name, nuisance, side).name] = completed(analysis.samples[name], source)
    if data := analysis.data():
        found[OBSERVED] = data
    counted = _counted(analysis, found)
    if analysis.binned:
        found = {name: found[name] for name in analysis.model.processes if analysis.samples[name].yield_ is not None}
    return found | counted


def _counted(analysis: Analysis, found: Mapping[str, Sample | Data]) -> dict[str, Sample | Data]:
    """List what is counted in binned regions: processes, their variations, and data."""
    used = [name for name in found if name.partition(".")[0] in analysis.model.processes]
    counted: dict[str, Sample | Data] = {}
    for region in analysis.model.regions:
        counted |= {f"{name}{events.REGION}{region}": found[name] for name in used}
        if data := analysis.data(region):
            counted[f"{OBSERVED}{events.REGION}{region}"] = data
    return counted


def _stores(graph: Graph) -> dict[str, Task]:
    """Generate and convert: one store per source."""
    return {name: events.convert(graph, name, source) for name, source in sources(graph.analysis).items()}


def completed(sample: Sample, source: Source) -> Sample:
    """What a variation does not say is nominal."""
    moved = bool(source.files or source.generate)
    has_tree = not source.files or any(not addresses.name(name).endswith((".parquet", ".csv")) for name in source.files)
    return replace(
        sample,
        files=source.files if moved else sample.files,
        generate=source.generate if moved else sample.generate,
        tree=source.tree or (sample.tree if has_tree else ""),
        weight=source.weight if source.weight != "" else sample.weight,
    )


def _ratios(analysis: Analysis) -> list[specs.Ratio]:
    """Every ratio that is trained: targets over the reference, varied samples over their nominal one."""
    samples = analysis.samples
    # Classes are balanced: a yield only matters where several samples make up the denominator.
    several = len(analysis.ratios.reference) > 1
    reference = tuple(
        Share(Density(name), samples[name].yield_ if several else None) for name in analysis.ratios.reference
    )
    targets = [name for name in dict.fromkeys(analysis.ratios.targets) if not analysis.reference_of(name)]
    varied = [
        specs.Ratio(Density(name, nuisance, side), (Share(Density(name), None),))
        for name, nuisance, side, _ in analysis.varied()
    ]
    inputs = len(analysis.features.parameters)
    return [specs.Ratio(Density(name), reference, inputs) for name in targets] + varied


def _diagnose(graph: Graph, ratio: specs.Ratio, packs: list[Task], estimator: Task, stores: Mapping[str, Task]) -> Task:
    physics = graph.inputs.physics if graph.inputs.exact else None
    spec = specs.Diagnose(ratio, graph.splitting, tuple(task.name for task in packs), physics)
    return graph.add("diagnose", ratio.name, spec, estimator, *packs, *estimating.needed(ratio, stores))


def _mixture(
    graph: Graph, ratios: list[specs.Ratio], estimators: Mapping[str, Task], stores: Mapping[str, Task]
) -> list[Task]:
    """Measure the mixture of all processes, if any of them has a ratio."""
    analysis = graph.analysis
    learned = [ratio for ratio in ratios if ratio.name in analysis.model.processes]
    if not learned:
        return []
    samples = tuple(graph.share(name) for name in analysis.model.processes)
    reference, names = learned[0].denominator, tuple(ratio.name for ratio in learned)
    model = replace(analysis.model, nuisances={}, regions={})
    spec = specs.MixtureSpec(
        model=model, poi=analysis.poi(), reference=reference, splitting=graph.splitting, samples=samples, ratios=names
    )
    read = dict.fromkeys(share.density.name for share in (*reference, *samples))
    return [graph.add("diagnose", MIXTURE, spec, *(estimators[n] for n in names), *(stores[n] for n in read))]


def _evaluate(
    graph: Graph,
    dataset: str,
    stores: Mapping[str, Task],
    estimators: Mapping[str, Task],
    covariance: Task | None = None,
) -> Task:
    analysis = graph.analysis
    simulated = dataset != OBSERVED
    names = analysis.ratios.reference if dataset == REFERENCE else analysis.model.processes
    samples = tuple(graph.share(name) for name in names) if simulated else ()
    variations = analysis.varied() if dataset == ASIMOV else []
    varied = tuple(Density(name, nuisance, side) for name, nuisance, side, _ in variations)
    ratios = estimating.of_model(analysis, estimators)
    normalised = estimating.multipliers(analysis) if dataset == ASIMOV else ()
    spec = specs.Evaluate(
        dataset=dataset,
        splitting=graph.splitting,
        samples=samples,
        varied=varied,
        ratios=tuple(ratios),
        covariance=covariance is not None,
        normalised=normalised,
    )
    read = [share.density.name for share in samples] + [density.name for density in varied]
    read += [] if simulated else [OBSERVED]
    before = [*(stores[name] for name in read), *ratios.values(), *([covariance] if covariance else [])]
    return graph.add("evaluate", dataset, spec, *before)


def _closing(graph: Graph, asimov: Task, estimators: Mapping[str, Task], stores: Mapping[str, Task]) -> list[Task]:
    """Check what a fit of Asimov data cannot, where ratios are normalised at the expected yields."""
    if not asimov.of(specs.Evaluate).normalised:
        return []
    fit = specs.FitSpec(dataset=ASIMOV, model=graph.analysis.model, shapes=inference.learned_shapes(graph.analysis))
    known = {one.key: one for one in graph.tasks if one.stage.name == "normalise"}
    spec = specs.Closing(
        fit=fit,
        poi=graph.analysis.poi(),
        simulation=asimov.of(specs.Evaluate),
        salt=graph.salt("closing"),
        normalisations=tuple(t.name for t in known.values()),
        points=tuple(tuple(point.items()) for point in estimating.reference_yields(graph.analysis).points),
        against=_against(graph.analysis),
    )
    counts = [task for task in graph.tasks if task.stage.name == "count"]
    read = [stores[density.name] for density in spec.simulation.varied]
    made = [estimators[name] for name in spec.simulation.ratios]
    return [graph.add("interval", "closure", spec, asimov, *counts, *made, *read, *known.values())]


def _against(analysis: Analysis) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Say against which samples the ratio of each process that is not in the reference is learned: that, or by one network all other processes."""
    names, reference = tuple(analysis.model.processes), tuple(analysis.ratios.reference)
    every = catalogue.loss(analysis.training.loss).classes
    learned = [name for name in names if name not in reference]
    return tuple((name, tuple(n for n in names if n != name) if every else reference) for name in learned)


def _count(graph: Graph, region: str, stores: Mapping[str, Task]) -> Task:
    """Count in a binned region; a yield that the user states is that of the other events, hence their stores."""
    analysis = graph.analysis
    processes = tuple(analysis.model.processes)
    varied = tuple(Density(name, nuisance, side) for name, nuisance, side, _ in analysis.varied())
    read = [*processes, *(density.name for density in varied)]
    own = [stores[name] for name in stores if name.endswith(f"{events.REGION}{region}")]
    seen = f"{OBSERVED}{events.REGION}{region}" in stores
    edges = {name: own.binning.edges for name, own in analysis.model.regions.items()}
    before = tuple(takewhile(lambda name: name != region, edges))
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
    others = [stores[f"{process}{events.REGION}{name}"] for name in before for process in processes]
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
    name, _, region = store.partition(events.REGION)
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
        regions=tuple(analysis.model.regions),
        ratios=tuple(ratios),
        packs=tuple(dict.fromkeys(task.name for tasks in packs.values() for task in tasks)),
        fits=tuple(task.name for task in measured.fits),
        scans=tuple(task.name for task in measured.scans),
        plane=measured.plane is not None,
        impacts=measured.impacts is not None,
        limits=measured.limits is not None,
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
        pruned=graph.pruned,
        residuals=any(isinstance(task.spec, specs.ResidualsSpec) for task in checks),
    )
    trained = {task.name: task for tasks in packs.values() for task in tasks}
    before = [*stores.values(), *trained.values(), *checks, *measured.tasks()]
    before += [again] if again else []
    before += dict.fromkeys(task for _, task in sections)
    graph.add("report", "report", spec, *before)
