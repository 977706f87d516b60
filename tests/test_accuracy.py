"""`scripts/bench_accuracy.py`: its arms agree where they must, what fails is counted, and a short form of the table."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import PROBLEMS, Problem, exact

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.nsbi.statistics.model.builder import Builder

SCRIPTS = Path(__file__).parents[1] / "scripts"
SMALL = {"layers": 2, "nodes": 32, "members": 1, "epochs": 15, "learning_rate": 5e-3, "batch_size": 512}
"""Networks that learn the problem in seconds."""


def bench(out: Path, *arguments: str) -> dict[str, Any]:
    """Run the script; give its line of JSON."""
    command = [sys.executable, str(SCRIPTS / "bench_accuracy.py"), "--out", str(out), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.strip().splitlines()[-1])


@pytest.mark.slow
def test_learned_ratios_are_near_exact_ones(tmp_path: Path) -> None:
    """One problem, one seed. The limit is that of a ratio that is normalised on simulated events, however well it is learned.

    A factor 1 + d of the signal's ratio moves mu by nu_s d sigma_mu^2. d has about the error sqrt(Var r / N) where N events of
    the reference say what it is.
    """
    events, problem = 10_000, PROBLEMS["seam"]
    settings = [word for name, value in SMALL.items() for word in ("--set", f"training.{name}={value}")]
    line = bench(
        tmp_path, "--problems", "seam", "--sizes", str(events), "--seeds", "1", "--data", "8", "--processes", "1", *settings
    )  # fmt: skip
    (row,) = line["raw"]["rows"]
    x = problem.draw("background", np.random.default_rng(1), 20_000)
    variance = np.exp(exact.log_ratios(problem, x)["signal"]).var()
    unit = problem.processes["signal"].events * 0.17 * np.sqrt(variance / events)  # sigma_mu is 0.17
    assert unit < 0.8
    assert row["lost"] == len(row["failed"]) == 0
    assert abs(row["mean"]) < 3 * unit
    assert 0.01 < row["spread"] < 0.6  # equal arms would have none
    assert 0.85 < row["error"] < 1.15
    assert 0.01 < row["sd_r"][1] < 0.8
    assert abs(row["finite"][0]) < 3 * unit
    assert abs(row["pulls"][0]) == pytest.approx(
        abs(row["mean"]) / row["stated"], rel=0.2
    )  # exact errors are nearly equal
    assert row["total"] > row["error_range"][0]
    assert 0 < row["halves"] <= row["single"]
    assert 0.5 < row["back"][0] < row["back"][1] < 1.5
    assert line["ratios"]["without_result_10000"]["value"] == 0
    cells = json.loads((tmp_path / "accuracy.json").read_text())[0]
    assert [len(cell["data"]) for cell in cells] == [8]
    assert "| seam | 10,000 |" in (tmp_path / "accuracy.md").read_text()


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module behind the script."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import accuracy_cell

    return accuracy_cell


def test_runs_without_a_result_are_counted(cell: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import bench_accuracy

    task = cell.Task("gaussian", 1000, (1, 2), ("training.epochs=0",), 2, resample=False)
    cells = cell.measure(task, tmp_path)
    assert capsys.readouterr().err.count(": failed, ") == 2
    row = bench_accuracy.summary(cells)
    assert ["training.epochs" in reason for reason in row["failed"]] == [True, True]
    assert bench_accuracy.limits([row]) == {"without_result_1000": (2.0, 0.0, "runs and fits")}
    last = bench_accuracy.markdown([row], [], 2).rstrip().splitlines()[-1]
    assert last.startswith("| gaussian | 1,000 | - |")
    assert last.count("|") == len(bench_accuracy.HEADER) + 1


def test_what_has_been_measured_counts_in_a_later_table(cell: Any, tmp_path: Path) -> None:
    """Seeds of earlier invocations are read with the options they were measured with, and no failures."""
    import bench_accuracy

    task = cell.Task("gaussian", 1000, (2,), (), 2, resample=False)
    for seed in (3, 1):
        cell.keep(task, {"problem": "gaussian", "seed": seed, "spread": np.float64(0.5)}, tmp_path)
    cell.keep(task, {"seed": 4, "failed": "no fit"}, tmp_path)
    assert cell.all_seeds(task, tmp_path) == (1, 2, 3)
    assert [one["seed"] for one in bench_accuracy.known(task, tmp_path)] == [1, 3]
    assert cell.read(task, 1, tmp_path) == {"problem": "gaussian", "seed": 1, "spread": 0.5}
    assert cell.read(replace(task, data=3), 1, tmp_path) is None
    assert cell.read(replace(task, settings=("seed=9",)), 1, tmp_path) is None


@pytest.mark.usefixtures("cell")
def test_problems_that_miss_a_target_are_named_with_by_how_much() -> None:
    import bench_accuracy

    good = {"mean": 0.1, "spread": 0.2, "error": 1.0, "halves": 0.1, "back": (0.95, 1.0), "total": 1.2, "covers": 0.68, "failed": [], "lost": 0}  # fmt: skip
    rows = [{"problem": name, "events": size, **good} for name in ("gaussian", "peak") for size in (200_000, 5000)]
    assert bench_accuracy.misses(rows) == []
    assert "none. All is as it is wanted." in bench_accuracy.missed(rows)
    rows[0] |= {"mean": -0.24, "error": 0.93, "halves": 1.0}  # halves are asked of few events alone
    rows[3] |= {"back": (0.2, 1.0), "covers": 0.28, "lost": 1}
    found = {(miss.problem, miss.events, miss.target.name): miss.by for miss in bench_accuracy.misses(rows)}
    assert found == {
        ("gaussian", 200_000, "mean shift"): pytest.approx(0.09),
        ("gaussian", 200_000, "error / exact"): pytest.approx(0.02),
        ("peak", 5000, "injected, come back"): pytest.approx(0.7),
        ("all", 5000, "stated error covers"): pytest.approx(0.15),
    }
    text = bench_accuracy.missed(rows)
    assert "did not converge: peak (5,000)." in text
    assert "| gaussian | 200,000 | mean shift | -0.15 to 0.15 | -0.240 | 0.090 |" in text


def modelled(problem: Problem) -> Model:
    table = problem.model()
    nuisances = {name: Nuisance(**one) for name, one in table["nuisances"].items()}
    return Model({"mu": Parameter(1.0, problem.bounds)}, table["processes"], nuisances)


@pytest.mark.slow
def test_exact_arm_agrees_with_itself(cell: Any) -> None:
    """With exact ratios in both arms, only the events behind Z differ; a factor of the signal's ratio is seen as it should."""
    problem = PROBLEMS["placeholders"]
    builder = Builder.of(modelled(problem), exact.shapes(problem))
    truth = cell.Truth.make(problem, builder, 4)
    simulation = exact.simulation(problem, np.random.default_rng(5), 20_000)
    again = truth.data.fit(builder, truth.ratios, simulation)
    shifts = [(a.value("mu") - b.value("mu")) / b.error("mu") for a, b in zip(again, truth.fits, strict=True)]
    assert 0 < np.abs(shifts).max() < 0.03
    scaled = {**truth.ratios, "signal": truth.ratios["signal"] + 0.02}
    moved = truth.data.fit(builder, scaled, simulation)
    steps = [a.value("mu") - b.value("mu") for a, b in zip(moved, again, strict=True)]
    expected = [problem.processes["signal"].events * 0.02 * b.error("mu") ** 2 for b in again]
    np.testing.assert_allclose(steps, expected, rtol=0.25)
    off = cell.deviations(problem, truth.ratios, scaled)
    assert off["signal"]["mean"] == pytest.approx(0.02)
    assert off["signal"]["sd"] == pytest.approx(0, abs=1e-9)
    assert set(off) == set(truth.ratios) - {"background"}
    assert all(one["sd"] == one["mean"] == 0 for name, one in off.items() if name != "signal")
    assert replace(simulation, ratios={}).yields == exact.yields(problem)


def test_finite_arm_is_normalised_as_runs_are(cell: Any) -> None:
    """Exact ratios change by a slope and an offset at most, after which the processes add up to their yields."""
    problem = PROBLEMS["threshold"]
    builder = Builder.of(modelled(problem), exact.shapes(problem))
    truth = cell.Truth.make(problem, builder, 2)
    yields = {name: process.events for name, process in problem.processes.items()}
    simulation = replace(exact.simulation(problem, np.random.default_rng(5), 3000), ratios={}, priors=yields)
    ratios, behind = cell.finite(problem, truth, simulation)
    signal, background = (yields[name] * np.exp(behind.ratios[name]) for name in ("signal", "background"))
    share = signal / (signal + background)
    assert behind.weight @ share == pytest.approx(yields["signal"], rel=1e-3)
    slope, offset = np.polyfit(truth.ratios["signal"], ratios["signal"], 1)
    assert 0 < abs(offset) < 0.1
    assert 0 < abs(slope - 1) < 0.1
    np.testing.assert_allclose(ratios["signal"], slope * truth.ratios["signal"] + offset, atol=1e-6)


def test_checks_are_read_and_summed_up(cell: Any, tmp_path: Path) -> None:
    import bench_accuracy

    def injection(name: str, *, converged: bool = True, **found: tuple[float, float]) -> dict[str, Any]:
        parameters = [
            {"parameter": n, "true": true, "value": value, "error": 9.0} for n, (true, value) in found.items()
        ]
        return {"name": name, "converged": converged, "parameters": parameters}

    closure = {
        "normalisation": {},
        "variations": [injection("shape.up", mu=(1, 1.1), shape=(1, 0.9)), injection("shape.down", mu=(1, 1), shape=(-1, -1.2))],
        "signals": [injection("mu=0", converged=False, mu=(0, 0.5), shape=(0, 0))],
        "halves": [injection("half 1", mu=(1, 1.3), shape=(0, 0.4)), injection("half 2", mu=(1, 0.8), shape=(0, 0))],
    }  # fmt: skip
    path = tmp_path / "closure.json"
    path.write_text(json.dumps(closure))
    found = cell.checks(path, {"mu": {"error": 0.2}, "shape": {"error": None}})
    assert found["variations"]["shape.up"] == {"mu": pytest.approx(0.5), "shape": None}
    assert found["back"] == {"shape.up": 0.9, "shape.down": 1.2}
    assert found["signals"] == {}
    assert found["lost"] == ["mu=0"]
    assert cell.checks(tmp_path / "none.json", {}) is None
    row = bench_accuracy.returned([{"checks": found}, {"checks": None}])
    assert row == {"halves": pytest.approx(0.25), "single": pytest.approx(1.5), "back": (0.9, 1.2)}


@pytest.mark.parametrize("signed", [False, True])
def test_some_events_stand_for_all(cell: Any, monkeypatch: pytest.MonkeyPatch, signed: bool) -> None:
    """Z of some events is that of all, also between and beyond the points where it is kept."""
    problem = PROBLEMS["interference"]
    simulation = exact.simulation(problem, np.random.default_rng(5), 4000)
    signs = np.random.default_rng(1).choice([-0.5, 1.0, 2.0] if signed else [1.0, 2.0], len(simulation.weight))
    simulation = replace(simulation, weight=simulation.weight * signs)
    likelihood = Builder.of(modelled(problem), exact.shapes(problem)).likelihood(simulation, simulation)
    monkeypatch.setattr(cell, "NORMALISING", 1000)
    thinned = cell.fewer(likelihood)
    monkeypatch.setattr(cell.exact, "tilted", lambda weight, *_: weight)
    plain = cell.fewer(likelihood)
    assert [len(one.weight) for one in thinned.of_kind("events")[0].simulation] == [1000, 1000, 1000]
    for alpha in (-2.0, -1.0, 0.4, 1.0):
        theta = likelihood.rates.at({"shape": alpha})
        z, few, rough = ([v.z for v in one.normalisations(theta).values()] for one in (likelihood, thinned, plain))
        wrong = np.abs(np.subtract(few, z)).max()
        assert wrong < (1e-9 if abs(alpha) == 1 else 0.2 * np.abs(np.subtract(rough, z)).max())
