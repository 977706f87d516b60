"""The jobs of a run, written down in its directory: what they cost, and whether the budget has room for one more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from needle_parsl import files, rundir
from needle_parsl.errors import InputError, TaskError
from needle_parsl.site import NodeShape
from needle_parsl.workflow import forms

FORM = {
    "shape": str,
    "nodes": int,
    "walltime": int,
    "submitted": float,
    "started?": float,
    "ended?": float,
    "state?": str,
}
UNASKED = ("CANCELLED", "TIMEOUT", "FAILED")
"""Ends of a job that nobody asked us for."""


class SpentError(TaskError):
    """The budget has no room for one more job."""


@dataclass(frozen=True, kw_only=True)
class SchedulerJob:
    """A job of the scheduler, which is a block of Parsl."""

    shape: str
    nodes: int
    walltime: int
    """Seconds that it may run."""
    submitted: float
    """In seconds since the epoch, as all times here."""
    started: float = 0.0
    """When it was first seen running; 0 while it waits."""
    ended: float = 0.0
    """When it was first seen at its end; 0 before."""
    state: str = "PENDING"

    def node_hours(self, now: float, *, at_most: bool = False) -> float:
        """Give what it has cost until now, or what it may cost at most."""
        spent = self.ended - self.started if self.ended else min(now - self.started, self.walltime)
        seconds = self.walltime if at_most and not self.ended else spent if self.started else 0.0
        return self.nodes * seconds / 3600


class Jobs:
    """All jobs that this run directory has ever had."""

    def __init__(self, root: Path, budget: float = 0.0, say: Callable[[str], None] = lambda _: None) -> None:
        self.path, self.budget, self.say, self.writing = root / rundir.JOBS, budget, say, threading.Lock()
        self.jobs: dict[str, SchedulerJob] = {}
        with suppress(InputError, TypeError, AttributeError):  # damaged, or none yet: it costs only its history
            found: dict[str, Any] = files.read_json(self.path)
            self.jobs = {job: SchedulerJob(**facts) for job, facts in found.items() if forms.fits(facts, FORM)}
        self._leave_behind()

    def _leave_behind(self) -> None:
        """Close what a driver that was killed had left open: its jobs ran at most to their walltime."""
        for name, job in self.jobs.items():
            if not job.ended:
                last = min(time.time(), job.started + job.walltime) if job.started else job.submitted
                self.jobs[name] = replace(job, ended=last, state="LEFT")

    def node_hours(self, *, at_most: bool = False) -> float:
        """Add up what the jobs have cost, or may cost at most."""
        now = time.time()
        return sum(job.node_hours(now, at_most=at_most) for job in self.jobs.values())

    def make_room(self, shape: NodeShape) -> None:
        """Refuse one more job that the budget may not cover.

        Raises:
            SpentError: It may not.
        """
        wanted = shape.nodes * shape.seconds() / 3600
        if self.budget and self.node_hours(at_most=True) + wanted > self.budget:
            raise SpentError(
                f"the budget of {self.budget:g} node-hours has no room for one more job of {wanted:.3g} "
                f"({self.node_hours():.3g} are spent); raise budget in the site file, and the same command goes on from here"
            )

    def add(self, name: str, label: str, shape: NodeShape) -> None:
        """Write down a job that was submitted."""
        self._set(name, SchedulerJob(shape=label, nodes=shape.nodes, walltime=shape.seconds(), submitted=time.time()))

    def see(self, name: str, state: str, *, ended: bool, asked: bool = False) -> None:
        """Write down how a job is, if that has changed.

        Args:
            name: The job.
            state: As Parsl calls it.
            ended: Whether that is an end.
            asked: Whether we have asked for it.
        """
        job = self.jobs.get(name)
        if job is None or job.ended or job.state == state:
            return
        now = time.time()
        started = job.started or (now if state == "RUNNING" else 0.0)
        self._set(name, replace(job, state=state, started=started, ended=now if ended else 0.0))
        if state in UNASKED and not asked:
            self.say(f"job {name} has ended ({state.lower()}); the next one goes on from what was kept")

    def _set(self, name: str, job: SchedulerJob) -> None:
        with self.writing:
            self.jobs[name] = job
            files.write_json(self.path, {name: asdict(job) for name, job in self.jobs.items()})
