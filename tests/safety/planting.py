"""A run directory with an estimator, made in milliseconds, and the means to plant things in it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from needle_parsl.nsbi.estimators import files
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.training import networks
from needle_parsl.nsbi.transforms.transform import Transform
from needle_parsl.plan import Task
from needle_parsl.plan.stages import STAGES

ANALYSIS = """name = "planted"
seed = 1
{top}
[features]
names = ["x1", "x2"]
{features}
[samples.signal]
files = ["signal.parquet"]
[samples.background]
files = ["background.parquet"]
[ratios]
reference = ["background"]
targets = ["signal", "background"]
[training]
layers = 1
nodes = 4
{training}
[model]
parameters.mu = {{ nominal = 1.0, bounds = [0.0, 5.0] }}
processes.signal = "mu"
processes.background = "1"
"""


def estimator(shape: networks.NetworkShape | None = None, members: int = 2) -> Estimator:
    """One with weights that nobody has trained."""
    shape = shape or networks.NetworkShape(network="mlp", features=2, layers=1, nodes=4)
    made = [networks.vector(networks.build(shape, seed)).numpy() for seed in range(members)]
    transform = Transform.none(("x1", "x2"))
    return Estimator(
        ratio="signal",
        features=("x1", "x2"),
        shape=shape,
        transform=transform,
        weights=np.stack(made),
        combine="mean_ratio",
        log_norm=0.0,
        coefficients=np.full(members, 1 / members),
    )


def run(folder: Path, made: Estimator | None = None, physics: str = "", **lines: str) -> Path:
    """Make a run directory with one estimator."""
    root = folder / "run"
    (root / "estimators" / "signal").mkdir(parents=True)
    files.write(root / "estimators" / "signal" / "estimator.h5", made or estimator())
    text = ANALYSIS.format(**{name: lines.get(name, "") for name in ("top", "features", "training")})
    (root / "analysis.toml").write_text(text)
    if physics:
        (root / "physics.py").write_text(physics)
    tasks = {"total": 1, "done": 1, "failed": 0, "reused": 0}
    (root / "run.json").write_text(json.dumps({"name": "planted", "status": "done", "tasks": tasks, "stages": {}}))
    return root


def reported(folder: Path) -> Path:
    """Make a run directory with a report and a log."""
    root = run(folder)
    state = json.loads((root / "run.json").read_text())
    state["stages"] = {"report": {"tasks": 1, "done": 1, "seconds": 1.0}}
    (root / "run.json").write_text(json.dumps(state))
    words = {"state": "pass", "verdict": "all 16 checks pass", "dataset": "asimov", "result": "mu = 1.0"}
    nothing = {"quoted_intervals": {}, "findings": [], "ratios": {}, "warnings": []}
    for name in ("report", "logs"):
        (root / name).mkdir()
    (root / "report" / "summary.json").write_text(json.dumps(words | nothing))
    (root / "logs" / "driver.log").write_text("a word\n")
    return root


THINGS = ("pipe", "socket", "device")
"""What may stand where a file or a folder is expected."""


def put(path: Path, thing: str) -> None:
    """Put something else than a file or folder to a path; nothing ever comes out of it."""
    if thing == "file":
        path.write_text("a file")
    elif thing == "pipe":
        os.mkfifo(path)
    elif thing == "socket":
        _listening(path)
    else:
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("makes a device: needs the right to")


def _listening(path: Path) -> None:
    """Bind a socket from its folder: the whole of a path may be too long for one."""
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)


def events(folder: Path) -> Path:
    """Make a file of new events."""
    path = folder / "new.parquet"
    x = np.random.default_rng(0).normal(size=(50, 2))
    parquet.write_table(pa.table({"x1": x[:, 0], "x2": x[:, 1]}), path)
    return path


def attribute(path: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change a JSON attribute of an HDF5 file."""
    with h5py.File(path, "r+") as file:
        file.attrs[name] = json.dumps(change(json.loads(file.attrs[name])))


def task() -> Task:
    """One that calls no code of the user's."""
    return Task(stage=STAGES["fit"], name="asimov", key="0" * 32, spec=None, after=())  # type: ignore[arg-type]
