"""What a finished task leaves behind: its output under its final name, and one line for the ledger."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from needle_parsl import rundir
from needle_parsl.plan import Task


@dataclass(frozen=True)
class Record:
    """A finished task, done or failed."""

    key: str
    stage: str
    what: str
    worker: str
    """Host, process and thread."""
    seconds: float
    """Wall time of the work."""
    output: str
    """Relative to the run directory."""
    digest: str
    """Of the output; empty for a failed task."""
    reason: str = ""
    """Why it failed; empty for a task that is done."""


@dataclass
class Output:
    """An output in the making."""

    task: Task
    path: Path
    """A temporary name while it is written."""
    started: float = field(default_factory=time.time)

    def record(self, root: str) -> Record:
        """Record the finished output."""
        place = rundir.place(self.task.stage, self.task.name)
        worker = f"{socket.gethostname()}:{os.getpid()}:{threading.current_thread().name}"
        seconds = round(time.time() - self.started, 3)
        digest = rundir.digest(Path(root) / place)
        return Record(self.task.key, self.task.stage, self.task.name, worker, seconds, place, digest)


@contextmanager
def writing(root: str, task: Task) -> Iterator[Output]:
    """Give a task a temporary name to write to; the output has its own name only if all went well."""
    started = time.time()
    with rundir.atomic(Path(root) / rundir.place(task.stage, task.name)) as temporary:
        yield Output(task, temporary, started)
