"""Release the locks of the queues that a killed worker has held.

Parsl: 2026.10.26, the queues of `Manager` in `process_worker_pool`, which are Python's `multiprocessing.Queue`.
Without it: a worker that is killed while it waits for a task holds the lock of the queue, and all others of its node wait for that for ever: a
    pool of workers that does nothing (docs/decisions/0004).
Upstream: https://github.com/Parsl/parsl/issues/2742 (open); the sentence for it: "An idle worker that is killed takes the lock of
    pending_task_queue with it".
Not needed any more when `test_plain_queue_stays_locked_by_a_killed_reader` fails.
"""

from __future__ import annotations

from typing import Any

HELD = 10.0
"""Seconds after which a lock of the task queue is a dead worker's: a living one gives it back after each heartbeat."""


def give_back(manager: Any, held: float = HELD) -> None:
    """Release the locks of the queues of a pool if a dead worker has held one.

    Args:
        manager: Of the pool.
        held: Seconds after which a lock is a dead worker's.
    """
    for lock in (manager.pending_task_queue._rlock, manager.pending_result_queue._wlock):  # noqa: SLF001  no other way
        lock.acquire(timeout=held)
        lock.release()  # ours, or the dead worker's
