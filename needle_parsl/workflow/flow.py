"""The flow: one function of futures. Each task is submitted with the futures of those before it; nothing here waits in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needle_parsl import rundir
from needle_parsl.plan import Task
from needle_parsl.site import Site
from needle_parsl.workflow import executors, tasks
from needle_parsl.workflow.records import Record

Finished = Callable[[Task, Record | None, BaseException | None], None]
"""Called when a task ends: with its record, or with what it raised."""


def run(root: Path, todo: list[Task], done: Mapping[str, Record], site: Site, finished: Finished) -> None:
    """Run the tasks that are not done; return when all have ended.

    Args:
        root: The run directory.
        todo: What is to do; each task after those it needs.
        done: Records of what need not be done again, by key.
        site: The machine.
        finished: Called for each task as it ends, from Parsl's threads.
    """
    window, stopped = threading.BoundedSemaphore(site.window), threading.Event()
    futures: dict[str, Record | Future[Record]] = dict(done)
    with executors.started(site, root / rundir.LOGS) as kernel:
        apps = _apps(kernel, str(root.resolve()))
        try:
            for task in todo:
                window.acquire()
                future = apps[task.stage](task, *(futures[key] for key in task.after))
                future.add_done_callback(_Ending(task, window, stopped, finished))
                futures[task.key] = future
            wait([future for future in futures.values() if isinstance(future, Future)])
        except KeyboardInterrupt:
            stopped.set()
            raise


def _apps(kernel: Any, root: str) -> dict[str, Callable[..., Future[Record]]]:  # noqa: ANN401  Parsl has no types
    """Make Parsl apps of the tasks, by stage."""
    from parsl import bash_app, python_app

    where = {"data_flow_kernel": kernel, "executors": [executors.LABEL]}
    program, record = bash_app(tasks.generate, **where), python_app(tasks.generated, **where)

    def generate(task: Task) -> Future[Record]:
        logs = {name: f"{root}/{rundir.LOGS}/generate.{task.name}.{name}" for name in ("stdout", "stderr")}
        future: Future[Record] = record(root, task, time.time(), program(root, task, **logs))
        return future

    apps: dict[str, Callable[..., Future[Record]]] = {"generate": generate}
    for stage, function in tasks.FUNCTIONS.items():
        app = python_app(function, **where)
        apps[stage] = lambda task, *before, app=app: app(root, task, *before)
    return apps


@dataclass(frozen=True)
class _Ending:
    """What happens when a task's future is done."""

    task: Task
    window: threading.BoundedSemaphore
    stopped: threading.Event
    """Set when the user interrupts: tasks that end without a result from then on were never run."""
    finished: Finished

    def __call__(self, future: Future[Record]) -> None:
        self.window.release()
        error = future.exception()
        if error is None or not self.stopped.is_set():
            self.finished(self.task, None if error else future.result(), error)
