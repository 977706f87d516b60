"""`[features] parameters`: from an analysis file to ln r(x | theta) at values of theta that are given later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

pytestmark = pytest.mark.campaign  # a whole run; what it is made of is tested in tests/nsbi

PHYSICS = """
import numpy as np

def signal(generator, events):
    theta = generator.uniform(-1, 1, events)
    return {"x": generator.normal(0.8 * theta, 1), "theta": theta}

def background(generator, events):
    return {"x": generator.normal(0, 1, events)}

def log_density(process, x, nuisances):
    mean = 0.8 * x[:, 1] if process == "signal" else 0.0
    return -0.5 * (x[:, 0] - mean) ** 2
"""
ANALYSIS = """
name = "parametrised"
physics = "physics.py"
[features]
names = ["x"]
parameters = ["theta"]
[samples.signal]
generate = "physics.py:signal"
events = 10_000
[samples.background]
generate = "physics.py:background"
events = 10_000
[ratios]
reference = ["background"]
targets = ["signal"]
[training]
layers = 2
nodes = 16
learning_rate = 5e-3
epochs = 12
members = 1
[model]
parameters.mu = {}
processes.signal = "mu"
[fit]
asimov = true
"""


@pytest.mark.usefixtures("no_figures")
def test_ratio_at_given_parameters(needle: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "analysis.toml").write_text(ANALYSIS)
    (tmp_path / "physics.py").write_text(PHYSICS)
    ended = needle("run", tmp_path, "--json")
    assert ended.code == 0, ended
    rng = np.random.default_rng(1)
    x, theta = rng.normal(size=2000), rng.uniform(-0.9, 0.9, 2000)
    parquet.write_table(pa.table({"x": x}), tmp_path / "plain.parquet")
    parquet.write_table(pa.table({"x": x, "theta": theta}), tmp_path / "with.parquet")
    for at, name, value in ((-0.7, "plain", -0.7), (None, "with", theta)):
        given = () if at is None else ("--at", f"theta={at}")
        ended = needle(
            "evaluate", "parametrised", "--events", tmp_path / f"{name}.parquet", "--out", "o.parquet", *given
        )
        assert ended.code == 0, ended
        found = parquet.read_table(tmp_path / "o.parquet")["signal.log_ratio"].to_numpy()
        assert np.abs(found - (0.8 * value * x - 0.32 * value**2)).mean() < 0.15
    ended = needle(
        "evaluate", "parametrised", "--events", tmp_path / "plain.parquet", "--out", "o.parquet", "--at", "tehta=1"
    )
    assert ended.code == 2
    assert '--at tehta: "tehta" is none of features.parameters; did you mean "theta"?' in ended.err
