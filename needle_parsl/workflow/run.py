"""A run from analysis to report: what is done, what is to do, and `run.json`."""

from __future__ import annotations

import getpass
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from needle_parsl import __version__, addresses, ownership, plan, reading, rundir
from needle_parsl.analysis.file import Loaded
from needle_parsl.errors import InputError
from needle_parsl.files import full, no_space, read_json, write_json, write_text
from needle_parsl.plan import Plan, Task
from needle_parsl.records import Record, holds
from needle_parsl.site import Site
from needle_parsl.workflow import changes, cost, failure_reasons, forms, ledger, lock, probe, trust, verdicts

MOST = 12
"""Differences from an earlier run that are listed."""
PACKAGES = ("parsl", "torch", "numpy", "scipy", "iminuit", "uproot", "awkward", "h5py", "pyarrow")


FORM = {
    "name": str,
    "status": str,
    "tasks": {"total": int, "done": int, "failed": int, "reused": int},
    "stages": forms.Each({"tasks": int, "done": int, "seconds": float}),
    "analysis?": str,
    "unblinded?": [{"who": str, "when": str, "how": str}],
    "needle?": str,
    "versions?": forms.Each(str),
    "units?": forms.Each(float),
}
"""Of `run.json`; what it says of the input files is looked at where it is used."""
SCHEMA = 1
"""Of the files of a run directory; a newer needle may raise it."""


@dataclass(frozen=True)
class Earlier:
    """What the run directory holds of an earlier run."""

    analysis: str
    """The file that was run; empty if there is nothing."""
    changes: tuple[changes.Change, ...]
    """What is different now."""
    redone: dict[str, int]
    """Tasks to do, by stage, whose output is there, made from something else."""
    damaged: tuple[str, ...]
    """Outputs that are not what the ledger says."""
    ledger: tuple[int, int]
    """Size and time of the ledger when it was read."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that could start now."""

    root: Path
    loaded: Loaded
    site: Site
    plan: Plan
    done: dict[str, Record]
    """Records whose outputs are still what they were, by key."""
    looked: probe.Looked
    earlier: Earlier
    unblinded: tuple[dict[str, str], ...]
    """Who has looked at the data, when, and how they asked for it; the latest last."""

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


def prepare(
    root: Path,
    loaded: Loaded,
    site: Site,
    until: str | None = None,
    *,
    afresh: bool = False,
    unblind: bool = False,
) -> Prepared:
    """Look at the input, plan, and find what is already done. Writes nothing.

    Args:
        root: The run directory.
        loaded: The analysis.
        site: The machine.
        until: The last stage.
        afresh: Whether files and modules are looked at although nothing seems to have changed.
        unblind: Whether the user asked to look at the data with `--unblind`.

    Raises:
        InputError: Something about the input is wrong, or the run directory is of a newer needle.
    """
    before = _before(root)
    inputs, looked = probe.probe(loaded, None if afresh else before.get("inputs"))
    planned = plan.build(loaded.analysis, inputs, site.pack, site.memory_mib)
    rundir.insist_on_places(root, _outputs(planned))
    stamp, lines = _stamp(root), ledger.lines(root)
    records = {record.key: record for record in lines}
    known = [records[task.key] for task in planned.tasks if task.key in records]
    held = {record.key: record for record in known if holds(root, record)}
    planned = planned.needed(held.keys())
    planned = planned if until is None else planned.until(until)
    done = {task.key: held[task.key] for task in planned.tasks if task.key in held}
    newest = {record.output: record.key for record in lines if record.output}
    damaged = tuple(
        r.output
        for r in known
        if r.output and not r.reason and not r.lacks and r.key not in held and newest[r.output] == r.key
    )
    todo = [task for task in planned.tasks if task.key not in done and task.key not in records]
    found = _changes(root, loaded, site, before, looked)
    earlier = Earlier(before.get("analysis", ""), found, changes.redone(todo, lines), damaged, stamp)
    opened = _unblinded(loaded, before, asked=unblind)
    return Prepared(
        root=root, loaded=loaded, site=site, plan=planned, done=done, looked=looked, earlier=earlier, unblinded=opened
    )


def _outputs(planned: Plan) -> Iterator[str]:
    """List where files of the tasks go, and of packs that are not done."""
    for task in planned.tasks:
        yield task.place
        if task.stage.name == "train":
            yield f"{rundir.STATES}/{task.name}/-"


def _unblinded(loaded: Loaded, before: Mapping[str, Any], *, asked: bool) -> tuple[dict[str, str], ...]:
    """Add to the record of who has looked at the data, if this run does."""
    found = tuple(before.get("unblinded", ()))
    how = "--unblind" if asked else "fit.blind = false"
    if loaded.analysis.data() is None or (found and not asked):
        return found
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return (*found, {"who": getpass.getuser(), "when": now, "how": how})


def _before(root: Path) -> dict[str, Any]:
    """Read what an earlier run has left; a `run.json` that is damaged has nothing to tell, the ledger has."""
    if not (root / rundir.RUN).exists():
        return {}
    found = _json(root)
    return found if found is not None else {}


def _changes(
    root: Path, loaded: Loaded, site: Site, before: Mapping[str, Any], looked: probe.Looked
) -> tuple[changes.Change, ...]:
    if not before:
        return ()
    tables = {rundir.ANALYSIS: loaded.table, rundir.SITE: asdict(site)}
    then: Any = before.get("inputs")
    files = changes.files(_inputs(then, loaded), _inputs(asdict(looked), loaded)) if isinstance(then, dict) else []
    return tuple(changes.tables(root, tables) + changes.source(root, loaded.source) + files)


def _inputs(looked: Mapping[str, Any], loaded: Loaded) -> dict[str, str]:
    """Give digests of data and of the user's modules; `physics.py` is compared as text."""
    files = {
        path: file.get("digest", "") for path, file in looked.get("files", {}).items() if isinstance(file, Mapping)
    }
    found = {**files, **looked.get("code", {})}
    return {
        addresses.shown(path): digest for path, digest in found.items() if Path(path).name != loaded.analysis.physics
    }


def _stamp(root: Path) -> tuple[int, int]:
    path = root / rundir.LEDGER
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else (0, 0)


def another(prepared: Prepared) -> str:
    """Say that a run directory belongs to another analysis; empty if it does not."""
    earlier = prepared.earlier
    if not earlier.analysis or not earlier.changes or earlier.analysis == str(prepared.loaded.path.resolve()):
        return ""
    lines = [f"{prepared.root}: holds the run of another analysis, {earlier.analysis}; the differences are"]
    lines += [f"  {change}" for change in earlier.changes[:MOST]]
    lines += [f"  and {len(earlier.changes) - MOST} more"] if len(earlier.changes) > MOST else []
    again = ", ".join(f"{count} {stage}" for stage, count in earlier.redone.items())
    lines += [f"it would do again, in the place of what is there: {again}"] if again else []
    return "\n".join([*lines, "choose another --out, or --force to go on here; nothing is deleted first"])


def state(root: Path) -> dict[str, Any]:
    """Read `run.json`, with what the report says of its result; a run that says it is running while nobody holds its lock was killed.

    Raises:
        InputError: It is missing, damaged, or no run's, or of a newer needle.
    """
    found = _json(root)
    if found is None:
        raise InputError(
            f"{root / rundir.RUN}: is damaged or no run's; the next run goes on from its ledger and writes it anew"
        )
    holder = lock.holder(root)
    if found["status"] == "running":
        found["status"] = f"running ({holder})" if holder else "killed"
    return {key: value for key, value in found.items() if key not in verdicts.FORM} | verdicts.of(root, found)


def _json(root: Path) -> dict[str, Any] | None:
    """Read `run.json`; None if it is no run's.

    Raises:
        InputError: It is of a newer needle.
    """
    try:
        found: Any = read_json(root / rundir.RUN)
    except InputError:
        return None
    if not isinstance(found, dict):
        return None
    if isinstance(schema := found.get("schema", SCHEMA), int) and schema > SCHEMA:
        raise InputError(
            f"{root / rundir.RUN}: was written by needle {found.get('needle')}, which is newer than this one, {__version__}; "
            "update needle, or choose another --out"
        )
    return found if forms.fits(found, FORM) else None


def run(
    prepared: Prepared, on_end: Callable[[Task, Record], None], say: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Run what is to do.

    Args:
        prepared: From `prepare`.
        on_end: Called for each task as it ends, from another thread.
        say: Tells the user something, once.

    Returns:
        What was done and what failed; tasks after a failed one are not run.

    Raises:
        InputError: Another run is going on in this directory, or it cannot be written to.
        NeedleError: The machine has failed under the run.
    """
    with _full_disk_said(prepared.root):
        shared = prepared.site.shared
        rundir.create(prepared.root, shared=shared)
        # Not the mode of the directory alone: it may be removed and made again while the run goes on.
        with nullcontext() if shared else ownership.under(ownership.PRIVATE), lock.held(prepared.root):
            return _run(prepared, _Journal(prepared, on_end), say)


@contextmanager
def _full_disk_said(root: Path) -> Iterator[None]:
    """Say once that the disk is full; HDF5 would add a traceback for every file that it cannot close."""
    hooks = sys.excepthook, sys.unraisablehook
    sys.excepthook = lambda kind, error, trace: None if full(error) else hooks[0](kind, error, trace)
    sys.unraisablehook = lambda found: None if found.exc_value and full(found.exc_value) else hooks[1](found)
    try:
        yield
    except OSError as error:
        if not full(error):
            raise
        raise no_space(root) from error
    finally:
        sys.excepthook, sys.unraisablehook = hooks


def _run(prepared: Prepared, journal: _Journal, say: Callable[[str], None]) -> Outcome:
    root, todo = prepared.root, prepared.todo()
    if _stamp(root) != prepared.earlier.ledger:
        raise InputError(f"{root}: another run has worked here a moment ago; give the same command again")
    journal.state("running")  # first: it says that this folder is a run's
    rundir.sweep(root)
    _begin(prepared)
    status = "interrupted"
    try:
        if todo:
            from needle_parsl.workflow import flow  # Parsl is not loaded when nothing is to do

            flow.run(root, todo, prepared.done, prepared.site, journal.finished, say)
        status = "failed" if journal.outcome.failed else "done"
    finally:
        journal.state(status)
    return journal.outcome


def _begin(prepared: Prepared) -> None:
    """Write what is run, as it was understood."""
    root, loaded = prepared.root, prepared.loaded
    (root / rundir.LOGS).mkdir(exist_ok=True)
    write_text(root / rundir.ANALYSIS, addresses.shown(reading.dump(loaded.table)))
    write_text(root / rundir.SITE, addresses.shown(reading.dump(asdict(prepared.site))))
    if loaded.source:
        write_text(root / rundir.PHYSICS, loaded.source)
    trust.remember(loaded)


class _Journal:
    """Writes down each task as it ends: a line in the ledger, and `run.json` at most once a second."""

    def __init__(self, prepared: Prepared, on_end: Callable[[Task, Record], None]) -> None:
        self.prepared, self.on_end, self.outcome = prepared, on_end, Outcome()
        self.lock, self.started, self.written = threading.Lock(), time.time(), 0.0

    def finished(self, task: Task, record: Record | None, error: BaseException | None) -> None:
        """Note a task that has ended; one that never ran, because one before it failed, is not noted."""
        if record is None and failure_reasons.not_run(task, error):
            return
        root, outcome = self.prepared.root, self.outcome
        ended = record or failure_reasons.record(task, error, root)
        with self.lock:
            ledger.append(root, ended)
            if record and task.stage.name == "convert":
                rundir.discard_parts(root, task.name)
            (outcome.failed if ended.reason else outcome.done).append(ended)
            outcome.wrong_input |= isinstance(error, InputError)
            if time.time() - self.written > 1:
                self.state("running")
        with suppress(OSError):  # a terminal that has gone is no reason to end a run
            self.on_end(task, ended)

    def state(self, status: str) -> None:
        """Write `run.json`."""
        prepared, outcome, analysis = self.prepared, self.outcome, self.prepared.loaded.analysis
        self.written = time.time()
        facts = {
            "schema": SCHEMA,
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
            "units": cost.units(prepared.plan.tasks),
            "stages": _stages(prepared.plan, [*prepared.done.values(), *outcome.done]),
            "unblinded": list(prepared.unblinded),
            "inputs": asdict(prepared.looked),
        }
        write_json(prepared.root / rundir.RUN, facts)


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
    if not stores or any(task.stage.needs != "io" for task in prepared.plan.tasks):
        return None
    files = [(path, borders) for r in stores for path, borders in prepared.looked.samples[r.what].items()]
    rows = sum(borders[-1] for _, borders in files if borders)
    reading = {stage.name for stage in prepared.plan.order() if stage.needs == "io"}
    seconds = sum(r.seconds for r in outcome.done if r.stage in reading)
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
