"""Count the tasks of a pool of workers, so that one that is lost with its worker is missed.

Parsl: 2026.10.26, `TaskScheduler` of `mpi_resource_management` and `Manager` of `process_worker_pool`.
Without it: a task is lost for ever, and its run hangs, when its worker is killed after it has taken the task from the queue and before it has
    noted that, or after it has handed the result to the thread that writes it (docs/decisions/0004).
Upstream: https://github.com/Parsl/parsl/issues/1245 was closed by a table of tasks in progress, which leaves these two moments;
    https://github.com/Parsl/parsl/issues/2742 (open) has the rest.
Not needed any more when `test_plain_parsl_counts_no_tasks` fails, and `tests/reliability/test_kills.py` passes without it.
"""

from __future__ import annotations

from typing import Any

from parsl.executors.high_throughput import mpi_resource_management
from parsl.executors.high_throughput.mpi_resource_management import TaskScheduler


class CountedTasks(TaskScheduler):
    """Parsl's way of tasks to the workers and of results back, counted."""

    out = 0
    """Tasks that have come, less results that have gone."""

    def put_task(self, task: Any) -> None:
        """Give a task to the workers."""
        self.out += 1
        super().put_task(task)

    def get_result(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002  Parsl's signature
        """Take a result from them."""
        result = super().get_result(block, timeout)
        self.out -= result is not None
        return result


def count() -> None:
    """Let the pool that is started in this process count; to be called before Parsl's module is run."""
    vars(mpi_resource_management)["TaskScheduler"] = CountedTasks


def lost(manager: Any) -> bool:
    """Say whether a task is neither waiting, nor with a worker, nor on its way back: it went with a worker that was killed."""
    here = len(manager._tasks_in_progress) + manager.pending_task_queue.qsize()  # noqa: SLF001  no other way
    return bool(manager.task_scheduler.out > here)
