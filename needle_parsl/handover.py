"""How an MPI program hands over what its tasks did: a file for each, beside the logs, from which a task takes the record."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from needle_parsl import files, records, rundir
from needle_parsl.errors import InputError, NeedleError, TaskError
from needle_parsl.plan import Task
from needle_parsl.records import Record

FOLDER = f"{rundir.LOGS}/rounds"
"""Relative to the run directory."""


def over(root: str, task: Task, ended: Record | NeedleError) -> None:
    """Hand over how a task has ended."""
    if isinstance(ended, NeedleError):
        told: dict[str, object] = {"wrong": str(ended), "input": isinstance(ended, InputError)}
    else:
        told = asdict(ended)
    files.write_json(_place(root, task), told)


def done(root: str, task: Task) -> bool:
    """Whether a program that was killed has done a task, and its output is still what it was."""
    place = _place(root, task)
    record = _record(place) if place.exists() else None
    return record is not None and records.holds(Path(root), record)


def thrown(root: str, task: Task, _exit_code: int) -> Record:
    """Take the record of a block of toys from the program that has ended; runs as a task of its own.

    Raises:
        NeedleError: It has failed there.
    """
    place = _place(root, task)
    if record := _record(place):
        return record
    found = files.read_json(place)
    raise (InputError if found["input"] else TaskError)(found["wrong"])


def _place(root: str, task: Task) -> Path:
    return Path(root) / FOLDER / f"{task.key}.json"


def _record(place: Path) -> Record | None:
    found = files.read_json(place)
    return None if "wrong" in found else Record(**found)
