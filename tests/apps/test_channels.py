"""Two unbinned regions and a binned one from one file: the learned fit against the exact one of the same events, and toys of all regions."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from channels import APP, JETS, PHYSICS, exactly, fit, points

from needle_parsl.analysis import load

EVENTS = 8_000
"""Of each sample."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, matplotlib_hidden: Path) -> Path:
    """A run of the app with few events and networks, twice: there is nothing to do the second time."""
    fewer = [f"samples.{name}.events={EVENTS}" for name in ("signal", "background")]
    fewer += ["training.epochs=8", "training.members=1", "split.cross=2", "toys.count=100"]
    fewer += ["fit.scan={ start = 0.0, stop = 2.5, points = 6 }", "fit.goodness=20"]
    settings = [part for one in fewer for part in ("--set", one)]
    folder = tmp_path_factory.mktemp("channels")
    for said in ("0 reused, 0 failed", "0 tasks done"):
        command = [sys.executable, "-m", "needle_parsl", "run", "--site", "local", str(APP), *settings]
        hidden = {**os.environ, "PYTHONPATH": f"{matplotlib_hidden}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        ended = subprocess.run(
            command, cwd=folder, env=hidden, capture_output=True, text=True, timeout=900, check=False
        )
        assert ended.returncode == 0, ended.stderr
        assert said in ended.stdout + ended.stderr
    return folder / "runs" / "channels"


def test_nuisance_is_trained_where_it_acts(run: Path) -> None:
    trained = {path.parent.name for path in run.glob("estimators/*/estimator.h5")}
    assert trained == {"signal", "background.scale.up", "background.scale.down"}
    other = {path.parent.name for path in run.glob("analyses/one_jet/estimators/*/estimator.h5")}
    assert other == trained | {"background.width.up", "background.width.down"}


@pytest.mark.parametrize("data", ["observed", "asimov"])
def test_learned_fit_is_the_exact_one(run: Path, data: str) -> None:
    """Ratios that are normalised on so few simulated events are off as these scatter, and the fit says by how much."""
    learned, best = fit(run, data)["parameters"]["mu"], exactly(run, load(APP), data)
    known = math.hypot(learned["simulation_error"], learned["ensemble_error"])
    assert known < 0.8 * best.error("mu")
    assert abs(learned["value"] - best.value("mu")) < 3 * known
    assert learned["error"] == pytest.approx(best.error("mu"), rel=0.15)


def test_yields_are_shares_of_the_stated_ones(run: Path) -> None:
    (table,) = fit(run, "regions")["tables"]
    found = {row[0]: [float(cell.split()[0]) for cell in row[2:4]] for row in table["rows"]}
    for region, jets in JETS.items():
        for value, process in zip(found[region], ("signal", "background"), strict=True):
            share = PHYSICS.JETS[process][jets]
            spread = math.sqrt(2 * share * (1 - share) / EVENTS)  # of two samples of events
            assert value / PHYSICS.YIELD[process] == pytest.approx(share, abs=4 * spread)


def test_report_shows_all_regions(run: Path) -> None:
    page = (run / "report/index.html").read_text()
    for words in ("Unbinned regions", "Networks of one_jet", "control"):
        assert words in page, words
    shown = fit(run, "distributions")
    assert {"mass in no_jet", "recoil in one_jet", "ln r of signal in one_jet"} <= set(shown["columns"])
    assert set(shown["regions"]) == {"control"}


def test_toys_of_all_regions_are_compiled_and_cover(run: Path) -> None:
    point, *_ = points(run)
    assert point["toys"] == 100
    assert point["failed"] == 0
    assert abs(point["bias"]) < 0.35 * point["spread"]
