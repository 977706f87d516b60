"""Throwing all toys of a run in one MPI program.

For sites that prefer one MPI job. It throws what a run would throw, with the same seeds, and writes the same files and lines of
the ledger, so that `needle run` on the same directory finds the toys done. Needs the extra `mpi`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from needle_parsl import rundir
from needle_parsl.analysis.file import load
from needle_parsl.errors import InputError, NeedleError
from needle_parsl.plan import Task
from needle_parsl.site.finding import load as load_site
from needle_parsl.workflow import ledger, lock, running, worker
from needle_parsl.workflow.records import Record


def ready(tasks: Sequence[Task], done: Mapping[str, Record]) -> list[Task]:
    """List the toys that can be thrown now, in the order of the plan.

    Args:
        tasks: Of the plan.
        done: Records by key.
    """
    return [t for t in tasks if t.stage == "toys" and t.key not in done and all(key in done for key in t.after)]


def throw(root: str, tasks: Sequence[Task], rank: int, size: int) -> list[Record]:
    """Throw this process' share of tasks: every size-th one, so that no process has to wait for another.

    Args:
        root: The run directory.
        tasks: All that can be thrown now.
        rank: Number of this process.
        size: Number of processes.
    """
    return [worker.call("toys", root, task) for task in tasks[rank::size]]


def campaign(root: Path, tasks: Sequence[Task], done: dict[str, Record], world: Any) -> int:
    """Throw all toys of a plan, a round after the other; the first process keeps the ledger. Give how many tasks were done.

    Args:
        root: The run directory.
        tasks: Of the plan; used by the first process.
        done: Records by key; used by the first process.
        world: An MPI communicator.
    """
    total, began = 0, time.monotonic()
    while todo := world.bcast(ready(tasks, done) if world.rank == 0 else None, root=0):
        found = world.gather(throw(str(root), todo, world.rank, world.size), root=0)
        if world.rank == 0:
            records = {record.key: record for own in found for record in own}
            for task in todo:  # in the order of the plan
                ledger.append(root, records[task.key])
            done |= records
            total += len(todo)
            print(f"{total} tasks of toys done, {time.monotonic() - began:.0f} s", file=sys.stderr)  # noqa: T201  a program's own
    return total


def main() -> int:
    """Run on every process of an MPI job; MPI starts when mpi4py is imported."""
    from mpi4py import MPI

    world, arguments = MPI.COMM_WORLD, sys.argv[1:]
    root = Path(arguments[1])
    try:
        if world.rank:
            campaign(root, (), {}, world)
            return 0
        loaded = load(Path(arguments[0]))
        prepared = running.prepare(root, loaded, load_site(arguments[2] if len(arguments) > 2 else "local"))
        if not (root / rundir.RUN).exists():
            raise InputError(f'{root}: is no run; give "needle run --until evaluate" first')
        with lock.held(root):
            campaign(root, prepared.plan.tasks, dict(prepared.done), world)
    except NeedleError as error:
        print(error, file=sys.stderr)  # noqa: T201  a program's own
        world.Abort(2 if isinstance(error, InputError) else 1)
    return 0
