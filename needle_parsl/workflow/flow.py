"""The flow: one function of futures. Each task is submitted with the futures of those before it; nothing here waits in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
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
    futures: dict[str, Record | Future[Record]] = dict(done)
    endings = _Endings(len(todo), site.window, finished)
    with executors.started(site, root / rundir.LOGS) as kernel:
        apps = _apps(kernel, str(root.resolve()))
        try:
            for task in todo:
                endings.window.acquire()
                future = apps[task.stage](task, *(futures[key] for key in task.after))
                future.add_done_callback(partial(endings.note, task))
                futures[task.key] = future
            endings.wait()
        except BaseException:
            endings.stopped.set()
            raise


def _apps(kernel: Any, root: str) -> dict[str, Callable[..., Future[Record]]]:
    """Make Parsl apps of the tasks, by stage."""
    from parsl import bash_app, python_app

    where = {"data_flow_kernel": kernel, "executors": [executors.LABEL]}
    program, record = bash_app(tasks.generate, **where), python_app(tasks.generated, **where)

    def generate(task: Task) -> Future[Record]:
        logs = {name: (f"{root}/{rundir.LOGS}/generate.{task.name}.{name}", "w") for name in ("stdout", "stderr")}
        future: Future[Record] = record(root, task, time.time(), program(root, task, **logs))
        return future

    apps: dict[str, Callable[..., Future[Record]]] = {"generate": generate}
    for stage, function in tasks.FUNCTIONS.items():
        app = python_app(function, **where)
        apps[stage] = lambda task, *before, app=app: app(root, task, *before)
    return apps


class _Endings:
    """Notes each task as it ends. What goes wrong while one is noted, such as a full disk, ends the run."""

    def __init__(self, tasks: int, window: int, finished: Finished) -> None:
        self.window, self.finished = threading.BoundedSemaphore(window), finished
        self.left, self.noting = tasks, threading.Lock()
        self.all_ended = threading.Event()
        self.stopped = threading.Event()
        """Set when the run is given up: tasks that end without a result from then on were never run."""
        self.error: BaseException | None = None
        if not tasks:
            self.all_ended.set()

    def note(self, task: Task, future: Future[Record]) -> None:
        """Pass a task's end on; called in Parsl's threads, where an exception would be lost."""
        try:
            error = future.exception()
            if error is None or not self.stopped.is_set():
                self.finished(task, None if error else future.result(), error)
        except BaseException as error:  # noqa: BLE001  raised again in the thread of the flow
            self.error = self.error or error
            self.stopped.set()
        finally:
            self.window.release()
            with self.noting:
                self.left -= 1
                if self.left == 0 or self.error:
                    self.all_ended.set()

    def wait(self) -> None:
        """Return when every task has been noted.

        Raises:
            BaseException: What went wrong while one was noted.
        """
        self.all_ended.wait()
        if self.error:
            raise self.error
