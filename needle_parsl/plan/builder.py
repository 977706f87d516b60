"""A plan in the making: what it is made from, and its tasks as they are added."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from needle_parsl.analysis import Analysis, Diagnostics, OwnStage
from needle_parsl.analysis.tables.limits import size
from needle_parsl.densities import Density
from needle_parsl.plan import specs
from needle_parsl.plan.keys import digest
from needle_parsl.plan.specs import Physics, Share, Spec, Task
from needle_parsl.plan.stages import STAGES, Stage
from needle_parsl.salts import key


@dataclass(frozen=True, kw_only=True)
class StageInputs:
    """What a look at the user's stages has told."""

    takes: Mapping[str, tuple[str, ...] | None]
    """Names of the arguments that the function of a stage takes; None for any."""
    files: Mapping[str, tuple[specs.File, ...]]
    """Files over which stages go, by pattern."""
    physics: Physics
    """Their code; digests are of what they import alone."""
    functions: Mapping[str, str]
    """Digests of what a function consists of, by its reference."""
    resources: Mapping[str, tuple[str, ...]]
    """Digests of the files that the command of a stage names."""
    folder: str
    """That of the analysis."""
    analyses: Mapping[str, tuple[Task, ...]] = field(default_factory=dict)
    """Tasks of the analysis that a stage names, up to its estimators and what is measured of them."""
    thresholds: Mapping[str, Diagnostics] = field(default_factory=dict)
    """Of such an analysis: where checks of its ratios turn."""


@dataclass(frozen=True, kw_only=True)
class VariationEffect:
    """How much a varied sample differs from its nominal one, as `nsbi.data.variation_effects` has it."""

    feature: str
    """The one that differs most."""
    shape: float
    """Upper bound of sum_b (p'_b - p_b)^2 / p_b there."""
    change: float
    """Largest relative change of a bin there."""
    relative: float
    """Yield over the nominal one."""
    error: float
    """Its statistical error; 0 where both are made of the same events."""
    total: float
    """Sum of the nominal weights."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a look into the files has told."""

    files: Mapping[str, tuple[specs.File, ...]]
    """Input files with their digests by sample or varied sample; those of observed data by `observed`."""
    physics: Physics
    exact: bool
    """Whether `physics.py` knows the densities."""
    exports: bool = False
    """Whether ONNX files can be made and checked here."""
    initial: Mapping[str, Mapping[str, specs.InitialSpec]] = field(default_factory=dict)
    """Weights that trainings start from: by what the analysis calls them, and by what is learned, "" for anything."""
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Features by whose values the events of a sample are found in its variations, which are made of them."""
    columns: Mapping[str, specs.ComputedSpec] = field(default_factory=dict)
    """Columns that are computed from what stages of the user's make."""
    effects: Mapping[str, VariationEffect] = field(default_factory=dict)
    """Of varied samples that were read to their ends, also in regions (`background.jes.up@low`)."""
    stages: StageInputs | None = None
    """None where the user's stages are left out of the plan."""
    regions: Mapping[str, tuple[Task, ...]] = field(default_factory=dict)
    """Tasks of the further unbinned regions, up to their events with all ratios, by name."""


Item = Mapping[str, Any]
"""The members of the lists for which a stage is called: values, tables or files, by the name of the list."""


@dataclass
class Calls:
    """The tasks of a stage."""

    stage: OwnStage
    items: list[tuple[str, Item, Task]] = field(default_factory=list)
    """Names, members and tasks in their order; several may share a task."""
    merged: list[tuple[str, Item, Task]] = field(default_factory=list)
    """Merges, with the members of the lists that stay apart; empty without a merge."""
    groups: dict[tuple[str, ...], dict[tuple[str, ...], list[tuple[Item, Task]]]] = field(default_factory=dict)
    """Items and tasks by names of lists, and then by the members of these: filled as they are asked for."""

    def tasks(self) -> list[Task]:
        """List what comes out of the stage, each task once."""
        return list({task.key: task for _, _, task in self.outcome()}.values())

    def outcome(self) -> list[tuple[str, Item, Task]]:
        """List what later stages get: merges, or all calls."""
        return self.merged or self.items

    def lists(self) -> list[str]:
        """Name the lists whose members tell outputs apart."""
        over = self.stage.over
        return self.stage.apart() if self.stage.merge else list(over)


@dataclass(kw_only=True)
class Graph:
    """Tasks as they are added, each after those it needs."""

    analysis: Analysis
    inputs: Inputs
    pack: int
    memory: int
    """Bytes that a task of conversion may use."""
    tasks: list[Task] = field(default_factory=list)
    networks: int = 0
    searched: dict[str, str] = field(default_factory=dict)
    """The end of the search that decides on the trainings of a sample's ratios, by the sample; "" for all."""
    kept: int = 0
    """Networks that the search has trained, and no other task trains again."""
    trials: int = 0
    """Networks that the search trains."""
    ends: dict[str, Task] = field(default_factory=dict)
    """The ends of searches, by their names."""
    own: dict[str, Calls] = field(default_factory=dict)
    """The user's stages that are planned."""
    due: Callable[[str], None] = lambda _: None
    """Plans the stages of the user's for which a stage of needle's waits, when its first task is planned."""
    waits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Keys of the user's tasks for which those of a stage of needle's wait, by its name."""
    shareable: dict[str, Task] = field(default_factory=dict)
    """Tasks of the user's stages by key."""
    shared: int = 0
    """Calls of the user's stages that are made from the same as another one, and so need no task."""
    pruned: tuple[str, ...] = ()
    """What was left out of the analysis since it cannot matter, a sentence each."""

    def add(self, stage: str, name: str, spec: Spec, *after: Task) -> Task:
        """Add a task of a stage of needle's; its key says what it is and what comes before it."""
        how = STAGES[stage]
        keys = tuple(task.key for task in after)
        # A store is named by its files alone, whatever the tasks through which they came.
        named = () if stage == "convert" else keys
        networked = how.networked or isinstance(spec, specs.Closing | specs.GoodnessSpec | specs.DistributionsSpec)
        trains = stage in ("train", "trials")
        own = self.analysis.training.own_code() if trains else self.analysis.evaluated_code()
        code = self.code() if networked and own else None
        limits = self.analysis.limits
        made_from = [stage, how.version, name, spec, named, code if trains else None]
        task = Task(
            stage=how,
            name=name,
            key=digest(made_from),
            spec=spec,
            after=(*keys, *self._waits(stage)),
            code=code,
            limit=limits.of(stage),
            output=size(limits.output),
        )
        self.tasks.append(task)
        return task

    def _waits(self, stage: str) -> tuple[str, ...]:
        """List the keys of the user's tasks for which all tasks of a stage of needle's wait, planned with the first of these."""
        if stage not in self.waits:
            self.due(stage)
            before = [calls for calls in self.own.values() if stage in calls.stage.before]
            self.waits[stage] = tuple(task.key for calls in before for task in calls.tasks())
        return self.waits[stage]

    def add_own(self, stage: Stage, name: str, spec: Spec, after: Sequence[Task], limit: float) -> Task:
        """Add a task of the user's, or give the one that is made from the same: its name does not count."""
        keys = tuple(task.key for task in after)
        key = digest(["own", stage.name, stage.version, spec, keys])
        if key in self.shareable:
            self.shared += 1
            return self.shareable[key]
        output = size(self.analysis.limits.output)
        task = Task(stage=stage, name=name, key=key, spec=spec, after=keys, limit=limit, output=output)
        self.tasks.append(task)
        self.shareable[key] = task
        return task

    def add_analysis(self, name: str, planned: Sequence[Task]) -> list[Task]:
        """Add the tasks of the analysis that a stage of the user's names."""
        keys = {task.key: digest(["part", name, task.key]) for task in planned}
        found = [
            replace(
                task,
                name=f"{name}/{task.name}",
                part=name,
                key=keys[task.key],
                after=tuple(keys[key] for key in task.after),
            )
            for task in planned
        ]
        self.tasks += found
        self.networks += sum(len(task.spec.members) for task in found if isinstance(task.spec, specs.Train))
        return found

    def counts(self) -> list[Task]:
        """List the counts of the binned regions that are fitted."""
        fitted = self.analysis.model.fitted().regions
        return [task for task in self.tasks if task.stage.name == "count" and not task.part and task.name in fitted]

    def named(self, stage: OwnStage) -> str:
        """Name a stage of the user's."""
        return next(name for name, own in self.analysis.stages.items() if own is stage)

    def code(self) -> Physics:
        """Give the user's code with what of it files may name."""
        return replace(self.inputs.physics, names=self.analysis.evaluated_code())

    def salt(self, *labels: object) -> int:
        """Make a seed of names."""
        return key(self.analysis.seed, *labels)

    @property
    def splitting(self) -> specs.Splitting:
        """Give the fractions of the events that serve each purpose."""
        split = self.analysis.split
        if split.cross:
            return specs.Splitting(
                train=1.0,
                combine=1.0,
                test=1.0,
                salt=self.salt("split"),
                folds=split.cross,
                fold_salt=self.salt("fold"),
            )
        train, combine, test = split.fractions()
        return specs.Splitting(train=train, combine=combine, test=test, salt=self.salt("split"))

    def share(self, sample: str) -> Share:
        """Give a nominal sample with its expected events."""
        return share(self.analysis, sample)


def share(analysis: Analysis, sample: str) -> Share:
    """Give a nominal sample with its expected events."""
    stated = analysis.samples[sample].yield_
    return Share(Density(sample), stated, None if stated is None else analysis.stated)
