"""Parsl, configured from a site, started and ended."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from needle_parsl.errors import InputError, TaskError
from needle_parsl.site import Site
from needle_parsl.workflow.failures import blame, retries
from needle_parsl.workflow.processes import tethered
from needle_parsl.workflow.processes.stopping import STOPPING, TRAINING

LABEL = "tasks"
PARSL = "parsl"
POOL, INTERCHANGE = "needle_parsl.workflow.processes.pool", "parsl.executors.high_throughput.interchange"
HEARTBEAT = 2
"""Seconds between two signs of life of a pool of workers; a lost worker is found within them."""
SILENCE = 15
"""Seconds without one after which interchange and pool give each other up."""
START = 3
"""Blocks in a row that may end before their workers are there."""
STOP = 5.0
"""Seconds that tasks in threads have to write down their state when the run is interrupted."""


class Machine:
    """Parsl while it runs."""

    def __init__(self, kernel: Any, logs: Path) -> None:
        self.kernel, self.logs = kernel, logs
        self.executor = kernel.executors[LABEL]

    def check(self) -> None:
        """Notice what Parsl would wait for in vain.

        Raises:
            TaskError: The interchange has ended, or workers cannot be started.
        """
        interchange = getattr(self.executor, "interchange_proc", None)
        if interchange is not None and interchange.poll() is not None:
            raise TaskError(
                f"Parsl's interchange has ended with exit code {interchange.returncode}; the same command goes on from here (see {self.logs})"
            )
        if getattr(self.executor, "bad_state_is_set", False):
            raise TaskError(f"workers cannot be started: {_last_words(self.logs)}")


def _abandon(machine: Machine | None) -> None:
    """End everything soon, with the little time that a training needs to write its state."""
    STOPPING.set()
    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.terminate()
    threads = getattr(machine and machine.executor, "executor", None)
    if threads is not None:
        threads.shutdown(wait=False, cancel_futures=True)
        if TRAINING.acquire(timeout=STOP):  # it has written its state
            TRAINING.release()
    _, left = psutil.wait_procs(children, tethered.GRACE + 1)
    for child in left:
        child.kill()


@contextmanager
def started(site: Site, logs: Path) -> Iterator[Machine]:
    """Start Parsl for a run, and end it after the last task.

    Args:
        site: The machine.
        logs: Where Parsl writes its own files.

    Yields:
        Parsl with its workers on their way.

    Raises:
        InputError: Parsl cannot work in this folder.
    """
    from parsl.dataflow.dflow import DataFlowKernel

    STOPPING.clear()
    machine = None
    with _logged(logs / "parsl.log"):
        try:
            machine = Machine(DataFlowKernel(_config(site, logs)), logs)
            if site.executor == "htex":
                machine.executor.scale_out_facade(1)  # Parsl itself would wait for its next look
            yield machine
            machine.kernel.cleanup()
        except BaseException:
            _abandon(machine)
            raise


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Keep Parsl's warnings in a file; its own log of every step would be a thousand lines a second."""
    logger, handler = logging.getLogger(PARSL), _Quiet(path, delay=True)
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


def _config(site: Site, logs: Path) -> Any:
    from parsl.config import Config
    from parsl.executors import ThreadPoolExecutor

    threads = site.executor == "threads"
    return Config(
        executors=[ThreadPoolExecutor(label=LABEL, max_threads=site.workers()) if threads else _htex(site, logs)],
        run_dir=str(logs / PARSL),
        initialize_logging=False,
        strategy="simple",
        strategy_period=1,
        retries=retries.BUDGET,
        retry_handler=retries.cost,
    )


def _htex(site: Site, logs: Path) -> Any:
    """Configure worker processes on this machine: encrypted, bound to the loopback interface, ended with this process."""
    from parsl.executors import HighThroughputExecutor
    from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

    from needle_parsl.workflow.processes.blocks import Here

    if set(str(logs)) & set("{}'"):
        raise InputError(
            f"{logs}: worker processes cannot work in a folder with one of {{ }} ' in its name; choose another --out"
        )
    ours = shlex.join([sys.executable, "-m", POOL, str(logs.parent / blame.LOST)])
    return HighThroughputExecutor(
        label=LABEL,
        provider=Here(logs),
        address="127.0.0.1",
        encrypted=True,
        cores_per_worker=1e-6,  # the site says how many, not the number of cores
        max_workers_per_node=site.workers(),
        heartbeat_period=HEARTBEAT,
        heartbeat_threshold=SILENCE,
        block_error_handler=_never_came,
        launch_cmd=_quoted(DEFAULT_LAUNCH_CMD).replace("process_worker_pool.py", ours),
        interchange_launch_cmd=tethered.command(
            os.getpid(), str(logs / "interchange.log"), [sys.executable, "-m", INTERCHANGE]
        ),
    )


def _quoted(command: str) -> str:
    """Let folders have spaces in their names."""
    return command.replace("{cert_dir}", "'{cert_dir}'").replace("--logdir={logdir}", "'--logdir={logdir}'")


def _never_came(executor: Any, status: dict[str, Any]) -> None:
    """Give up when several blocks in a row have ended before their workers were there."""
    from parsl.jobs.states import JobState

    last = [status[block].state for block in sorted(status, key=int)[-START:]]
    if last == [JobState.MISSING] * START:
        executor.set_bad_state_and_fail_all(TaskError("workers cannot be started"))


def _last_words(logs: Path) -> str:
    log = max(logs.glob("block-*.log"), key=lambda path: path.stat().st_mtime, default=None)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log else []
    return f"{lines[-1] if lines else 'they ended without a word'} (see {log or logs})"
