"""Searches of other kinds: networks of particles, arguments of one's own networks, and how networks are combined."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from needle_parsl import files

JETS = """
name = "jets"
physics = "physics.py"
[features]
names = ["x1"]
[features.particles]
names = ["pt", "eta"]
collection = "Jet"
max = 4
[samples.signal]
files = ["signal.parquet"]
[samples.background]
files = ["background.parquet"]
[ratios]
reference = ["background"]
targets = ["signal"]
[training]
network = NETWORK
members = 2
folds = 2
batch_size = 256
epochs = 4
loss = "carl"
[split]
min_events = 50
[model]
parameters.mu = { bounds = [0.0, 5.0] }
processes.signal = "mu"
processes.background = "1"
[search]
space = SPACE
trials = 4
replicas = 2
metric = "ece"
scheduler = { name = "halving", grace_period = 1, max_epochs = 4, reduction_factor = 2 }
"""
PHYSICS = """
import torch
from torch import nn

class Jets(nn.Module):
    def __init__(self, features, particles, width=8, pooled="sum"):
        super().__init__()
        if width % 2:
            raise ValueError("width must be even")
        if pooled not in ("sum", "mean"):
            raise ValueError(f"pooled is {pooled}")
        self.phi, self.rho = nn.Linear(particles, width), nn.Linear(width + features, 1)
        self.pooled = pooled

    def forward(self, x, particles):
        values, mask = particles.padded()
        h = torch.relu(self.phi(values)) * mask[..., None]
        h = h.sum(1) if self.pooled == "sum" else h.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return self.rho(torch.cat([h, x], 1)).squeeze(-1)
"""
OWN = '{ _target_ = "physics.py:Jets" }'


def options(settings: Sequence[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture
def jets(tmp_path: Path) -> Callable[[str, str], Path]:
    """An analysis of jets, with a network and a space."""
    rng = np.random.default_rng(1)
    for name, shift in (("signal", 1.5), ("background", 1.0)):
        counts = rng.poisson(3, 600)
        columns = {
            "Jet_pt": [rng.exponential(shift, k).astype(np.float32) for k in counts],
            "Jet_eta": [rng.normal(0, 1, k).astype(np.float32) for k in counts],
        }
        parquet.write_table(
            pa.table({"x1": rng.normal(0, 1, 600).astype(np.float32), **columns}), tmp_path / f"{name}.parquet"
        )
    (tmp_path / "physics.py").write_text(PHYSICS)

    def written(network: str, space: str) -> Path:
        (tmp_path / "analysis.toml").write_text(JETS.replace("NETWORK", network).replace("SPACE", space))
        return tmp_path / "analysis.toml"

    return written


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "space"),
    [
        ('"deepset"', '{ nodes = "choice:4,8", learning_rate = "loguniform:1e-3,1e-1" }'),
        pytest.param(
            OWN, '{ network = { width = "qrandint:4,8,2", pooled = "choice:sum,mean" } }', marks=pytest.mark.campaign
        ),
    ],
)
def test_networks_of_particles(
    jets: Callable[[str, str], Path], needle: Callable[..., Any], tmp_path: Path, network: str, space: str
) -> None:
    root = tmp_path / "run"
    ended = needle("run", jets(network, space), "--out", root, "--until", "combine")
    assert ended.code == 0, ended
    found = files.read_json(root / "search" / "best.json")
    assert not [trial for trial in found["trials"] if trial["state"] == "failed"]
    with h5py.File(next((root / "packs").glob("*.h5"))) as file:
        shape = json.loads(file.attrs["shape"])
    best, own = found["chosen"][0]["settings"], json.loads(shape["arguments"])
    assert shape["particles"] == 2
    assert (own["width"] == best["network.width"]) if network == OWN else (shape["nodes"] == best["nodes"])


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ('pooled = "choice:sum,mean,max"', "search.space.network.pooled: has max, with which physics.py:"),
        ('width = "randint:4,8"', "search.space.network.width: has 7, with which physics.py:"),
    ],
)
def test_all_values_of_an_argument_are_tried_before_anything_runs(
    jets: Callable[[str, str], Path], inside: Callable[..., Any], space: str, said: str
) -> None:
    ended = inside("check", jets(OWN, f"{{ network = {{ {space} }} }}"))
    assert ended.code == 2, ended
    assert said in ended.err


@pytest.mark.slow
def test_the_ensemble_is_combined_as_the_search_has_found(
    small_inputs: Path, needle: Callable[..., Any], tmp_path: Path
) -> None:
    own = (
        'search.space={ ensemble = { combine = "choice:median_ratio,mean_score", calibration = "grid:none,histogram" } }',
        "search.trials=4", "search.sampler=grid", "search.replicas=4", 'search.metric=["ece", "val_loss"]', "search.pick=ece",
    )  # fmt: skip
    root = tmp_path / "run"
    ended = needle("run", small_inputs, "--out", root, "--until", "combine", *options(own))
    assert ended.code == 0, ended
    found = files.read_json(root / "search" / "best.json")
    best = found["chosen"][0]["settings"]
    losses = {trial["rungs"][0]["metrics"]["val_loss"]["value"] for trial in found["trials"]}
    assert len(losses) == 1  # the same networks
    assert len({trial["rungs"][0]["metrics"]["ece"]["value"] for trial in found["trials"]}) == 4
    for name in ("signal", "background.jes.up"):
        with h5py.File(root / "estimators" / name / "estimator.h5") as file:
            assert str(best["ensemble.combine"]) in str(dict(file.attrs))
            assert ("calibration" in file) == (best["ensemble.calibration"] != "none")
    # All else is as it is in a run that says so.
    plain = [f"ensemble.{name.removeprefix('ensemble.')}={value}" for name, value in best.items()]
    ended = needle("run", small_inputs, "--out", tmp_path / "plain", "--until", "combine", *options(plain))
    assert ended.code == 0, ended
    for path in sorted((root / "estimators").rglob("*.h5")):
        assert files.digest(path) == files.digest(tmp_path / "plain" / path.relative_to(root)), path
