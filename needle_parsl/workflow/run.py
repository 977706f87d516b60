"""A run from analysis to report: it holds its directory, and has the flow do what is to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

from needle_parsl import addresses, ownership, reading, rundir
from needle_parsl.analysis.file import Loaded
from needle_parsl.errors import InputError
from needle_parsl.files import full, no_space, write_text
from needle_parsl.plan import Task
from needle_parsl.records import Record
from needle_parsl.workflow import ledger, lock, region_analyses, serving, stage_analyses, trust
from needle_parsl.workflow.journal import Journal, Outcome
from needle_parsl.workflow.prepared_run import Prepared


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
            return _run(prepared, Journal(prepared, on_end), say)


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


def _run(prepared: Prepared, journal: Journal, say: Callable[[str], None]) -> Outcome:
    root, todo = prepared.root, prepared.todo()
    if ledger.stamp(root) != prepared.earlier.ledger:
        raise InputError(f"{root}: another run has worked here a moment ago; give the same command again")
    journal.state("running")  # first: it says that this folder is a run's
    rundir.sweep(root)
    _begin(prepared)
    status = "interrupted"
    try:
        if todo:
            from needle_parsl.workflow import flow  # noqa: PLC0415  Parsl is not loaded when nothing is to do

            with serving.of_run(root, prepared.site, say):
                flow.run(root, todo, prepared.done, prepared.site, journal.finished, say)
        status = "failed" if journal.outcome.failed else "done"
    finally:
        journal.state(status)
    return journal.outcome


def _begin(prepared: Prepared) -> None:
    """Write what is run, as it was understood."""
    root = prepared.root
    (root / rundir.LOGS).mkdir(exist_ok=True)
    write_text(root / rundir.SITE, addresses.shown(reading.dump(asdict(prepared.site))))
    _write(root, prepared.loaded)
    for name, learned in prepared.learned.items():
        _write(stage_analyses.folder(root, name), learned)
    for name in prepared.loaded.regions:
        _write(stage_analyses.folder(root, name), region_analyses.written(prepared.loaded, name))
    trust.remember(prepared.loaded)


def _write(folder: Path, loaded: Loaded) -> None:
    write_text(folder / rundir.ANALYSIS, addresses.shown(reading.dump(loaded.table)))
    if loaded.source:
        write_text(folder / rundir.PHYSICS, loaded.source)


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
