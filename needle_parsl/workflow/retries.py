"""What a failure costs: which tasks are tried again, and how often."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from needle_parsl.errors import CrashError, NeedleError
from needle_parsl.processes.stopping import StoppedError

BUDGET = 1
"""A task that has cost more is not tried again: two lost workers, or two crashes."""
FREE = 5
"""A task may lose its block this often for nothing."""
FATAL = BUDGET + 1


def cost(error: Exception, record: Mapping[str, Any]) -> float:
    """Say what a failed attempt costs; Parsl asks.

    Nothing, if the task has stopped itself in time, or its block has ended under it (at most `FREE` times). Once, if its
    worker was killed, or it crashed. More than there is, if its input is wrong or the disk full: it would fail again.

    Args:
        error: What it ended with.
        record: Parsl's record of the task.
    """
    from parsl.app.errors import BashExitFailure
    from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

    if isinstance(error, StoppedError):
        return 0
    if isinstance(error, ManagerLost):
        return 0 if _its_block_ended(error, record) and record["fail_count"] <= FREE else 1
    if isinstance(error, (WorkerLost, CrashError)):
        return 1
    if isinstance(error, BashExitFailure):
        return 1 if error.exitcode < 0 or error.exitcode > 128 else FATAL  # killed by a signal, or failed by itself
    return FATAL if isinstance(error, (NeedleError, OSError)) else 1


def _its_block_ended(error: Any, record: Mapping[str, Any]) -> bool:
    """Whether the block of a lost manager has ended; a manager has a folder of logs in that of its block."""
    executor = record["dfk"].executors[record["executor"]]
    manager = error.manager_id.decode() if isinstance(error.manager_id, bytes) else error.manager_id
    blocks = [
        path.parent.name.removeprefix("block-") for path in Path(executor.worker_logdir).glob(f"block-*/{manager}")
    ]
    jobs = [executor.blocks_to_job_id[block] for block in blocks if block in executor.blocks_to_job_id]
    return bool(jobs) and all(status.terminal for status in executor.provider.status(jobs))


def lost(error: BaseException | None) -> bool:
    """Whether a task ended because its worker, or its whole block, was lost."""
    from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

    return isinstance(error, (ManagerLost, WorkerLost))
