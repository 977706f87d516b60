"""A run on features as they are: tails, angles, placeholders and NaN, categories; from check to `needle evaluate`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from needle_parsl.nsbi.estimators import files
from needle_parsl.nsbi.training import packs

Needle = Callable[..., Any]
ANALYSIS = """
name = "tails"
[features]
names = ["pt", "met", "phi", "tail", "pt2", "eta2", "m", "nj"]
missing = [-25.0, "nan"]
[features.transform]
nj = "onehot"
[samples.signal]
files = ["signal.parquet"]
yield = 100.0
[samples.background]
files = ["background.parquet"]
yield = 400.0
[split]
min_events = 100
[ratios]
reference = ["background"]
targets = ["signal", "background"]
[training]
members = 2
epochs = 2
layers = 1
nodes = 8
[model]
parameters.mu = { bounds = [0.0, 5.0] }
processes.signal = "mu"
processes.background = "1"
"""


def columns(n: int, scale: float, seed: int) -> dict[str, np.ndarray]:
    """Features of a process: pt2 and eta2 are missing together, m is NaN now and then."""
    rng = np.random.default_rng(seed)
    there = rng.random(n) < 0.6
    return {
        "pt": 20 + rng.exponential(30 * scale, n), "met": rng.lognormal(3, 1, n), "phi": rng.uniform(-np.pi, np.pi, n),
        "tail": scale * rng.standard_t(2, n), "pt2": np.where(there, 15 + rng.exponential(20, n), -25.0),
        "eta2": np.where(there, rng.normal(0, 1.5, n), -25.0), "m": np.where(rng.random(n) < 0.9, rng.gamma(4, 20 * scale, n), np.nan),
        "nj": np.minimum(rng.poisson(2, n), 5),
    }  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to its exported estimators, and new events beside it."""
    folder = tmp_path_factory.mktemp("tails")
    (folder / "analysis.toml").write_text(ANALYSIS)
    new = columns(500, 1.2, 3)
    odd = {**new, "nj": np.where(np.arange(500) < 2, 9, new["nj"])}
    for name, found in (
        ("signal", columns(2000, 1.4, 1)),
        ("background", columns(2500, 1, 2)),
        ("new", new),
        ("odd", odd),
    ):
        parquet.write_table(pa.table(found), folder / f"{name}.parquet")
    command = [sys.executable, "-m", "needle_parsl", "run", "analysis.toml", "--until", "export"]
    subprocess.run(command, cwd=folder, check=True, timeout=300)
    return folder


@pytest.mark.slow
def test_networks_get_what_suits_the_features(made: Path) -> None:
    pack = packs.read(next((made / "runs" / "tails" / "packs").rglob("*.h5")))
    transform = pack.transform
    assert [column.kind for column in transform.columns] == [
        "robust", "log", "cyclic", "arcsinh", "robust", "robust", "robust", "onehot",
    ]  # fmt: skip
    assert transform.names[-2:] == ("missing(pt2, eta2)", "missing(m)")
    assert pack.shape.features == transform.outputs == 7 + 1 + 6 + 2
    assert all(not member.reason for member in pack.members)


def test_torch_and_onnx_evaluate_missing_values_alike(made: Path, needle: Needle) -> None:
    """With NaN and placeholders, in new files, too."""
    run = made / "runs" / "tails"
    table = parquet.read_table(made / "new.parquet")
    x = np.column_stack([table[name].to_numpy() for name in table.column_names]).astype(np.float32)
    expected = files.read(run / "estimators" / "signal" / "estimator.h5").log_ratio(x)
    assert np.isfinite(expected).all()
    plain = shutil.copytree(run, made / "plain")
    for path in plain.rglob("*.onnx"):
        path.unlink()
    engines = {"torch": plain}
    if list(run.rglob("*.onnx")):
        engines["onnxruntime"] = run
    for engine, root in engines.items():
        ended = needle("evaluate", root, "--events", "new.parquet", "-o", f"{engine}.parquet", "--json", cwd=made)
        assert ended.code == 0, ended.err
        assert ended.json()["engine"] == engine
        found = parquet.read_table(made / f"{engine}.parquet")["signal.log_ratio"].to_numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)
        ended = needle("evaluate", root, "--events", "odd.parquet", "-o", "odd_.parquet", cwd=made)
        assert ended.code == 2
        assert 'odd.parquet: feature "nj" is 9 in 2 events, and in no training event of signal' in ended.err
        assert not (made / "odd_.parquet").exists()
