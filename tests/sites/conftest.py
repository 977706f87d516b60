"""Fixtures: this process on a cluster, and what is in its queue."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from needle_parsl import rundir


@pytest.fixture
def on_slurm(slurm: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """This process may submit."""
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def queue(on_slurm: None) -> Callable[[Path], dict[str, str]]:
    """Give the jobs of a run directory that live, with their states."""
    del on_slurm

    def look(root: Path) -> dict[str, str]:
        from needle_parsl.workflow.executors import settings

        command = ["squeue", "--states=PD,CF,R,CG", "-h", "-o", "%i %t %j"]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in out.splitlines()]
        return {job: state for job, state, name in rows if name.startswith(f"{settings.name(root.resolve())}.")}

    return look


def jobs(root: Path) -> dict[str, dict[str, Any]]:
    """Read what a run has written down of its jobs."""
    found: dict[str, dict[str, Any]] = rundir.read_json(root / rundir.JOBS) if (root / rundir.JOBS).exists() else {}
    return found


def until(there: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not (found := there()):
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.2)
    return found
