"""What a failure costs: which tasks are tried again, and how often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from needle_parsl.errors import CrashError, NeedleError
from needle_parsl.processes.stopping import StoppedError

BUDGET = 1
"""A task that has cost more is not tried again: two lost workers, or two crashes."""
FREE = 5
"""A task may lose its block this often for nothing."""
FATAL = BUDGET + 1


def cost(
    error: Exception, record: Mapping[str, Any], *, block_ended: Callable[[Any, Mapping[str, Any]], bool]
) -> float:
    """Say what a failed attempt costs; Parsl asks.

    Nothing, if the task has stopped itself in time, or its block has ended under it (at most `FREE` times). Once, if its
    worker was killed, or it crashed. More than there is, if its input is wrong or the disk full: it would fail again.

    Args:
        error: What it ended with.
        record: Parsl's record of the task.
        block_ended: Says whether the block of a lost manager has ended.
    """
    from parsl.app.errors import BashExitFailure  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`
    from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    if isinstance(error, StoppedError):
        return 0
    if isinstance(error, ManagerLost):
        return 0 if block_ended(error, record) and record["fail_count"] <= FREE else 1
    if isinstance(error, (WorkerLost, CrashError)):
        return 1
    if isinstance(error, BashExitFailure):
        return 1 if error.exitcode < 0 or error.exitcode > 128 else FATAL  # killed by a signal, or failed by itself
    return FATAL if isinstance(error, (NeedleError, OSError)) else 1


def lost(error: BaseException | None) -> bool:
    """Whether a task ended because its worker, or its whole block, was lost."""
    from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    return isinstance(error, (ManagerLost, WorkerLost))
