"""Parsl, configured from a site, started and ended."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from needle_parsl.errors import TaskError
from needle_parsl.processes import supervised
from needle_parsl.processes.logs import bounded
from needle_parsl.processes.stopping import STOPPING, TRAINING
from needle_parsl.site import Site
from needle_parsl.workflow import user_process
from needle_parsl.workflow.executors import config
from needle_parsl.workflow.executors.block_errors import BlockErrorHandler, last_words
from needle_parsl.workflow.executors.jobs import Jobs
from needle_parsl.workflow.executors.patches import own_executors, spared_imports

STOP = 5.0
"""Seconds that tasks in threads have to write down their state when the run is interrupted."""
GONE = 20.0
"""Seconds within which jobs of an earlier driver have ended after they were told to."""
Say = Callable[[str], None]
"""Tells the user something, once."""


class Machine:
    """Parsl while it runs."""

    def __init__(self, kernel: Any, logs: Path) -> None:
        self.kernel, self.logs = kernel, logs
        self.executors = own_executors.of(kernel)
        self.labels = config.labels(list(self.executors))
        """The executor that serves each need."""

    def check(self) -> None:
        """Notice what Parsl would wait for in vain.

        Raises:
            NeedleError: An interchange has ended, workers cannot be started, or an endpoint does nothing for this run.
        """
        for executor in self.executors.values():
            self._check(executor)

    def _check(self, executor: Any) -> None:
        interchange = getattr(executor, "interchange_proc", None)
        if interchange is not None and interchange.poll() is not None:
            raise TaskError(
                f"Parsl's interchange has ended with exit code {interchange.returncode}; the same command goes on from here (see {self.logs})"
            )
        judge = getattr(executor, "block_error_handler", None)
        if isinstance(judge, BlockErrorHandler) and judge.verdict:
            raise TaskError(judge.verdict)
        if getattr(executor, "trouble", None) is not None:
            raise executor.trouble
        if getattr(executor, "bad_state_is_set", False):
            raise TaskError(f"workers cannot be started: {executor.executor_exception or last_words(self.logs)}")

    def take_over(self, say: Say) -> None:
        """End what an earlier driver of this run, which was killed, has left in the queue: its work is never done twice."""
        for provider in self._batch():
            if jobs := provider.earlier():
                say(f"ending jobs of an earlier driver of this run: {', '.join(jobs)}")
                provider.end(jobs)
                ends = time.monotonic() + GONE
                while provider.earlier() and time.monotonic() < ends:
                    time.sleep(0.5)

    def blocks(self) -> list[Any]:
        """List the executors that have workers in blocks."""
        return [executor for executor in self.executors.values() if hasattr(executor, "scale_out_facade")]

    def end_jobs(self) -> None:
        """End all jobs; those that have ended stay as they are."""
        for provider in self._batch():
            provider.cancel_all()

    def _batch(self) -> list[Any]:
        found = [getattr(executor, "provider", None) for executor in self.executors.values()]
        return [provider for provider in found if hasattr(provider, "earlier")]


def _abandon(machine: Machine | None) -> None:
    """End everything soon, with the little time that a training needs to write its state."""
    STOPPING.set()
    if machine is not None:
        with suppress(
            OSError, subprocess.SubprocessError
        ):  # a scheduler that hangs; jobs without a driver end by themselves
            machine.end_jobs()
    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.terminate()
    pools = [getattr(executor, "executor", None) for executor in machine.executors.values()] if machine else []
    for executor in machine.executors.values() if machine else ():
        if hasattr(executor, "trouble"):  # else its threads would wait for what is at the endpoint
            executor.shutdown()
    for threads in filter(None, pools):
        threads.shutdown(wait=False, cancel_futures=True)
        if TRAINING.acquire(timeout=STOP):  # it has written its state
            TRAINING.release()
    _, left = psutil.wait_procs(children, supervised.GRACE + 1)
    for child in left:
        child.kill()


@contextmanager
def started(site: Site, logs: Path, say: Say = lambda _: None) -> Iterator[Machine]:
    """Start Parsl for a run, and end it after the last task.

    Args:
        site: The machine.
        logs: Where Parsl writes its own files.
        say: Tells the user something.

    Yields:
        Parsl with its workers on their way.

    Raises:
        InputError: Parsl cannot work in this folder.
    """
    spared_imports.import_parsl(sdk=site.executor == "globus-compute", databases=bool(site.factory))
    from parsl.dataflow.dflow import DataFlowKernel  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

    STOPPING.clear()
    machine = None
    with _logged(logs / "parsl.log"), bounded(logs):
        try:
            jobs = Jobs(logs.parent, site.node_hours(), say)
            machine = Machine(DataFlowKernel(config.config(site, logs, jobs)), logs)
            machine.take_over(say)
            if site.scheduler == "local" and not site.factory:
                for executor in machine.blocks():
                    executor.scale_out_facade(1)  # Parsl itself would wait for its next look
            yield machine
            machine.kernel.cleanup()
        except BaseException:
            _abandon(machine)
            raise
        finally:
            user_process.close()


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Keep Parsl's warnings in a file; its own log of every step would be a thousand lines a second."""
    logger, handler = logging.getLogger(config.PARSL), _Quiet(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    propagated, logger.propagate = logger.propagate, False
    logger.setLevel(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
        handler.close()


class _Quiet(logging.FileHandler):
    """A log file on a disk that may be full: the run itself will say so."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Drop the line."""
