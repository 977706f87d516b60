"""Fixtures: a real Slurm on this machine, with nodes that believe to have GPUs."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from needle_parsl import rundir

ROOT = Path(__file__).parent.parent.parent
CLUSTER = ROOT / "tests" / "services" / "slurm_cluster"
PORT = "17817"


@pytest.fixture(scope="session")
def slurm() -> Iterator[dict[str, str]]:
    """The environment in which its commands find it: 4 GPU nodes with 4 GPUs, 3 CPU nodes; its ports are fixed."""
    folder = Path(tempfile.gettempdir()) / f"needle-tests-slurm-{os.getuid()}"
    env = {**os.environ, "NEEDLE_SLURM_DIR": str(folder), "NEEDLE_SLURM_PORT": PORT}
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (["install"], ["start", "--nodes", "4", "--cpu-nodes", "3"]):
            done = subprocess.run(
                [CLUSTER, *command], env=env, capture_output=True, text=True, check=False, timeout=300
            )
            if done.returncode:
                required = "slurm" in os.environ.get("NEEDLE_REQUIRE", "").split(",")
                (pytest.fail if required else pytest.skip)(done.stderr.strip().splitlines()[-1])
        try:
            here = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])  # workers find what the tests run on nodes
            yield {"SLURM_CONF": str(folder / "etc" / "slurm.conf"), "PYTHONPATH": here}
        finally:
            subprocess.run([CLUSTER, "stop"], env=env, capture_output=True, check=False, timeout=120)


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
