"""A plan in the making: what it is made from, and its tasks as they are added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from needle_parsl.analysis import Analysis
from needle_parsl.analysis.tables.limits import size
from needle_parsl.densities import Density
from needle_parsl.plan import specs
from needle_parsl.plan.keys import digest
from needle_parsl.plan.specs import Physics, Share, Spec, Task
from needle_parsl.plan.stages import STAGES
from needle_parsl.salts import key


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

    def add(self, stage: str, name: str, spec: Spec, *after: Task) -> Task:
        """Add a task of a stage of needle's; its key says what it is and what comes before it."""
        how = STAGES[stage]
        keys = tuple(task.key for task in after)
        # A store is named by its files alone, whatever the tasks through which they came.
        named = () if stage == "convert" else keys
        networked = how.networked or isinstance(spec, specs.Closing)
        trains = stage == "train"
        own = self.analysis.training.own_code() if trains else self.analysis.evaluated_code()
        code = self.code() if networked and own else None
        limits = self.analysis.limits
        made_from = [stage, how.version, name, spec, named, code if trains else None]
        task = Task(
            stage=how,
            name=name,
            key=digest(made_from),
            spec=spec,
            after=keys,
            code=code,
            limit=limits.of(stage),
            output=size(limits.output),
        )
        self.tasks.append(task)
        return task

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
        return Share(Density(sample), self.analysis.samples[sample].yield_)
