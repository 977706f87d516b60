"""Two parameters of interest as a whole run: intervals, scans, impacts, limits and the breakdown of each, their plane and Neyman region."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from needle_parsl import plan
from needle_parsl.analysis import Plane, load
from needle_parsl.plan import specs

TWO = """
name = "two"
[samples.left]
files = ["left.parquet"]
weight = "w"
[samples.right]
files = ["right.parquet"]
weight = "w"
[samples.background]
files = ["background.parquet"]
weight = "w"
[model]
parameters.mu = { nominal = 1.0, bounds = [0.0, 4.0] }
parameters.k = { nominal = 1.0, bounds = [0.0, 4.0] }
processes.left = "mu"
processes.right = "k"
processes.background = "1"
nuisances.lumi = { rate = { left = [1.03, 0.97], right = [1.03, 0.97], background = [1.03, 0.97] } }
nuisances.norm = { rate = { background = [1.05, 0.95] } }
[model.regions.sr]
binning = { column = "x", edges = [0.0, 0.5, 1.0] }
[fit]
limit = 0.95
"""
SHARES = {"left": (0.8, 0.2), "right": (0.3, 0.7), "background": (0.5, 0.5)}
EVENTS = {"left": 400.0, "right": 300.0, "background": 500.0}


def folder(path: Path, text: str = TWO) -> Path:
    """Three processes, each with its shares of the two bins."""
    for name, (first, _) in SHARES.items():
        x = np.where(np.arange(4000) < 4000 * first, 0.25, 0.75) + np.linspace(0.0, 1e-3, 4000)
        pq.write_table(pa.table({"x": x, "w": np.full(4000, EVENTS[name] / 4000)}), path / f"{name}.parquet")
    (path / "analysis.toml").write_text(text)
    return path


def planned(path: Path, *settings: str) -> plan.Plan:
    analysis = load(folder(path), [*settings]).analysis
    files = {name: (plan.File(path=name, digest=name, borders=(0, 10)),) for name in plan.sources(analysis)}
    return plan.build(analysis, plan.Inputs(files=files, physics=plan.Physics("", ""), exact=False), pack=1)


def names(made: plan.Plan, kind: type) -> set[str]:
    return {task.name for task in made.tasks if isinstance(task.spec, kind)}


def test_each_parameter_has_its_tasks(tmp_path: Path) -> None:
    made = planned(tmp_path)
    assert names(made, specs.Interval) == {"scan", "scan_statistical", "scan.k", "scan_statistical.k"}
    assert names(made, specs.ImpactsSpec) == {"impacts", "impacts.k"}
    assert names(made, specs.LimitsSpec) == {"limits", "limits.k"}
    assert names(made, specs.BreakdownSpec) == {"breakdown", "breakdown.k"}
    (fit,) = (task.spec for task in made.tasks if task.stage.name == "fit")
    assert fit.minos == ("mu", "k")
    assert made.tasks[-1].of(specs.Report).further == ("k",)


def test_the_named_one_is_the_first(tmp_path: Path) -> None:
    made = planned(tmp_path, "intervals.parameter=k")
    assert names(made, specs.LimitsSpec) == {"limits", "limits.mu"}


def test_two_parameters_have_a_plane_of_their_own(tmp_path: Path) -> None:
    strips = [task.spec for task in planned(tmp_path).tasks if isinstance(task.spec, specs.PlaneRows)]
    assert {strip.plane for strip in strips} == {Plane(("mu", "k"))}
    alone = planned(tmp_path, "model.parameters.k.role=free")
    assert not names(alone, specs.PlaneRows)


REGION = """
[intervals]
method = "neyman"
toys_per_point = 60
grid = { mu = { start = 0.6, stop = 1.4, points = 6 }, k = { start = 0.4, stop = 1.6, points = 5 } }
"""


def test_region_has_toys_at_each_pair(tmp_path: Path) -> None:
    analysis = load(folder(tmp_path, TWO + REGION)).analysis
    files = {name: (plan.File(path=name, digest=name, borders=(0, 10)),) for name in plan.sources(analysis)}
    made = plan.build(analysis, plan.Inputs(files=files, physics=plan.Physics("", ""), exact=False), pack=1)
    toys = [task.of(specs.ToysSpec) for task in made.tasks if task.stage.name == "toys"]
    assert len(toys) == 30
    assert {toy.also for toy in toys} == {("k",)}
    assert all(toy.profiled and toy.poi == "mu" for toy in toys)
    (last,) = (task for task in made.tasks if task.stage.name == "neyman")
    assert last.place == "intervals/neyman_region.json"
    pairs = [dict(toy.truth) for toy in toys]
    assert pairs[0] == {"mu": 0.6, "k": 0.4}
    assert pairs[1] == pytest.approx({"mu": 0.6, "k": 0.7})


def test_whole_run_of_two_parameters(tmp_path: Path, needle: Callable[..., Any]) -> None:
    ended = needle("run", folder(tmp_path, TWO + REGION))
    assert ended.code == 0, ended.err
    run = tmp_path / "runs/two"
    said = [line for line in ended.out.splitlines() if line.startswith(("mu = ", "k = ", "correlations"))]
    assert [line.split()[0] for line in said] == ["mu", "k", "correlations:"]
    summary = json.loads((run / "report/summary.json").read_text())
    fit = json.loads((run / "fits/asimov.json").read_text())
    assert list(summary["further"]) == ["k"]
    assert summary["further"]["k"]["value"] == pytest.approx(1.0, abs=1e-3)
    scan = json.loads((run / "fits/scan.k.json").read_text())
    assert summary["further"]["k"]["intervals"] == scan["intervals"]
    assert fit["parameters"]["k"]["minos"] == pytest.approx(scan["intervals"]["0.68"][0], abs=0.01)
    v = np.array(fit["covariance"])[:2, :2]
    assert summary["correlations"]["mu"]["k"] == pytest.approx(v[0, 1] / np.sqrt(v[0, 0] * v[1, 1]))
    assert set(summary["breakdown"]) == {"mu", "k"}
    text = (run / "report/index.html").read_text()
    assert "cannot be" not in text
    assert text.count("at 95 % CL (asymptotic CLs)") == 2
    assert "impact on k" in text
    assert {"interest.png", "likelihood.png", "impacts.png", "plane.png"} <= {
        p.name for p in (run / "report").iterdir()
    }
    found = json.loads((run / "intervals/neyman_region.json").read_text())
    for level, q in (("0.68", 2.28), ("0.95", 5.99)):
        for n, name in enumerate(("mu", "k")):
            low, high = found["extents"][level][name]
            assert high - low == pytest.approx(2 * np.sqrt(q * v[n, n]), rel=0.15)
    assert [line for line in ended.out.splitlines() if line.startswith("68 % Neyman region: mu from 0.8")]
    assert summary["neyman_region"] == found["extents"]
    assert "Neyman construction of two parameters" in text
    assert (run / "report/region.png").exists()
