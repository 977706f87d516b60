"""Small experiments as whole runs: binned regions alone, with toys and a belt, and data without an event."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from problems.poisson import exact

from needle_parsl import plan
from needle_parsl.analysis import load, read
from needle_parsl.plan import specs

COUNTING = """
name = "count"
[samples.signal]
files = ["signal.parquet"]
weight = "w"
[samples.background]
files = ["background.parquet"]
weight = "w"
[model]
parameters.mu = { nominal = 1.0, bounds = [0.0, 20.0] }
processes.signal = "mu"
processes.background = "1"
nuisances.norm = { rate = { background = [1.1, 0.9] } }
[model.regions.sr]
binning = { column = "x", edges = [0.0, 1.0] }
[fit]
data = { files = ["data.parquet"] }
blind = false
limit = 0.95
"""
BELT = """
[toys]
at = [{ mu = 2.0 }]
count = 20
[intervals]
method = "neyman"
grid = { start = 0.0, stop = 8.0, points = 5 }
toys_per_point = 40
"""
UNBINNED = """
name = "nothing"
[features]
names = ["x"]
selection = "x < 1"
[samples.signal]
files = ["signal.parquet"]
weight = "w"
[samples.background]
files = ["background.parquet"]
weight = "w"
[ratios]
reference = ["background"]
targets = ["background"]
[split]
min_events = 10
[model]
parameters.mu = { nominal = 1.0, bounds = [0.0, 20.0] }
processes.background = "mu"
[fit]
data = { files = ["data.parquet"] }
blind = false
limit = 0.95
"""


def table(path: Path, events: int, total: float, place: float = 0.5) -> None:
    x = np.full(events, place) - np.linspace(0, 1e-3, events)
    pq.write_table(pa.table({"x": x, "w": np.full(events, total / max(events, 1))}), path)


def folder(path: Path, text: str, observed: int, place: float = 0.5) -> Path:
    table(path / "signal.parquet", 2000, 1.0)
    table(path / "background.parquet", 2000, 3.0)
    table(path / "data.parquet", observed, float(observed), place)
    (path / "analysis.toml").write_text(text)
    return path


def record(path: Path) -> Any:
    return json.loads(path.read_text())


def test_plan_of_binned_regions_alone_has_the_stages_that_apply(tmp_path: Path) -> None:
    loaded = load(folder(tmp_path, COUNTING + BELT, 0))
    files = {name: (plan.File(path=name, digest=name, borders=(0, 10)),) for name in plan.sources(loaded.analysis)}
    made = plan.build(loaded.analysis, plan.Inputs(files=files, physics=plan.Physics("", ""), exact=False), pack=1)
    assert list(made.stages()) == [
        "convert",
        "count",
        "fit",
        "interval",
        "breakdown",
        "toys",
        "neyman",
        "coverage",
        "report",
    ]
    assert made.networks == 0
    assert made.tasks[-1].of(specs.Report).warnings == ()  # what is filled in was not said
    assert set(plan.sources(loaded.analysis)) == {"signal@sr", "background@sr", "observed@sr"}
    stated = load(tmp_path, ["samples.signal.yield=2.0"]).analysis
    assert "signal" in plan.sources(stated)  # of all of whose events the yield is


def test_counts_that_were_fitted_alone_are_not_those_beside_unbinned_events() -> None:
    """Only the latter were compared with the events that are fitted unbinned: none may count twice."""
    beside = specs.Count(region="sr", edges=(0.0, 1.0), samples=(), varied=(), observed=True)
    assert plan.digest(beside) != plan.digest(replace(beside, binned=True))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("bootstrap={}", "bootstrap: trains again, and without [ratios] nothing is trained; leave it out"),
        ("toys={generate='physics.py:toy'}", "toys.generate: makes events, and without [ratios] only bins are counted"),
        ("model.regions={}", "ratios: is missing; expected a table, or binned regions in [model.regions] alone"),
    ],
)
def test_what_has_no_meaning_without_ratios_is_said(tmp_path: Path, setting: str, message: str) -> None:
    found = read(folder(tmp_path, COUNTING, 0), [setting])
    assert any(message in str(problem) for problem in found.problems), found.problems


def test_what_is_said_of_learning_is_not_used(tmp_path: Path) -> None:
    found = read(folder(tmp_path, COUNTING, 0), ["training.members=3"])
    assert [str(w.key) for w in found.warnings] == ["training"]


def test_counting_experiment_without_an_event(tmp_path: Path, needle: Callable[..., Any]) -> None:
    """From check to the report: nothing is trained, and what is not there is not shown."""
    analysis = folder(tmp_path, COUNTING, 0)
    assert needle("check", analysis).code == 0
    ended = needle("run", analysis)
    assert ended.code == 0, ended.err
    assert "cannot be" not in ended.err
    run = tmp_path / "runs/count"
    assert not (run / "packs").exists()
    scan = record(run / "fits/scan.json")["intervals"]["0.95"]
    assert scan[0][0] == 0
    assert scan[0][1] == pytest.approx(1.92, abs=0.03)  # t = 2 mu without an event
    assert record(run / "fits/limits.json")["observed"] > 0
    page = (run / "report/index.html").read_text()
    assert "observed, 0 events" in page
    assert '<h2 id="ratios">' not in page
    assert "cannot be" not in page
    assert record(run / "report/summary.json")["result"].endswith("at its bound")
    exported = needle("export", run, "--to", tmp_path / "shared")
    assert (exported.code, "without [ratios] there are no estimators" in exported.err) == (2, True), exported


@pytest.mark.usefixtures("no_figures")
def test_unbinned_search_without_an_event(tmp_path: Path, needle: Callable[..., Any]) -> None:
    """t = 2 nu mu, whatever ratios there are."""
    analysis = folder(tmp_path, UNBINNED, 7, place=5.0)
    ended = needle("run", analysis)
    assert ended.code == 0, ended.err
    scan = record(tmp_path / "runs/nothing/fits/scan.json")["intervals"]["0.95"]
    assert scan[0][1] == pytest.approx(3.841 / 6, abs=2e-3)


@pytest.mark.campaign
def test_counting_experiment_with_toys_and_a_belt(tmp_path: Path, needle: Callable[..., Any]) -> None:
    ended = needle("run", folder(tmp_path, COUNTING + BELT, 4))
    assert ended.code == 0, ended.err
    belt = record(tmp_path / "runs/count/intervals/neyman.json")
    assert all(len(pieces) == 1 for pieces in belt["intervals"].values())
    assert record(tmp_path / "runs/count/intervals/coverage.json")["points"][0]["toys"] == 20
    assert "cannot be" not in (tmp_path / "runs/count/report/index.html").read_text()


KNOWN = COUNTING.replace("nuisances.norm = { rate = { background = [1.1, 0.9] } }\n", "").replace(
    "limit = 0.95", "staterror = false"
)
GRID = """
[intervals]
method = "neyman"
grid = { start = 0.0, stop = 15.5, points = 32 }
toys_per_point = 2000
level = [0.9]
"""


@pytest.mark.campaign
def test_feldman_cousins_intervals_of_eleven_runs(tmp_path: Path, needle: Callable[..., Any]) -> None:
    """A known background of 3, and 0 to 10 observed events: ends within two errors of the toys' quantiles and a step of the grid."""
    fine, error, step = np.linspace(0, 16, 801), 2 * np.sqrt(0.9 * 0.1 / 2000), 0.5
    for n in range(11):
        ended = needle("run", folder(tmp_path, KNOWN + GRID, n))  # the toys are those of the run before
        assert ended.code == 0, ended.err
        ((low, high),) = record(tmp_path / "runs/count/intervals/neyman.json")["intervals"]["0.9"]
        narrow, wide = exact(n, 0.9 - error, fine), exact(n, 0.9 + error, fine)
        assert wide[0] - step <= low <= narrow[0] + step
        assert narrow[1] - step <= high <= wide[1] + step


@pytest.mark.parametrize(
    ("edges", "selection", "code"),
    [("[1.0, 2.0]", "", 0), ("[0.0, 0.4999, 1.0]", "x < 0.49999", 2)],
)
def test_regions_that_share_events_are_refused(
    tmp_path: Path, needle: Callable[..., Any], edges: str, selection: str, code: int
) -> None:
    """What is outside of the bins is counted in none, and may be in the selection of both."""
    more = f'[model.regions.cr]\nselection = "{selection}"\nbinning = {{ column = "x", edges = {edges} }}\n'
    analysis = folder(tmp_path, COUNTING.replace("[fit]", f"{more}[fit]"), 3)
    for name, total in (("signal", 0.5), ("background", 6.0)):
        table(tmp_path / f"{name}_cr.parquet", 1000, total, 1.5)
    files = [f"samples.{name}.files=['{name}.parquet', '{name}_cr.parquet']" for name in ("signal", "background")]
    ended = needle("run", analysis, "--until", "fit", "--set", files[0], "--set", files[1])
    assert ended.code == code, ended.err
    shared = "model.regions.cr.selection: * events of signal are in this region and in region sr, and would count twice; make the "
    assert all(part in ended.err for part in shared.split("*")) == (code == 2)


@pytest.mark.usefixtures("no_figures")
def test_one_observed_event_beside_ratios(tmp_path: Path, needle: Callable[..., Any]) -> None:
    """t of mu = 3 mu - ln(3 mu) - 1, for one event where mu 3 are expected."""
    ended = needle("run", folder(tmp_path, UNBINNED, 1))
    assert ended.code == 0, ended.err
    ((low, high),) = record(tmp_path / "runs/nothing/fits/scan.json")["intervals"]["0.68"]
    assert (3 * low, 3 * high) == pytest.approx((0.303, 2.358), abs=0.02)  # the likelihood interval of one event
