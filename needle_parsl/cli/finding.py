"""Finding the run that a user means."""

from __future__ import annotations

from pathlib import Path

from needle_parsl import rundir
from needle_parsl.errors import InputError, closest


def find(run_name: str) -> Path:
    """Locate a run, by its folder or its name under `runs/`.

    Raises:
        InputError: There is none.
    """
    for path in (Path(run_name), Path("runs") / run_name):
        if any((path / mark).exists() for mark in (rundir.RUN, rundir.DRIVER)):
            return path
    known = [path.parent.name for path in Path("runs").glob("*/run.json")]
    raise InputError(f'there is no run "{run_name}", neither as a folder nor under runs/{closest(run_name, known)}')
