"""Parsl's providers of batch jobs, which write down the jobs of a run, tell the user of them, and keep to its budget.

What is mended in Parsl's own is in `patches/` (docs/decisions/0005).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from parsl.jobs.states import JobState
from parsl.launchers import (
    AprunLauncher,
    JsrunLauncher,
    MpiExecLauncher,
    SimpleLauncher,
    SingleNodeLauncher,
    SrunLauncher,
)
from parsl.providers import PBSProProvider
from parsl.providers.cluster_provider import ClusterProvider

from needle_parsl.site import NodeShape, Site
from needle_parsl.workflow.executors import job_options
from needle_parsl.workflow.executors.jobs import Jobs, SpentError
from needle_parsl.workflow.executors.patches.ended_jobs import EndedJobs
from needle_parsl.workflow.executors.patches.forgotten_jobs import ForgottenJobs
from needle_parsl.workflow.executors.patches.polling import Polling
from needle_parsl.workflow.executors.patches.refusals import Refusals

LIVING = "PENDING,CONFIGURING,RUNNING,SUSPENDED,COMPLETING"
COMMAND = 30
"""Seconds that a command of the scheduler may take."""
WAITING = 20.0
"""Seconds in the queue after which the user is told why."""


class BatchProvider(Polling, Refusals, EndedJobs, ClusterProvider):
    """What the providers of all schedulers have in common; mixed into one of Parsl's."""

    def watch(self, site: Site, label: str, shape: NodeShape, name: str, jobs: Jobs) -> None:
        """Take note of the run.

        Args:
            site: The machine.
            label: Which of its shapes this is.
            shape: That shape.
            name: What the names of all jobs of the run begin with.
            jobs: Where they are written down.
        """
        self.interval, self.label_, self.shape, self.name, self.jobs = site.poll, label, shape, name, jobs
        self.told: set[str] = set()
        """Jobs of which the user knows that they wait."""

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl") -> Any:  # noqa: ARG002  Parsl's
        """Submit a block, unless the budget has no room.

        Raises:
            RefusedJobError: The scheduler does not take it.
            SpentError: It was not asked.
        """
        try:
            self.jobs.make_room(self.shape)
        except SpentError as error:
            self.spent = str(error)
            raise
        job = super().submit(command, tasks_per_node, f"{self.name}.{self.label_}")
        self.jobs.add(str(job), self.label_, self.shape)
        return job

    def _status(self) -> None:
        """Ask how the jobs are, and note what has changed."""
        super()._status()
        for job, facts in self.resources.items():
            self.jobs.see(str(job), facts["status"].state.name, ended=facts["status"].terminal)
            if facts["status"].state == JobState.PENDING:
                self._tell(str(job))

    def _tell(self, job: str) -> None:
        """Tell the user once that a job waits, and why."""
        if job in self.told or time.time() - self.jobs.jobs[job].submitted < WAITING:
            return
        self.told.add(job)
        why = self.reason(job)
        self.jobs.say(f"job {job} [{self.label_}] waits in the queue{f': {why}' if why else ''}")

    def reason(self, job: str) -> str:
        """Say in the scheduler's words why a job waits; empty where it does not say."""
        raise NotImplementedError

    def cancel(self, job_ids: Sequence[object]) -> list[bool]:
        """End jobs; those that have ended stay as they are."""
        ended = super().cancel(job_ids)
        for job, over in zip(job_ids, ended, strict=True):
            if over:
                self.jobs.see(str(job), "CANCELLED", ended=True, asked=True)
        return ended

    def cancel_all(self) -> None:
        """End all jobs of this run that may live."""
        self.cancel(list(self.resources))

    def earlier(self) -> list[str]:
        """List the living jobs of an earlier driver of this run."""
        raise NotImplementedError


class Slurm(BatchProvider, ForgottenJobs):
    """Slurm."""

    def earlier(self) -> list[str]:
        """List the living jobs of an earlier driver of this run."""
        _, out, _ = self.execute_wait(f"squeue --me --states={LIVING} --noheader --format='%i %j'")
        rows = [line.split() for line in out.splitlines() if len(line.split()) == 2]
        return [job for job, name in rows if name.startswith(f"{self.name}.") and job not in self.resources]

    def reason(self, job: str) -> str:
        """Say in Slurm's words why a job waits."""
        return str(self.execute_wait(f"squeue --noheader --format=%r --job {job}")[1]).strip()

    def end(self, job_ids: list[str]) -> None:
        """End jobs of an earlier driver."""
        self.execute_wait(f"scancel {' '.join(job_ids)}")


class Pbs(BatchProvider, PBSProProvider):
    """PBS Pro and OpenPBS."""

    def earlier(self) -> list[str]:
        """List the living jobs of an earlier driver of this run."""
        code, out, _ = self.execute_wait("qstat -f -F json")
        try:
            found: Mapping[str, Any] = json.loads(out).get("Jobs", {}) if code == 0 else {}
        except ValueError:
            return []
        return [job for job, facts in found.items() if str(facts.get("Job_Name", "")).startswith(f"{self.name}.")]

    def reason(self, job: str) -> str:
        """Give the comment of PBS on a job."""
        found = re.search(r"^\s*comment = (.*)$", str(self.execute_wait(f"qstat -f {job}")[1]), re.MULTILINE)
        return found[1] if found else ""

    def end(self, job_ids: list[str]) -> None:
        """End jobs of an earlier driver."""
        self.execute_wait(f"qdel {' '.join(job_ids)}")


SLURMS_END = (
    'case "${SLURM_JOB_END_TIME:-x}" in *[!0-9]*) ;; *) '
    '[ "$SLURM_JOB_END_TIME" -le "$(date +%s)" ] || export NEEDLE_JOB_END=$SLURM_JOB_END_TIME ;; esac'
)
"""Takes Slurm's own word for the end of a job, if it is a time to come."""
LAUNCHERS = {
    "srun": lambda options: SrunLauncher(overrides=options),
    "mpiexec": lambda options: MpiExecLauncher(bind_cmd="--cpu-bind", overrides=options),
    "aprun": lambda options: AprunLauncher(overrides=options),
    "jsrun": lambda options: JsrunLauncher(overrides=options),
    "single": lambda _: SingleNodeLauncher(),
}


def provider(site: Site, label: str, name: str, jobs: Jobs) -> Any:
    """Make the provider of one shape of nodes.

    Args:
        site: The machine.
        label: The shape.
        name: What the names of its jobs begin with.
        jobs: Where they are written down.
    """
    shape = site.shapes()[label]
    launcher = SimpleLauncher() if label == "mpi" else LAUNCHERS[shape.launcher](shape.launcher_options)
    common = {
        **job_options.named(shape, site.scheduler),
        "nodes_per_block": shape.nodes,
        "init_blocks": 0,
        "min_blocks": shape.min_blocks,
        "max_blocks": shape.max_blocks,
        "walltime": shape.walltime,
        "worker_init": _setup(shape),
        "launcher": launcher,
        "cmd_timeout": COMMAND,
    }
    made = _slurm(shape, common) if site.scheduler == "slurm" else _pbs(shape, common)
    made.watch(site, label, shape, name, jobs)
    return made


def _setup(shape: NodeShape) -> str:
    """Give the lines of the job before its workers start: when it ends, and what the site wants there."""
    ends = f"export NEEDLE_JOB_END=$(( $(date +%s) + {shape.seconds()} ))\n{SLURMS_END}"
    if not shape.setup:
        return ends
    return f"{ends}\nset -e\n{shape.setup.rstrip()}\nset +e"


def _slurm(shape: NodeShape, common: dict[str, Any]) -> Slurm:
    return Slurm(
        gpus_per_node=shape.gpus_per_node or None,
        cores_per_node=shape.cores_per_node or None,
        exclusive=shape.exclusive,
        scheduler_options=job_options.lines(shape.options, "slurm"),
        **common,
    )


def _pbs(shape: NodeShape, common: dict[str, Any]) -> Pbs:
    return Pbs(
        select_options=shape.select,
        cpus_per_node=shape.cores_per_node or 1,
        scheduler_options=job_options.lines(shape.options, "pbs"),
        **common,
    )
