"""Parsl's pool of workers, watched: says how a worker died, gives back what a killed one held, and ends if it lost a task.

`python -m needle_parsl.workflow.executors.pool FOLDER ...` is Parsl's `process_worker_pool.py ...`; how each lost worker ended is written to
FOLDER, since Parsl itself only says that it is lost.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import platform
import runpy
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from multiprocessing import util
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from parsl.executors.high_throughput import mpi_resource_management
from parsl.executors.high_throughput.mpi_resource_management import TaskScheduler

from needle_parsl import __version__
from needle_parsl.processes import memory
from needle_parsl.processes.worker_exit import LOOK, Death, place

PARSL = "parsl.executors.high_throughput.process_worker_pool"
PATIENCE = 10.0
"""Seconds after which a task that nobody has is lost."""
ROOM = 107 - len("/pymp-12345678/listener-12345678")
"""Characters that the folder of temporary files may have, so that a socket in it can be opened."""
SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  in each, a folder of one's own is made
HELD = 10.0
"""Seconds after which a lock of the task queue is a dead worker's: a living one gives it back after each heartbeat."""


class Counted(TaskScheduler):
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


def watched(folder: Path) -> None:
    """Look after the workers; if that fails, end this process, whose tasks Parsl then gives to another."""
    try:
        watch(folder)
    except BaseException as error:  # noqa: BLE001  in a thread, nobody would hear of it
        _end(f"the watch over its workers has failed: {type(error).__name__}: {error}")


def _end(why: str) -> None:
    sys.stderr.write(f"needle: this pool of workers ends: {why}\n")
    sys.stderr.flush()
    os._exit(1)


def watch(folder: Path) -> None:
    """Look after the workers, until this process ends."""
    helpers: set[BaseProcess] = set()
    workers: dict[int, BaseProcess] = {}
    kills, lost_since = memory.kills(), math.inf
    while True:
        children = [child for child in multiprocessing.active_children() if not _closed(child)]
        living = {child.pid or 0: child for child in children if "Worker" in child.name}
        helpers |= {child for child in children if "Manager" in child.name}
        if (gone := [helper.name for helper in helpers if helper not in children]) and not _ending():
            _end(f"{gone[0]}, which holds Parsl's list of tasks, has gone")
        lost = {pid for pid in workers.keys() - living.keys() if not _closed(workers[pid])}
        if lost and _ending():  # asked after the workers were listed: Parsl closes them once it ends the pool
            lost = set()
        for pid in lost:
            counted = memory.kills()
            _note(folder, workers[pid], pid, out_of_memory=counted > kills or memory.in_kernel_log(pid))
            kills = counted
            threading.Thread(target=_give_back, daemon=True).start()
            lost_since = time.monotonic()
        if lost_since < math.inf and not _lost():
            lost_since = time.monotonic()
        if time.monotonic() - lost_since > PATIENCE:
            _end("a task was lost with its worker")
        workers = living
        time.sleep(LOOK)


def _note(folder: Path, worker: BaseProcess, pid: int, *, out_of_memory: bool) -> None:
    rank = int(worker.name.rpartition("-")[2])
    death = Death(platform.node(), rank, pid, worker.exitcode or 0, out_of_memory)
    path = place(folder, death.host, rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(asdict(death)), encoding="utf-8")
    temporary.replace(path)


def _manager() -> Any:
    return vars(sys.modules["__main__"])["manager"]


def _closed(child: BaseProcess) -> bool:
    """Whether Parsl has ended a process and let go of it, so that nothing can be asked of it any more."""
    return bool(vars(child)["_closed"])


def _ending() -> bool:
    """Whether Parsl ends this pool, and its workers with it."""
    manager = vars(sys.modules["__main__"]).get("manager")  # not there before Parsl has made its helper
    asked = getattr(manager, "_stop_event", None)
    return asked is not None and bool(asked.is_set())


def _lost() -> bool:
    """Whether a task is neither waiting, nor with a worker, nor on its way back: it went with a worker that was killed."""
    manager = _manager()
    here = len(manager._tasks_in_progress) + manager.pending_task_queue.qsize()  # noqa: SLF001  no other way
    return bool(manager.task_scheduler.out > here)


def _give_back() -> None:
    """Release the queues' locks if the dead worker held one; the other workers would wait for it for ever."""
    manager = _manager()
    for lock in (manager.pending_task_queue._rlock, manager.pending_result_queue._wlock):  # noqa: SLF001  no other way
        lock.acquire(timeout=HELD)
        lock.release()  # ours, or the dead worker's


def _shorten_sockets() -> None:
    """Put the sockets of Python's helper processes where their paths are short enough; tasks keep their TMPDIR."""
    if len(os.fsencode(tempfile.gettempdir())) <= ROOM:
        return
    short = next((place for place in SHORT if os.access(place, os.W_OK)), None)
    if short is None:
        _end(
            f"TMPDIR has {len(tempfile.gettempdir())} characters, and a path of a socket 107 at most; set a shorter one"
        )
    folder = tempfile.mkdtemp(prefix="needle-", dir=short)
    vars(multiprocessing.process.current_process())["_config"]["tempdir"] = folder
    util.Finalize(None, shutil.rmtree, (folder, True), exitpriority=-100)


def main() -> None:
    """Run Parsl's pool, and watch it from a thread."""
    if (wanted := os.environ.get("NEEDLE_VERSION", __version__)) != __version__:
        sys.exit(f"this node has needle {__version__}, and the run was started with {wanted}; install the same at both")
    folder = Path(sys.argv.pop(1))
    vars(mpi_resource_management)["TaskScheduler"] = Counted
    _shorten_sockets()
    threading.Thread(target=watched, args=(folder,), daemon=True).start()
    runpy.run_module(PARSL, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
