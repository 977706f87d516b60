"""The Gaussian app at its full size: learned ratios against exact densities, and what the app expects of itself."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from needle_parsl import refs, shipped

APP = shipped.folder("apps") / "gaussian"
ROOT = Path(__file__).parents[2]
PHYSICS = refs.load_source((APP / "physics.py").read_text(), str(APP / "physics.py"))
EXPECTED = {entry["name"]: entry for entry in json.loads((APP / "expected.json").read_text())}


def compare(run: Path) -> list[tuple[str, Any, bool, str]]:
    spec = importlib.util.spec_from_file_location("compare_expected", ROOT / "scripts" / "compare_expected.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.compare(run, APP / "expected.json")


@pytest.mark.campaign
def test_learned_fit_agrees_with_the_exact_one(needle: Callable[..., Any], tmp_path: Path) -> None:
    fewer = ("--set", "fit.plane.points=9", "--set", "fit.scan={start=0.3,stop=2.1,points=7}")
    ended = needle("run", "--site", "local", APP / "analysis.toml", "--json", *fewer)
    assert ended.code == 0, ended.err
    results = ended.json()["results"]
    assert results["networks"] == 30
    assert abs(results["exact_shift"]) < 0.2
    assert abs(results["exact_error_ratio"] - 1) < 0.1
    lines = compare(tmp_path / "runs" / "gaussian")
    assert len(lines) == len(EXPECTED)
    assert all(good for _, _, good, _ in lines), lines


def test_comparison_finds_a_mismatch(tmp_path: Path) -> None:
    good = {name: entry["value"] for name, entry in EXPECTED.items()}
    (tmp_path / "report").mkdir()
    for wrong in ({}, {"networks": 49}, {"exact_shift": 0.3}, {"exact_error": None}):
        (tmp_path / "report" / "summary.json").write_text(json.dumps(good | wrong))
        assert [name for name, _, fine, _ in compare(tmp_path) if not fine] == list(wrong)


def test_expected_error_is_that_of_the_fisher_information() -> None:
    """I_ab = integral d_a lambda d_b lambda / lambda + constraints, by importance sampling of the exact densities."""
    n, generator = 400_000, np.random.default_rng(1)
    names = PHYSICS.FEATURES
    draws = [PHYSICS.draw(process, generator, n) for process in ("signal", "background")]
    x = np.column_stack([np.concatenate([draw[name] for draw in draws]) for name in names])
    proposal = 0.5 * sum(np.exp(PHYSICS.log_density(p, x, {})) for p in ("signal", "background"))
    rate_jes = {"signal": (1.03, 0.98), "background": (1.04, 0.96)}

    def lam(mu: float, jes: float, lumi: float) -> np.ndarray:
        total = np.zeros(len(x))
        for process, multiplier in (("signal", mu), ("background", 1.0)):
            up, down = rate_jes[process]
            rate = PHYSICS.YIELD[process] * (1 + jes * (up - down) / 2) * (1 + 0.02 * lumi)
            total += multiplier * rate * np.exp(PHYSICS.log_density(process, x, {"jes": jes}))
        return total

    h = 1e-4
    slopes = [(lam(*(np.array([1, 0, 0]) + d)) - lam(*(np.array([1, 0, 0]) - d))) / (2 * h) for d in h * np.eye(3)]
    centre = lam(1, 0, 0)
    information = np.array([[np.mean(a * b / centre / proposal) for a in slopes] for b in slopes]) + np.diag([0, 1, 1])
    error = np.sqrt(np.linalg.inv(information)[0, 0])
    assert error == pytest.approx(EXPECTED["exact_error"]["value"], rel=0.02)


def test_densities_are_normalised_and_describe_the_events() -> None:
    generator = np.random.default_rng(2)
    for process in ("signal", "background"):
        for alpha in (0.0, 1.0, -1.0):
            draw = PHYSICS.draw(process, generator, 200_000, alpha)
            x = np.column_stack([draw[name] for name in PHYSICS.FEATURES])
            other = np.exp(
                PHYSICS.log_density(process, x, {"jes": 0.3}) - PHYSICS.log_density(process, x, {"jes": alpha})
            )
            assert other.mean() == pytest.approx(1, abs=4 * other.std() / np.sqrt(len(x)))
