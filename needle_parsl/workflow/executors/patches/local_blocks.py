"""Run blocks of workers on this machine as child processes of this one, which end with it.

Parsl: 2026.10.26, `LocalProvider`, in whose place this stands.
Without it: blocks are started through two shells and forgotten: `kill -9` of the process that submits leaves their workers behind; a
    block is ended through `ps`, which small containers lack; a folder with a space in its name breaks the scripts
    (docs/decisions/0004).
Upstream: https://github.com/Parsl/parsl/issues/674 and https://github.com/Parsl/parsl/issues/2742, both open.
Not needed any more when `test_plain_parsl_cannot_start_blocks_in_a_folder_with_a_space` and
    `test_plain_parsl_leaves_blocks_behind` fail.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from parsl.jobs.states import JobState, JobStatus
from parsl.launchers import SimpleLauncher
from parsl.providers.base import ExecutionProvider

from needle_parsl.processes import supervised


class LocalBlocks(ExecutionProvider):
    """Starts blocks as child processes."""

    nodes_per_block = min_blocks = max_blocks = 1
    init_blocks = 0  # the first one is asked for at once, not at Parsl's first look
    parallelism = 1.0
    label = "here"
    status_polling_interval = 1
    cores_per_node = mem_per_node = None
    launcher = SimpleLauncher()  # Parsl looks at it where programs are run by MPI

    def __init__(self, logs: Path, prefix: str = "") -> None:
        self.logs, self.prefix = logs, prefix
        self.blocks: dict[object, subprocess.Popen[bytes]] = {}
        self.ended: dict[object, JobStatus] = {}

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> object:  # noqa: ARG002  Parsl's
        """Start a block."""
        log = self.log(len(self.blocks))
        block = subprocess.Popen(
            supervised.command(os.getpid(), str(log), shlex.split(command)), stdin=subprocess.DEVNULL
        )
        self.blocks[block.pid] = block
        return block.pid

    def log(self, number: int) -> Path:
        """Locate what the processes of a block printed."""
        return self.logs / f"block-{self.prefix}{number}.log"

    def status(self, job_ids: Sequence[object]) -> list[JobStatus]:
        """Say how blocks are."""
        return [self._status(job) for job in job_ids]

    def _status(self, job: object) -> JobStatus:
        code = self.blocks[job].poll()
        if code is not None and job not in self.ended:
            supervised.end_group(
                self.blocks[job].pid, grace=0
            )  # its first process may have been killed, and left the others
            self.ended[job] = JobStatus(JobState.FAILED, exit_code=code)
        return self.ended.get(job, JobStatus(JobState.RUNNING))

    def cancel(self, job_ids: Sequence[object]) -> list[bool]:
        """End blocks: ask all, then wait, then kill."""
        living = [job for job in job_ids if job not in self.ended]
        for job in living:
            self.ended[job] = JobStatus(JobState.CANCELLED)
            self.blocks[job].terminate()
        for job in living:
            self._end(self.blocks[job])
        return [True for _ in job_ids]

    @staticmethod
    def _end(block: subprocess.Popen[bytes]) -> None:
        try:
            block.wait(2 * supervised.GRACE)
        except subprocess.TimeoutExpired:
            block.kill()
            block.wait()
        supervised.end_group(block.pid, grace=0)
