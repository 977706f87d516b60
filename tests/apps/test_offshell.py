"""The off-shell app: its densities and rates are those of its events."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from line import unbiased_and_covering

from needle_parsl import refs, shipped

APP = shipped.folder("apps") / "offshell"
PHYSICS = refs.load_source((APP / "physics.py").read_text(), str(APP / "physics.py"))

SMALLER = """
[fit]
impacts = []
minos   = false
scan    = { start = 0.5, stop = 1.5, points = 5 }

[toys]
generate = "physics.py:pseudo_data"
at       = [{ mu = 0.3 }, { mu = 1.0 }, { mu = 2.0 }]
count    = 100
block    = 100
"""
"""Takes the place of what the app says of fits and toys."""
EVENTS = {f"samples.{name}.events": 150_000 for name in ("signal", "sbi", "background")}
TRAINING = {"training.layers": 2, "training.nodes": 32, "training.epochs": 12, "training.members": 2}


def features(columns: dict[str, np.ndarray]) -> np.ndarray:
    return np.column_stack([np.log(columns["m4l"]), *(columns[name] for name in PHYSICS.FEATURES[1:])])


@pytest.mark.parametrize("process", PHYSICS.AMPLITUDES)
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_density_is_normalised_and_describes_the_weighted_events(process: str, alpha: float) -> None:
    """The mean of p_other / p over events of p is 1, whatever the other density is."""
    made = PHYSICS.sample(process, 40_000, alpha)
    x, weight = features(made), made["weight"]
    low, high = np.log(PHYSICS.EDGES["signal"])
    inside = (x[:, 0] >= low) & (x[:, 0] < high)
    assert weight[inside].sum() == pytest.approx(PHYSICS.rate(PHYSICS.AMPLITUDES[process][0], alpha, "signal", PHYSICS.AMPLITUDES[process][1]))  # fmt: skip
    share = weight[inside] / weight[inside].sum()
    own = PHYSICS.log_density(process, x[inside], {"jes": alpha})
    for other in PHYSICS.AMPLITUDES:
        ratio = np.exp(PHYSICS.log_density(other, x[inside], {"jes": alpha}) - own)
        mean = share @ ratio
        assert mean == pytest.approx(1, abs=1e-12 + 5 * np.sqrt((share**2) @ (ratio - mean) ** 2))


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.0])
def test_pseudo_data_has_the_rate_of_the_basis(mu: float) -> None:
    """Counts in both regions, over 300 data sets, are f_j(mu) times the rates of S, SBI and B."""
    s, rng = np.sqrt(mu), np.random.default_rng(1)
    parameters = {"mu": mu, "jes": 0.0, "lumi": 0.0, "kfactor": 0.0}
    masses = [PHYSICS.pseudo_data(rng, parameters)["m4l"] for _ in range(300)]
    for region, (low, high) in PHYSICS.EDGES.items():
        basis = [PHYSICS.rate(s_, 0.0, region, b) for s_, b in PHYSICS.AMPLITUDES.values()]
        expected = float(np.array([mu - s, s, 1 - s]) @ basis)
        counts = [((m >= low) & (m < high)).sum() for m in masses]
        assert np.mean(counts) == pytest.approx(expected, abs=5 * np.sqrt(expected / 300))


@pytest.mark.campaign
def test_a_hundred_toys_from_the_amplitudes_at_each_truth(needle: Callable[..., Any], tmp_path: Path) -> None:
    """With smaller and fewer networks than the app has; the campaign takes 2,000 with those of the app."""
    app = shutil.copytree(APP, tmp_path / "app")
    (app / "analysis.toml").write_text((app / "analysis.toml").read_text().partition("[fit]")[0] + SMALLER)
    settings = [word for key, value in {**EVENTS, **TRAINING}.items() for word in ("--set", f"{key}={value}")]
    ended = needle("run", app, "--until", "coverage", *settings)
    assert ended.code == 0, ended.err
    unbiased_and_covering(tmp_path / "runs" / "offshell", 3, 100, errors=2)
