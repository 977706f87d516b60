"""Why a task failed, in one line, and where."""

from __future__ import annotations

import re
from pathlib import Path

from needle_parsl import handover, rundir
from needle_parsl.errors import Blame, NeedleError, bounded
from needle_parsl.plan import Task
from needle_parsl.processes import worker_exit
from needle_parsl.records import Record

LOST = f"{rundir.LOGS}/lost"
"""Where pools of workers write how a worker ended, relative to the run directory."""
PRINTED = "--> end executable <--"
"""What Parsl writes behind the command line, before the program writes anything."""
RAISED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b")
"""How the last line of a traceback begins; what an error says may have several lines."""
LONGEST = 5
"""Lines of an error that are said."""
WAIT = 1.0
"""Seconds within which a pool has written how a worker ended."""


def record(task: Task, error: BaseException | None, root: Path) -> Record:
    """Record a task that has failed."""
    if task.stage.command and _program_failed(error):
        found = Blame(log=f"{rundir.LOGS}/{task.stage.name}.{task.name}.stderr")
        words = _last_words(root / found.log, error)
    elif _program_failed(error):
        found = Blame(log=handover.FOLDER)
        words = (
            f"the MPI program of its round ended with exit code {getattr(error and error.__cause__, 'exitcode', None)}"
        )
    else:
        error = _own(task, error)
        found, words = getattr(error, "blame", Blame()), reason(error, root)
    return Record(
        key=task.key, stage=task.stage.name, what=task.name, worker=found.worker, seconds=0.0, output="", digest="", reason=words, log=found.log, detail=found.detail
    )  # fmt: skip


def reason(error: BaseException | None, root: Path) -> str:
    """Say in a sentence why a task failed."""
    from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    if isinstance(error, WorkerLost):
        death = worker_exit.awaited(root / LOST, error.hostname, error.worker_id, WAIT)
        return death.sentence() if death else f"its worker on {error.hostname} was lost"
    if isinstance(error, ManagerLost):
        return f"its block of workers on {error.hostname} was lost"
    return str(error) if isinstance(error, NeedleError) else f"{type(error).__name__}: {error}"


def not_run(task: Task, error: BaseException | None) -> bool:
    """Whether a task did not run because one before it failed, or no worker came; a program of its own is part of a task."""
    from parsl.dataflow.errors import DependencyError  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`
    from parsl.executors.errors import BadStateException  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    own = (task.stage.program and _program_failed(error)) or _own(task, error) is not error
    return isinstance(error, BadStateException) or (isinstance(error, DependencyError) and not own)


def _own(task: Task, error: BaseException | None) -> BaseException | None:
    """Give what has kept the command of a task from starting, which Parsl takes for a task before it; any other error as it is."""
    from parsl.dataflow.errors import DependencyError  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    before = _before(error)
    return before if task.stage.command and not isinstance(before, DependencyError) else error


def _before(error: BaseException | None) -> BaseException | None:
    """Give what was wrong with that for which Parsl has waited; any other error as it is. `__cause__` is what was wrong first of all."""
    from parsl.dataflow.errors import DependencyError  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    return error.dependent_exceptions_tids[0][0] if isinstance(error, DependencyError) else error


def _program_failed(error: BaseException | None) -> bool:
    from parsl.app.errors import BashExitFailure  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    return isinstance(_before(error), BashExitFailure)


def _last_words(log: Path, error: BaseException | None) -> str:
    """Give the last that a program wrote, an error of Python's as a whole; Parsl writes the command line first."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    start = lines.index(PRINTED) + 1 if PRINTED in lines else 0
    own = [line for line in lines[start:] if line.strip()]
    if not own:
        return f"its process ended with exit code {getattr(error and error.__cause__, 'exitcode', None)}"
    raised = max((place for place, line in enumerate(own) if RAISED.match(line)), default=len(own) - 1)
    return bounded(" ".join(" ".join(own[raised : raised + LONGEST]).split()))
