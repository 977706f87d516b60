"""Keeping the state of a pack while it trains, so that a kill costs a few seconds of work."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from needle_parsl import files, rundir
from needle_parsl.nsbi.training import state
from needle_parsl.nsbi.training.state import State
from needle_parsl.plan import Task, specs
from needle_parsl.processes.stopping import STOPPING, StoppedError

EVERY = 8.0
"""Seconds of work between two states; with a long step and the writing, less than ten are lost."""
MARGIN = 60.0
"""Seconds before the end of a batch job when a training stops itself."""


class Checkpoint:
    """Writes the state of what is trained when that is due."""

    def __init__(self, write: Callable[[State], None]) -> None:
        """Begin.

        Args:
            write: Writes a state.
        """
        self.write = write
        self.written, self.deadline = time.monotonic(), _deadline()

    def offer(self, describe: Callable[[], State]) -> None:
        """Write the state if that is due.

        Raises:
            StoppedError: It is time to stop; the state is written.
        """
        stop = STOPPING.is_set() or time.time() > self.deadline
        if not stop and time.monotonic() - self.written < EVERY:
            return
        self.keep(describe())
        if stop:
            raise StoppedError("stopped in time; it goes on from its state")

    def keep(self, state: State) -> None:
        """Write the state now."""
        self.write(state)
        self.written = time.monotonic()


def of_pack(root: str, task: Task) -> Checkpoint:
    """Give what writes the state of one pack, or of a piece of one."""
    members = task.of(specs.Train).members
    path = _folder(root, task) / f"{members[0].member}.{members[0].fold}-{len(members)}.h5"

    def write(found: State) -> None:
        with files.atomic(path) as temporary:
            state.write(temporary, found, task.key)

    return Checkpoint(write)


def kept(root: str, task: Task) -> State:
    """Read where a pack stands, from the states of all its pieces; the latest of them knows best where a member stands."""
    paths = sorted(_folder(root, task).glob("*.h5"), key=lambda path: path.stat().st_mtime)
    found = [each for path in paths if (each := state.read(path, task.key))]
    finished = {(t.member, t.fold): t for each in found for t in each.finished}
    own = [(m.member, m.fold) for m in task.of(specs.Train).members]
    running = {name: r for each in found for r in each.running if (name := tuple(r["name"])) in own}
    return state.State(tuple(finished.values()), tuple(r for name, r in running.items() if name not in finished))


def forget(root: str, task: Task) -> None:
    """Remove the states of a pack that is done."""
    folder = _folder(root, task)
    for path in folder.glob("*.h5"):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody else's file in it stays
        folder.rmdir()


def _folder(root: str, task: Task) -> Path:
    return Path(root) / rundir.STATES / task.name


def _deadline() -> float:
    """When this worker must have stopped, in seconds since the epoch: as its block says, else its batch job; else never."""
    stop, end = _time("NEEDLE_STOP"), _time("SLURM_JOB_END_TIME")
    # A shell may outlive its job, and then has the job's variables still.
    return stop if stop < math.inf else end - MARGIN if end > time.time() and _inside_job() else math.inf


def _time(name: str) -> float:
    """Read a time from the environment; what is none is as good as nothing."""
    try:
        found = float(os.environ.get(name, "inf"))
    except ValueError:
        return math.inf
    return found if found > 0 else math.inf


def _inside_job() -> bool:
    """Whether Slurm's job, whose variables this process has, is where it runs: Slurm's daemon is above it, or its control group says so."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if not job:
        return False
    with contextlib.suppress(OSError):
        if f"job_{job}" in Path("/proc/self/cgroup").read_text(encoding="utf-8"):
            return True
    return any(parent.name().startswith("slurmstepd") for parent in psutil.Process().parents())
