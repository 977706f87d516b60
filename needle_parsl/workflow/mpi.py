"""Rounds of toys, each one MPI program: what the flow starts with a bash_app on nodes of the shape `mpi`.

`python -m needle_parsl.workflow.mpi RUN ROUND DIGEST` on each of its processes. The toys of a round wait for none of it. Each
toy's record is written where the flow finds it, so that a program that is started again goes on.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from needle_parsl import files, handover
from needle_parsl.errors import NeedleError, TaskError
from needle_parsl.handover import FOLDER
from needle_parsl.plan import Task, task_json
from needle_parsl.processes import python, supervised, threads
from needle_parsl.site import NodeShape
from needle_parsl.workflow import worker

STAGE = "toys"


def batches(todo: Sequence[Task], most: int) -> list[list[Task]]:
    """Order tasks so that the toys of a round stand together; each other task is a batch of its own.

    Args:
        todo: Each after those it needs.
        most: Tasks of a batch.
    """
    place: dict[str, int] = {}  # odd for toys, even for all others
    for task in todo:
        latest = max((place[key] for key in task.after if key in place), default=0)
        place[task.key] = latest + 1 + latest % 2 if task.stage.name == STAGE else latest + latest % 2
    found: list[list[Task]] = []
    for number, group in groupby(sorted(todo, key=lambda task: place[task.key]), lambda task: place[task.key]):
        tasks = list(group)
        size = most if number % 2 else 1
        found += [tasks[start : start + size] for start in range(0, len(tasks), size)]
    return found


def specification(shape: NodeShape) -> dict[str, Any]:
    """Say in Parsl's words on how many nodes and processes a program runs: all of a block."""
    return {
        "num_nodes": shape.nodes,
        "ranks_per_node": shape.workers(),
        "launcher_options": shape.launcher_options,
    }


def write(root: Path, tasks: Sequence[Task]) -> tuple[str, str]:
    """Write down the toys of a round as JSON; give the file's name and its digest, without which it is not read."""
    content = task_json.text(tasks)
    digest = digest_of(content.encode())
    name = f"{FOLDER}/{digest}.tasks"
    files.write_text(root / name, content)
    return name, digest


def digest_of(content: bytes) -> str:
    """Fingerprint a file of tasks: 16 bytes of BLAKE2b, as hex."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def program(
    root: str,
    name: str,
    digest: str,
    inputs: object,
    stdout: object,
    stderr: object,
    parsl_resource_specification: object,
) -> str:
    """Give the command line of a round; a bash_app. Parsl waits for what is before it, takes files and nodes, and sets the launcher."""
    del inputs, stdout, stderr, parsl_resource_specification
    command = ["env", *(f"{variable}=1" for variable in threads.VARIABLES)]  # before the program imports NumPy
    command += python.module("needle_parsl.workflow.mpi", root, name, digest)
    return (
        f"{shlex.join(supervised.command(os.getpid(), supervised.INHERIT, []))} $PARSL_MPI_PREFIX {shlex.join(command)}"
    )


def read(root: Path, name: str, digest: str) -> list[Task]:
    """Read the toys of a round.

    Raises:
        TaskError: It is not the file that the flow has written.
    """
    content = (root / name).read_bytes()
    if digest_of(content) != digest:
        raise TaskError(f"{root / name}: is not what this run has written; the same command goes on from here")
    return task_json.tasks(content.decode())


def throw(root: str, tasks: Iterable[Task]) -> None:
    """Throw toys, and hand over how that went; what fails does not keep the others."""
    for task in tasks:
        if handover.done(root, task):
            continue
        try:
            handover.over(root, task, worker.call(task.stage.work, root, task))
        except NeedleError as error:
            handover.over(root, task, error)


def main() -> int:
    """Run on every process of a round; MPI starts when mpi4py is imported."""
    from mpi4py import MPI  # noqa: PLC0415  starts MPI

    root, name, digest = sys.argv[1:]
    world = MPI.COMM_WORLD
    throw(root, read(Path(root), name, digest)[world.rank :: world.size])
    world.Barrier()
    return 0


if __name__ == "__main__":
    sys.exit(main())
