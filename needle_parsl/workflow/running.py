"""A run from analysis to report: what is done, what is to do, and `run.json`."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from needle_parsl import __version__, plan, reading, rundir
from needle_parsl.analysis.file import Loaded
from needle_parsl.errors import InputError, NeedleError
from needle_parsl.plan import Plan, Task
from needle_parsl.site import Site
from needle_parsl.workflow import ledger, probing
from needle_parsl.workflow.records import Record

CONVERSION = ("generate", "read", "merge", "convert")
"""The stages up to the stores."""
PACKAGES = ("parsl", "torch", "numpy", "scipy", "iminuit", "uproot", "awkward", "h5py", "pyarrow")


@dataclass(frozen=True)
class Prepared:
    """A run that could start now."""

    root: Path
    loaded: Loaded
    site: Site
    plan: Plan
    done: dict[str, Record]
    """Records whose outputs are still what they were, by key."""
    looked: probing.Looked

    def todo(self) -> list[Task]:
        """List the tasks that are not done."""
        return [task for task in self.plan.tasks if task.key not in self.done]


@dataclass
class Outcome:
    """How a run goes, and in the end went."""

    done: list[Record] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    wrong_input: bool = False
    """A task found that the input is wrong."""


def prepare(root: Path, loaded: Loaded, site: Site, until: str | None = None, *, afresh: bool = False) -> Prepared:
    """Look at the input, plan, and find what is already done. Writes nothing.

    Args:
        root: The run directory.
        loaded: The analysis.
        site: The machine.
        until: The last stage.
        afresh: Whether files and modules are looked at although nothing seems to have changed.

    Raises:
        InputError: Something about the input is wrong, or the run directory is of a newer needle.
    """
    before = state(root) if (root / rundir.RUN).exists() else {}
    inputs, looked = probing.probe(loaded, None if afresh else before.get("inputs"))
    planned = plan.build(loaded.analysis, inputs, site.pack, site.memory_mib)
    records = ledger.read(root)
    held = {
        task.key: records[task.key]
        for task in planned.tasks
        if task.key in records and ledger.holds(root, records[task.key])
    }
    planned = planned.needed(held.keys())
    planned = planned if until is None else planned.until(until)
    done = {task.key: held[task.key] for task in planned.tasks if task.key in held}
    return Prepared(root, loaded, site, planned, done, looked)


def state(root: Path) -> dict[str, Any]:
    """Read `run.json`.

    Raises:
        InputError: It is missing, damaged, or no run's.
    """
    found: Any = rundir.read_json(root / rundir.RUN)
    whole = isinstance(found, dict) and {"name", "status", "tasks", "stages"} <= set(found)
    if not whole or not {"total", "done", "failed", "reused"} <= set(found["tasks"]):
        raise InputError(
            f"{root / rundir.RUN}: is damaged or no run's; remove it, and the next run goes on from its ledger"
        )
    return dict(found)


def run(prepared: Prepared, on_end: Callable[[Task, Record], None]) -> Outcome:
    """Run what is to do.

    Args:
        prepared: From `prepare`.
        on_end: Called for each task as it ends, from another thread.

    Returns:
        What was done and what failed; tasks after a failed one are not run.
    """
    root, todo = prepared.root, prepared.todo()
    journal = _Journal(prepared, on_end)
    rundir.create(root)
    journal.state("running")  # first: it says that this folder is a run's
    _begin(prepared)
    status = "interrupted"
    try:
        if todo:
            from needle_parsl.workflow import flow  # Parsl is not loaded when nothing is to do

            flow.run(root, todo, prepared.done, prepared.site, journal.finished)
        status = "failed" if journal.outcome.failed else "done"
    finally:
        journal.state(status)
    return journal.outcome


def _begin(prepared: Prepared) -> None:
    """Write what is run, as it was understood."""
    root, loaded = prepared.root, prepared.loaded
    (root / rundir.LOGS).mkdir(exist_ok=True)
    rundir.write_text(root / rundir.ANALYSIS, reading.dump(loaded.table))
    rundir.write_text(root / rundir.SITE, reading.dump(asdict(prepared.site)))
    if loaded.source:
        rundir.write_text(root / rundir.PHYSICS, loaded.source)


class _Journal:
    """Writes down each task as it ends: a line in the ledger, and `run.json` at most once a second."""

    def __init__(self, prepared: Prepared, on_end: Callable[[Task, Record], None]) -> None:
        self.prepared, self.on_end, self.outcome = prepared, on_end, Outcome()
        self.lock, self.started, self.written = threading.Lock(), time.time(), 0.0

    def finished(self, task: Task, record: Record | None, error: BaseException | None) -> None:
        """Note a task that has ended; one that never ran, because one before it failed, is not noted."""
        if record is None and _not_run(task, error):
            return
        root, outcome = self.prepared.root, self.outcome
        ended = record or Record(task.key, task.stage, task.name, "", 0.0, "", "", _reason(task, error, root))
        with self.lock:
            ledger.append(root, ended)
            if record and task.stage == "convert":
                rundir.discard_parts(root, task.name)
            (outcome.failed if ended.reason else outcome.done).append(ended)
            outcome.wrong_input |= isinstance(error, InputError)
            if time.time() - self.written > 1:
                self.state("running")
        self.on_end(task, ended)

    def state(self, status: str) -> None:
        """Write `run.json`."""
        prepared, outcome, analysis = self.prepared, self.outcome, self.prepared.loaded.analysis
        self.written = time.time()
        facts = {
            "name": analysis.name,
            "status": status,
            "analysis": str(prepared.loaded.path.resolve()),
            "seed": analysis.seed,
            "needle": __version__,
            "versions": versions(),
            "started": self.started,
            "seconds": round(self.written - self.started, 3),
            "tasks": {
                "total": len(prepared.plan.tasks),
                "done": len(outcome.done),
                "failed": len(outcome.failed),
                "reused": len(prepared.done),
            },
            "networks": prepared.plan.networks,
            "stages": _stages(prepared.plan, [*prepared.done.values(), *outcome.done]),
            "inputs": asdict(prepared.looked),
        }
        rundir.write_json(prepared.root / rundir.RUN, facts)


def _stages(planned: Plan, records: list[Record]) -> dict[str, dict[str, float]]:
    """Count tasks, and add up seconds, by stage."""
    return {
        stage: {
            "tasks": count,
            "done": sum(r.stage == stage for r in records),
            "seconds": round(sum(r.seconds for r in records if r.stage == stage), 3),
        }
        for stage, count in planned.stages().items()
    }


def converted(prepared: Prepared, outcome: Outcome) -> dict[str, float] | None:
    """Sum up the conversion of files, where a run ended with it; None where it did more, or converted nothing."""
    stores = [r for r in outcome.done if r.stage == "convert" and prepared.looked.samples.get(r.what)]
    if not stores or any(task.stage not in CONVERSION for task in prepared.plan.tasks):
        return None
    files = [(path, borders) for r in stores for path, borders in prepared.looked.samples[r.what].items()]
    rows = sum(borders[-1] for _, borders in files if borders)
    seconds = sum(r.seconds for r in outcome.done if r.stage in CONVERSION)
    size = sum(prepared.looked.files[path]["size"] for path, _ in files)
    made = sum((prepared.root / r.output).stat().st_size for r in stores)
    return {"events": rows, "events_per_s": rows / max(seconds, 1e-3), "input_bytes": size, "store_bytes": made}


@cache
def versions() -> dict[str, str]:
    """List the versions that results may depend on, without importing anything."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _not_run(task: Task, error: BaseException | None) -> bool:
    """Whether a task did not run because one before it failed; a generator's own program is part of its task."""
    from parsl.app.errors import BashExitFailure
    from parsl.dataflow.errors import DependencyError

    own = task.stage == "generate" and isinstance(error and error.__cause__, BashExitFailure)
    return isinstance(error, DependencyError) and not own


def _reason(task: Task, error: BaseException | None, root: Path) -> str:
    """Say in one line why a task failed."""
    if task.stage == "generate":
        log = root / rundir.LOGS / f"{task.stage}.{task.name}.stderr"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        own = [line for line in lines[3:] if line.strip()]  # Parsl writes the command line first, in three lines
        code = getattr(error and error.__cause__, "exitcode", None)
        return f"{own[-1] if own else f'its process ended with exit code {code}'} (see {log})"
    return str(error) if isinstance(error, NeedleError) else f"{type(error).__name__}: {error}"
