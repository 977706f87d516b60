"""Joint variations from the file to the fit: one network learns what two nuisance parameters do to a background, alone and together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from problems import shifted

from needle_parsl.nsbi.statistics import dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.builder import Builder

ANALYSIS = """
name = "shifted"
[features]
names = ["x", "y"]
[samples.signal]
files = ["signal.parquet"]
yield = 40.0
[samples.background]
files = ["background.parquet"]
yield = 200.0
VARIATIONS
[ratios]
reference = ["background"]
targets = ["signal", "background"]
[training]
layers = 1
nodes = 32
learning_rate = 1e-2
epochs = 20
members = 1
[split]
cross = 2
min_events = 300
[model]
parameters.mu = { bounds = [0.0, 5.0] }
processes.signal = "mu"
processes.background = "1"
nuisances.jes = { interpolation = "exp_quadratic" }
nuisances.met = { interpolation = "exp_quadratic" }
[fit]
data = ["observed.parquet"]
blind = false
goodness = 0
impacts = []
asimov = false
scan = { start = 0.4, stop = 1.8, points = 5 }
[intervals]
level = [0.68]
[toys]
at = [{ jes = 1.0, met = 1.0 }]
count = 6
source = "model"
pool = 1
"""


def written(folder: Path, events: int) -> Path:
    folder.mkdir()
    shifted.files(folder, events)
    (folder / "analysis.toml").write_text(ANALYSIS.replace("VARIATIONS", shifted.toml(shifted.GRID[4:])))
    return folder


def exact(run: Path, builder: Builder) -> dict[str, tuple[float, float]]:
    """Fit the observed events of a run with exact ratios; the same simulated events are behind Z."""
    seen, simulated = (shifted.exactly(dataset.read(run / f"ratios/{name}.h5")) for name in ("observed", "asimov"))
    likelihood = builder.likelihood(seen, simulated)
    best = minimise(likelihood, likelihood.rates)
    return {name: (best.value(name), best.error(name)) for name in best.parameters}


@pytest.mark.usefixtures("no_figures")
def test_fit_far_from_nominal_is_the_exact_one(needle: Callable[..., Any], tmp_path: Path) -> None:
    """At jes = 1.2 and met = -1.2 the learned best fit is within 0.3 errors of the exact one, which is elsewhere without the cross term."""
    folder = written(tmp_path / "analysis", 4_000)
    ended = needle("run", "--site", "local", folder)
    assert ended.code == 0, ended.err
    run = tmp_path / "runs" / "shifted"
    found = json.loads((run / "fits/observed.json").read_text())["parameters"]
    true, without = exact(run, shifted.EXACT), exact(run, shifted.WITHOUT)
    for name, (value, error) in true.items():
        assert abs(found[name]["value"] - value) < 0.3 * error, (name, found[name], true[name])
    assert any(abs(without[name][0] - true[name][0]) > 0.3 * true[name][1] for name in shifted.NAMES)
    closure = json.loads((run / "fits/closure.json").read_text())["variations"]
    (together,) = (one for one in closure if one["name"] == "jes=1,met=1")
    assert all(abs(one["value"] - one["true"]) < 0.3 * one["error"] for one in together["parameters"]), together
    (point,) = json.loads((run / "intervals/coverage.json").read_text())["points"]
    assert (point["toys"], point["failed"]) == (6, 0)
    assert "0 tasks done" in needle("run", "--site", "local", folder).out
