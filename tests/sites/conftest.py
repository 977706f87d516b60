"""Fixtures: this process on a cluster, and what is in its queue."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


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
        from needle_parsl.workflow.executors import config

        command = ["squeue", "--states=PD,CF,R,CG", "-h", "-o", "%i %t %j"]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in out.splitlines()]
        return {job: state for job, state, name in rows if name.startswith(f"{config.name(root.resolve())}.")}

    return look
