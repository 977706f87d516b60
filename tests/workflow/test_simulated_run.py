"""A parameter of the simulation from the events to the fit: a resonance whose mass is a feature of the networks, and free in the fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import mass

from needle_parsl.nsbi.statistics import dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise

PHYSICS = """
import numpy as np

def signal(generator, events):
    mass = generator.uniform(-1.2, 1.2, events)
    return {"x": generator.normal(2 + mass, 0.7), "mass": mass}

def background(generator, events):
    return {"x": generator.normal(1, 1.5, events)}

def observed(generator, events):
    n = generator.poisson([1.09 * 150, 700])
    return {"x": np.concatenate([generator.normal(2.3, 0.7, n[0]), generator.normal(1, 1.5, n[1])])}
"""
ANALYSIS = """
name = "mass"
physics = "physics.py"
[features]
names = ["x"]
parameters = ["mass"]
[samples.signal]
generate = "physics.py:signal"
events = EVENTS
yield = 150.0
[samples.background]
generate = "physics.py:background"
events = EVENTS
yield = 700.0
[ratios]
reference = ["background"]
targets = ["signal", "background"]
[training]
layers = 2
nodes = 24
learning_rate = 4e-3
epochs = 15
members = 2
[model]
parameters.mu = { bounds = [0.0, 4.0] }
parameters.mass = { nominal = 0.0, bounds = [-1.0, 1.0], role = "free" }
processes.signal = "mu * (1 + 0.3 * mass)"
processes.background = "1"
nuisances.lumi = { rate = { signal = [1.05, 0.9523809523809523] }, interpolation = "code1" }
[fit]
data = { generate = "physics.py:observed" }
blind = false
LOOKS
[toys]
at = [{ mu = 1.0, mass = 0.5 }]
count = TOYS
source = "model"
pool = 1
[split]
min_events = 300
"""


FEW = """scan = { start = 0.5, stop = 2.0, points = 5 }
goodness = 0"""


def written(folder: Path, events: int, toys: int, looks: str = FEW, **changes: str) -> Path:
    folder.mkdir()
    text = ANALYSIS.replace("EVENTS", str(events)).replace("TOYS", str(toys)).replace("LOOKS", looks)
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / "analysis.toml").write_text(text)
    (folder / "physics.py").write_text(PHYSICS)
    return folder


def exact(run: Path) -> dict[str, tuple[float, float]]:
    """Fit the observed events of a run with exact ratios; the same simulated events are behind Z."""
    read = [dataset.read(run / f"ratios/{name}.h5") for name in ("observed", "asimov")]
    likelihood = mass.BUILDER.likelihood(*map(exactly, read))
    best = minimise(likelihood, likelihood.rates)
    return {name: (best.value(name), best.error(name)) for name in best.parameters}


def exactly(events: dataset.Dataset) -> dataset.Dataset:
    """The same events with exact ratios."""
    return replace(events, ratios=mass.ratios(events.x[:, 0].astype(np.float64)))


def shifts(run: Path) -> dict[str, float]:
    """Learned minus exact parameters of physics, in exact errors."""
    found = json.loads((run / "fits/observed.json").read_text())["parameters"]
    return {name: (found[name]["value"] - exact(run)[name][0]) / exact(run)[name][1] for name in ("mu", "mass")}


@pytest.mark.usefixtures("no_figures")
def test_mass_is_fitted_along(needle: Callable[..., Any], tmp_path: Path) -> None:
    """Fit, toys at another mass and exported files from a small run, whose networks are good to about half an error."""
    folder = written(tmp_path / "analysis", 20_000, 4)
    ended = needle("run", "--site", "local", folder)
    assert ended.code == 0, ended.err
    run = tmp_path / "runs" / "mass"
    assert {name: abs(shift) < 1.0 for name, shift in shifts(run).items()} == {"mu": True, "mass": True}
    (point, *_) = json.loads((run / "intervals/coverage.json").read_text())["points"]
    assert (point["truth"]["mass"], point["toys"], point["failed"]) == (0.5, 4, 0)
    assert json.loads((run / "estimators/all.json").read_text())["exported"]
    assert "0 tasks done" in needle("run", "--site", "local", folder).out


def test_values_beyond_the_simulation_are_refused(needle: Callable[..., Any], tmp_path: Path) -> None:
    folder = written(tmp_path / "analysis", 3000, 10, **{"[-1.0, 1.0]": "[-2.0, 1.0]"})
    ended = needle("run", "--site", "local", folder, "--until", "evaluate", "--set", "training.epochs=1")
    assert ended.code == 2
    assert "model.parameters.mass: -2 is outside of -1.2 to 1.2, where signal was simulated" in ended.err
    shutil.rmtree(folder)


@pytest.mark.campaign
def test_learned_fit_is_the_exact_one(needle: Callable[..., Any], tmp_path: Path) -> None:
    """With 100,000 events, mu and mass are within 0.2 errors of the exact fit; 200 toys at another mass are unbiased and cover."""
    folder = written(tmp_path / "analysis", 100_000, 200, "limit = 0.95")
    better = ("training.members=5", "training.nodes=64", "training.epochs=40", "training.layers=3")
    ended = needle("run", "--site", "local", folder, *(part for one in better for part in ("--set", one)))
    assert ended.code == 0, ended.err
    run = tmp_path / "runs" / "mass"
    assert max(map(abs, shifts(run).values())) < 0.2, shifts(run)
    assert json.loads((run / "fits/limits.json").read_text())["observed"] > 0
    (point, *_) = json.loads((run / "intervals/coverage.json").read_text())["points"]
    assert abs(point["coverage"] - 0.68) < 2.5 * point["error"], point
    assert abs(point["pull_mean"]) < 3 * point["pull_mean_error"], point
