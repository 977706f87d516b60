"""What commands print, as records that the terminal shows and `--json` writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from needle_parsl import files, plan, records
from needle_parsl import summary as summaries
from needle_parsl.analysis import catalogue, extras
from needle_parsl.errors import Problem
from needle_parsl.json_records import Json, JsonRecord
from needle_parsl.plan import packing
from needle_parsl.records import Record
from needle_parsl.summary import StagesSummary, Summary
from needle_parsl.workflow import cost as costing
from needle_parsl.workflow import probe as probing
from needle_parsl.workflow import run
from needle_parsl.workflow.changes import Change
from needle_parsl.workflow.journal import Outcome
from needle_parsl.workflow.precision import PrecisionAnswer
from needle_parsl.workflow.prepared_run import Prepared

FAILING = 3
"""Exit code of a run whose checks fail, where that was asked for."""


@dataclass(frozen=True)
class StagePlan(JsonRecord):
    """What there is to do in a stage."""

    tasks: int
    to_do: int
    networks: int | None = None
    """Of trainings alone, as the two below."""
    networks_to_do: int | None = None
    largest_pack: int | None = None

    def to_json(self) -> Json:
        """Give the object; networks are in it only where some are trained."""
        return {name: value for name, value in super().to_json().items() if value is not None}


@dataclass(frozen=True)
class EngineChoice(JsonRecord):
    """What trains the networks."""

    engine: str
    reason: str
    """Why it is no faster one."""
    speed_up: float | None
    """Over a loop of lightning.Trainer; None where it was not measured."""


@dataclass(frozen=True, kw_only=True)
class Cost(JsonRecord):
    """What is to do, in node-hours and on disk."""

    node_hours: Mapping[str, float]
    """By stage."""
    total_node_hours: float
    bytes: float
    not_measured: tuple[str, ...]
    """Stages of which nothing is known."""
    probed: tuple[str, ...]
    """Stages that were tried on this machine."""


@dataclass(frozen=True)
class EnsembleSpread(JsonRecord):
    """The error that the ensemble adds to the parameter of interest."""

    error: float
    """Of the parameter."""
    pilot: float
    """As a pilot has measured it."""
    whole: float
    """As many members as the whole run has make it."""


@dataclass(frozen=True, kw_only=True)
class WholeCost(Cost):
    """Of a whole run, after its pilot."""

    spread: EnsembleSpread | None
    """None where it was not measured."""


@dataclass(frozen=True, kw_only=True)
class PlanAnswer(JsonRecord):
    """What `needle plan` prints."""

    analysis: str
    run: str
    networks: int
    trials: int
    """Networks that a search trains."""
    kept: int
    """Networks of the ensembles that the search has trained."""
    shared: int
    """Calls of the user's stages that are made from the same as another one, and so need no task."""
    own: tuple[str, ...]
    """Which stages are the user's."""
    more: bool
    """Whether there is more to plan when these tasks are done: stages make the files of samples."""
    engine: EngineChoice
    stages: Mapping[str, StagePlan]
    warnings: tuple[Problem, ...]
    changes: tuple[Change, ...]
    """From an earlier run."""
    redone: Mapping[str, int]
    """Tasks by stage."""
    damaged: tuple[str, ...]
    """Outputs that are not what was recorded."""
    cost: Cost
    variations: tuple[str, ...] = ()
    """Those that cannot matter, or by their yield alone, a sentence each."""
    precision: PrecisionAnswer | None = None
    """What a wanted precision needs, where that was asked."""

    def to_json(self) -> Json:
        """Give the object; what there is none of, and a precision that was not asked for, are not in it."""
        left = {"precision": self.precision, "variations": self.variations}
        return {name: own for name, own in super().to_json().items() if left.get(name, True)}


@dataclass(frozen=True, kw_only=True)
class Failure(JsonRecord):
    """A task that failed."""

    stage: str
    what: str
    reason: str
    detail: str
    worker: str
    log: str


@dataclass(frozen=True)
class Conversion(JsonRecord):
    """How fast a run converted files, where it did nothing else."""

    events: int
    events_per_s: float
    """Per worker."""
    input_bytes: int
    store_bytes: int


@dataclass(frozen=True, kw_only=True)
class RunAnswer(JsonRecord):
    """What `needle run` prints at its end."""

    run: str
    done: int
    reused: int
    warnings: tuple[str, ...]
    failed: tuple[Failure, ...]
    conversion: Conversion | None = None
    summary: Summary | StagesSummary | None = None
    """Of the report, where the run has come to it."""
    report: str = ""
    """The page."""
    whole: WholeCost | None = None
    """After a pilot."""

    def to_json(self) -> Json:
        """Give the object; what there is none of is not in it."""
        written = super().to_json()
        summary, page, whole, conversion = (written.pop(name) for name in ("summary", "report", "whole", "conversion"))
        results = summary and {**summary, "report": page}
        more = {"conversion": conversion, "results": results, "whole": whole}
        return {**written, **{name: value for name, value in more.items() if value is not None}}


def planned(prepared: Prepared, *, probe: bool = False) -> PlanAnswer:
    """Gather what `needle plan` prints: tasks by stage, and the networks in the packs; a probe measures how long trainings take."""
    todo = {task.key for task in prepared.todo()}
    return PlanAnswer(
        analysis=str(prepared.loaded.path),
        run=str(prepared.root),
        networks=prepared.plan.networks,
        trials=prepared.plan.trials,
        kept=prepared.plan.kept,
        shared=prepared.plan.shared,
        own=tuple(dict.fromkeys(task.stage.name for task in prepared.plan.tasks if task.stage.own)),
        more=prepared.more,
        engine=_engine(prepared),
        stages={stage: _stage(prepared, stage, todo) for stage in prepared.plan.stages()},
        warnings=tuple(prepared.loaded.warnings),
        changes=prepared.earlier.changes,
        redone=prepared.earlier.redone,
        damaged=prepared.earlier.damaged,
        cost=cost(prepared, probe=probe),
        variations=tuple(one.sentence(pruned=prepared.loaded.analysis.pruning.prune) for one in prepared.plan.verdicts),
    )


def _stage(prepared: Prepared, stage: str, todo: set[str]) -> StagePlan:
    tasks = [task for task in prepared.plan.tasks if task.stage.name == stage]
    left = sum(task.key in todo for task in tasks)
    if stage != "train":
        return StagePlan(len(tasks), left)
    packs = {task.key: task.of(plan.Train).members for task in tasks}
    new = [member for key, members in packs.items() if key in todo for member in members if member.replica < 0]
    networks = [len(members) for members in packs.values()]
    return StagePlan(len(tasks), left, sum(networks), len(new), max(networks, default=0))


def cost(prepared: Prepared, *, probe: bool = False) -> Cost:
    """Estimate the node-hours and the disk that a run still needs; stages of which nothing was measured are named."""
    todo = prepared.todo()
    ask = probe and any(task.stage.name == "train" for task in todo) and "train" not in costing.measured(prepared.root)
    probed = costing.trainings(prepared.plan.tasks, probing.timed(prepared.loaded)) if ask else {}
    found = costing.stages(todo, prepared.root, prepared.site, probed)
    hours = {stage: own.node_hours() for stage, own in found.items()}
    known = {stage: value for stage, value in hours.items() if value is not None}
    return Cost(
        node_hours=known,
        total_node_hours=sum(known.values()),
        bytes=sum(own.units * own.bytes for own in found.values()),
        not_measured=tuple(stage for stage in hours if stage not in known),
        probed=tuple(sorted(probed)),
    )


def whole(pilot: Prepared, run: Prepared, members: tuple[int, int]) -> WholeCost:
    """Say what a whole run would cost, and how far its ensembles would scatter, after what a pilot has measured.

    Args:
        pilot: Which has ended.
        run: The whole.
        members: Of the ensembles in both.
    """
    spread = costing.spread(pilot.root, *members)
    return WholeCost(**vars(cost(run)), spread=None if spread is None else EnsembleSpread(**spread))


def _engine(prepared: Prepared) -> EngineChoice:
    """Say what trains the networks, why it is no faster engine, and how much faster than one by one it is."""
    tables = [table for _, table in prepared.loaded.analysis.training.each()]
    compiled = catalogue.NATIVE if extras.here("toys") else catalogue.SEQUENTIAL
    known = [(catalogue.network(t.architecture()[0]), catalogue.loss(t.loss)) for t in tables if not t.tried()]
    usual = [compiled if network.compiled and loss.compiled else catalogue.SEQUENTIAL for network, loss in known]
    engine = ", ".join(dict.fromkeys([*filter(None, prepared.looked.engine.split(", ")), *usual]))
    nodes = max(table.nodes or packing.NODES for table in tables)
    return EngineChoice(engine, prepared.looked.reason, packing.speed_up(engine, nodes))


def ended(prepared: Prepared, outcome: Outcome) -> RunAnswer:
    """Gather what `needle run` prints at its end."""
    made, folder = run.converted(prepared, outcome), prepared.root / "report"
    reported = any(task.stage.name == "report" for task in prepared.plan.tasks)
    there = reported and not outcome.failed and (folder / "summary.json").exists()
    return RunAnswer(
        run=str(prepared.root),
        done=len(outcome.done),
        reused=len(prepared.done.keys() - {record.key for record in outcome.done}),
        warnings=tuple(records.warnings([*prepared.done.values(), *outcome.done])),
        failed=tuple(_failure(prepared.root, r) for r in outcome.failed),
        conversion=Conversion.from_json(made) if made else None,
        summary=summaries.read(files.read_json(folder / "summary.json")) if there else None,
        report=str(folder / "index.html"),
    )


def _failure(root: Path, record: Record) -> Failure:
    log = str(root / record.log) if record.log else ""
    return Failure(
        stage=record.stage, what=record.what, reason=record.reason, detail=record.detail, worker=record.worker, log=log
    )
