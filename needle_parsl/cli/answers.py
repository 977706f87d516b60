"""What commands print, as tables for JSON and for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from needle_parsl import addresses

if TYPE_CHECKING:
    from needle_parsl.records import Record
    from needle_parsl.workflow.journal import Outcome
    from needle_parsl.workflow.prepared_run import Prepared


FAILING = 3
"""Exit code of a run whose checks fail, where that was asked for."""


def failing(results: Mapping[str, Any]) -> bool:
    """Whether a check of a finished run fails."""
    return results.get("state") == "fail"


def planned(prepared: Prepared, *, probe: bool = False) -> dict[str, Any]:
    """Gather what `needle plan` prints: tasks by stage, and the networks in the packs; a probe measures how long trainings take."""
    from needle_parsl import plan

    todo = {task.key for task in prepared.todo()}
    stages: dict[str, dict[str, int]] = {}
    for stage, count in prepared.plan.stages().items():
        tasks = [task for task in prepared.plan.tasks if task.stage.name == stage]
        stages[stage] = {"tasks": count, "to_do": sum(task.key in todo for task in tasks)}
        if stage == "train":
            sizes = [(len(task.of(plan.Train).members), task.key in todo) for task in tasks]
            stages[stage] |= {
                "networks": sum(n for n, _ in sizes),
                "networks_to_do": sum(n for n, left in sizes if left),
                "largest_pack": max((n for n, _ in sizes), default=0),
            }
    return {
        "analysis": str(prepared.loaded.path),
        "run": str(prepared.root),
        "networks": prepared.plan.networks,
        "engine": _engine(prepared),
        "stages": stages,
        "warnings": [asdict(warning) for warning in prepared.loaded.warnings],
        "changes": [asdict(change) for change in prepared.earlier.changes],
        "redone": prepared.earlier.redone,
        "damaged": prepared.earlier.damaged,
        "cost": cost(prepared, probe=probe),
    }


def cost(prepared: Prepared, *, probe: bool = False) -> dict[str, Any]:
    """Estimate the node-hours and the disk that a run still needs; stages of which nothing was measured are named."""
    from needle_parsl.workflow import cost as costing
    from needle_parsl.workflow import probe as probing

    todo = prepared.todo()
    ask = probe and any(task.stage.name == "train" for task in todo) and "train" not in costing.measured(prepared.root)
    probed = costing.trainings(prepared.plan.tasks, probing.timed(prepared.loaded)) if ask else {}
    found = costing.stages(todo, prepared.root, prepared.site, probed)
    hours = {stage: own.node_hours() for stage, own in found.items()}
    known = [value for value in hours.values() if value is not None]
    return {
        "node_hours": {stage: value for stage, value in hours.items() if value is not None},
        "total_node_hours": sum(known),
        "bytes": sum(own.units * own.bytes for own in found.values()),
        "not_measured": [stage for stage, value in hours.items() if value is None],
        "probed": sorted(probed),
    }


def _engine(prepared: Prepared) -> dict[str, Any]:
    """Say what trains the networks, why it is no faster engine, and how much faster than one by one it is."""
    from needle_parsl.analysis import catalogue, extras
    from needle_parsl.plan import packing

    tables = [table for _, table in prepared.loaded.analysis.training.each()]
    compiled = catalogue.NATIVE if extras.here("toys") else catalogue.SEQUENTIAL
    known = [(catalogue.network(t.architecture()[0]), catalogue.loss(t.loss)) for t in tables if not t.tried()]
    usual = [compiled if network.compiled and loss.compiled else catalogue.SEQUENTIAL for network, loss in known]
    engine = ", ".join(dict.fromkeys([*filter(None, prepared.looked.engine.split(", ")), *usual]))
    nodes = max(table.nodes or packing.NODES for table in tables)
    return {"engine": engine, "reason": prepared.looked.reason, "speed_up": packing.speed_up(engine, nodes)}


def ended(prepared: Prepared, outcome: Outcome) -> dict[str, Any]:
    """Gather what `needle run` prints at its end."""
    from needle_parsl import files, records
    from needle_parsl.workflow import run

    facts: dict[str, Any] = {
        "run": str(prepared.root),
        "done": len(outcome.done),
        "reused": len(prepared.done),
        "warnings": records.warnings([*prepared.done.values(), *outcome.done]),
        "failed": [_failure(prepared.root, r) for r in outcome.failed],
    }
    if made := run.converted(prepared, outcome):
        facts["conversion"] = made
    folder = prepared.root / "report"
    reported = any(task.stage.name == "report" for task in prepared.plan.tasks)
    if reported and not outcome.failed and (folder / "summary.json").exists():
        facts["results"] = {**files.read_json(folder / "summary.json"), "report": str(folder / "index.html")}
    return facts


def _failure(root: Path, record: Record) -> dict[str, str]:
    log = str(root / record.log) if record.log else ""
    facts = {"stage": record.stage, "what": record.what, "reason": record.reason}
    return {**facts, "detail": record.detail, "worker": record.worker, "log": log}


def print_json(facts: object) -> None:
    """Print an answer as JSON, as `--json` wants it."""
    typer.echo(json.dumps(addresses.cleaned(facts), indent=2))
