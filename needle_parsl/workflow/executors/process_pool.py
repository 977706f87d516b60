"""Parsl's pool of workers, watched: says how a worker died, gives back what a killed one held, and ends if it lost a task.

`python -m needle_parsl.workflow.executors.process_pool FOLDER ...` is Parsl's `process_worker_pool.py ...`; how each lost worker ended is written to
FOLDER, since Parsl itself only says that it is lost.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import platform
import runpy
import sys
import threading
import time
from dataclasses import asdict
from multiprocessing.process import BaseProcess
from pathlib import Path

from needle_parsl import __version__
from needle_parsl.processes import memory
from needle_parsl.processes.worker_exit import LOOK, Death, place
from needle_parsl.workflow.executors.patches import (
    held_locks,
    pool_manager,
    short_sockets,
    spared_imports,
    spared_workers,
)

if __name__ == "__main__":
    spared_imports.import_parsl()
from needle_parsl.workflow.executors.patches import lost_tasks

PATIENCE = 10.0
"""Seconds after which a task that nobody has is lost."""


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
        children = [child for child in multiprocessing.active_children() if not pool_manager.closed(child)]
        living = {child.pid or 0: child for child in children if "Worker" in child.name}
        helpers |= {child for child in children if "Manager" in child.name}
        if (gone := [helper.name for helper in helpers if helper not in children]) and not pool_manager.ending():
            _end(f"{gone[0]}, which holds Parsl's list of tasks, has gone")
        lost = {pid for pid in workers.keys() - living.keys() if not pool_manager.closed(workers[pid])}
        if (
            lost and pool_manager.ending()
        ):  # asked after the workers were listed: Parsl closes them once it ends the pool
            lost = set()
        for pid in lost:
            counted = memory.kills()
            _note(folder, workers[pid], pid, out_of_memory=counted > kills or memory.in_kernel_log(pid))
            kills = counted
            threading.Thread(target=held_locks.give_back, args=(pool_manager.manager(),), daemon=True).start()
            lost_since = time.monotonic()
        if lost_since < math.inf and not lost_tasks.lost(pool_manager.manager()):
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


def main() -> None:
    """Run Parsl's pool, and watch it from a thread."""
    if (wanted := os.environ.get("NEEDLE_VERSION", __version__)) != __version__:
        sys.exit(f"this node has needle {__version__}, and the run was started with {wanted}; install the same at both")
    folder = Path(sys.argv.pop(1))
    lost_tasks.count()
    if why := short_sockets.shorten():
        _end(why)
    threading.Thread(target=watched, args=(folder,), daemon=True).start()
    spared_workers.begin_here()
    runpy.run_module(spared_workers.POOL, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
