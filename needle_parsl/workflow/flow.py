"""The flow: one function of futures. Each task is submitted with the futures of those before it; nothing here waits in between."""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from needle_parsl import rundir
from needle_parsl.plan import Task
from needle_parsl.processes import supervised
from needle_parsl.records import Record
from needle_parsl.site import Site
from needle_parsl.workflow import executors, failure_reasons, mpi, pack_recovery, serving_block, worker

LOOK = 0.5
"""Seconds between two looks at the machine."""
Finished = Callable[[Task, Record | None, BaseException | None], None]
"""Called when a task ends: with its record, or with what it raised."""
Futures = dict[str, Record | Future[Record]]
"""What tasks give, by key."""
Submit = Callable[[Sequence[Task], Futures], list[Future[Record]]]
"""Submits tasks that need nothing of each other, with what is before them."""
MPI = "mpi"
"""The label of the executor for programs that run on several nodes."""


def run(
    root: Path,
    todo: list[Task],
    done: Mapping[str, Record],
    site: Site,
    finished: Finished,
    say: executors.Say = lambda _: None,
) -> None:
    """Run the tasks that are not done; return when all have ended.

    Args:
        root: The run directory.
        todo: What is to do; each task after those it needs.
        done: Records of what need not be done again, by key.
        site: The machine.
        finished: Called for each task as it ends, from Parsl's threads.
        say: Tells the user something.
    """
    futures: Futures = dict(done)
    endings = _Endings(len(todo), site.window, finished)
    with (
        executors.started(site, (root / rundir.LOGS).resolve(), say) as machine,
        serving_block.started(site, root.resolve(), partial(serve, machine, root.resolve()), say),
    ):
        submit = _submission(machine, root.resolve(), site)
        try:
            for batch in mpi.batches(todo, site.window) if by_mpi(machine, site) else ([task] for task in todo):
                for _ in batch:
                    endings.make_room(machine.check)
                for task, future in zip(batch, submit(batch, futures), strict=True):
                    future.add_done_callback(partial(endings.note, task))
                    futures[task.key] = future
            endings.wait(machine.check)
        except BaseException:
            endings.stopped.set()
            raise


def serve(machine: executors.Machine, root: Path, line: str) -> Future[int]:
    """Run the command line of the run's inference server on a node for GPUs."""
    from parsl import bash_app  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    app = bash_app(serving_block.program, data_flow_kernel=machine.kernel, executors=[machine.labels["gpu"]])
    future: Future[int] = app(line, **_files(root / rundir.LOGS / "serving.node"))
    return future


def by_mpi(machine: executors.Machine, site: Site) -> bool:
    """Whether toys are thrown by MPI programs: the site has nodes for such."""
    return MPI in machine.executors and site.mpi is not None


def _submission(machine: executors.Machine, root: Path, site: Site) -> Submit:
    """Make the Parsl apps, and give the function that submits tasks with the futures before them."""
    from parsl import bash_app, python_app  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    kernel, labels = machine.kernel, machine.labels
    programs = {label: bash_app(program, data_flow_kernel=kernel, executors=[label]) for label in labels.values()}
    launched = bash_app(mpi_program, data_flow_kernel=kernel, executors=[labels[MPI]])
    together = bash_app(mpi.program, data_flow_kernel=kernel, executors=[labels[MPI]])
    workers = {label: python_app(worker.call, data_flow_kernel=kernel, executors=[label]) for label in labels.values()}

    def work(step: str, task: Task, *before: object) -> Future[Record]:
        function, needs = task.stage.step(step)
        # What an MPI program has left is looked at by one worker.
        label = labels["cpu" if needs == MPI else needs]
        future: Future[Record] = workers[label](function, str(root), task, *before)
        return future

    def commanded(task: Task, *before: Record | Future[Record]) -> Future[Record]:
        said = _files(root / rundir.LOGS / f"{task.stage.name}.{task.name}")
        if task.stage.needs == MPI and by_mpi(machine, site):
            nodes = mpi.specification(site.shapes()[MPI])
            ended = launched(str(root), task, inputs=list(before), **said, parsl_resource_specification=nodes)
        else:
            ended = programs[labels[task.stage.needs]](str(root), task, inputs=list(before), **said)
        return work("", task, time.time(), ended)

    def one(task: Task, *before: Record | Future[Record]) -> Future[Record]:
        if task.stage.command:
            return commanded(task, *before)
        if task.stage.name == "train":
            return pack_recovery.train(work, partial(failure_reasons.reason, root=root), task, *before)
        return work("", task, *before)

    def throw(toys: Sequence[Task], futures: Futures) -> list[Future[Record]]:
        before = [futures[key] for key in dict.fromkeys(key for task in toys for key in task.after)]
        name, digest = mpi.write(root, toys)
        how = {**_files(root / name), "parsl_resource_specification": mpi.specification(site.shapes()[MPI])}
        ended = together(str(root), name, digest, inputs=before, **how)
        return [work("thrown", task, ended) for task in toys]

    def submit(batch: Sequence[Task], futures: Futures) -> list[Future[Record]]:
        if by_mpi(machine, site) and batch[0].stage.name == mpi.STAGE:
            return throw(batch, futures)
        return [one(task, *(futures[key] for key in task.after)) for task in batch]

    return submit


def _files(place: Path) -> dict[str, tuple[str, str]]:
    """Say where a program writes, from the beginning of the file."""
    return {name: (f"{place}.{name}", "w") for name in ("stdout", "stderr")}


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

    def make_room(self, check: Callable[[], None]) -> None:
        """Wait until one more task may be submitted.

        Args:
            check: Called now and then; raises if nothing will ever end.
        """
        while not self.window.acquire(timeout=LOOK):
            check()
            self._raise()

    def wait(self, check: Callable[[], None]) -> None:
        """Return when every task has been noted.

        Args:
            check: Called now and then; raises if nothing will ever end.

        Raises:
            BaseException: What went wrong while one was noted.
        """
        while not self.all_ended.wait(LOOK):
            check()
        self._raise()

    def _raise(self) -> None:
        if self.error:
            raise self.error


def mpi_program(
    root: str,
    task: Task,
    inputs: object,
    stdout: object,
    stderr: object,
    parsl_resource_specification: object,  # noqa: ARG001  Parsl takes it
) -> str:
    """Give the command line of a task that is an MPI program on all nodes of a block; a bash_app. Parsl sets the launcher."""
    return program(root, task, inputs, stdout, stderr, launcher="$PARSL_MPI_PREFIX ")


def program(root: str, task: Task, inputs: object, stdout: object, stderr: object, launcher: str = "") -> str:  # noqa: ARG001  Parsl takes them
    """Give the command line of a task that is one, which is a process of its own; a bash_app. Parsl waits for what is before it."""
    bounds = supervised.bounded(task.limit, task.output, task.stage.limit_key)
    watched = shlex.join(supervised.command(os.getpid(), supervised.INHERIT, [], bounds))
    return f"{watched} {launcher}{shlex.join(worker.command(root, task))}"
