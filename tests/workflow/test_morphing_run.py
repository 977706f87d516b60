"""The effective field theory of docs/statistics.md: from weights of the same events to couplings, beside exact densities."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import uproot
from problems.eft import Problem

from needle_parsl.nsbi.statistics.fits.fitting import minimise

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
TRUTH = {"c1": 0.3, "c2": 0.2}
NAMES = {"cW": "c1", "cHq3": "c2"}
"""What the page and `problems.eft` call the couplings of the same problem."""
DATA = """
[fit]
data  = ["data.root"]
blind = false
scan  = { parameter = "cW", start = -0.5, stop = 1.0, points = 7 }
"""


def folder(path: Path, events: int) -> Path:
    """Write the files of the page, with densities that are known."""
    section = PAGE.read_text(encoding="utf-8").split("## Effective field theory\n")[1].split("\n## ")[0]
    (script,), (text,) = (re.findall(rf"```{kind}\n(.*?)```", section, flags=re.DOTALL) for kind in ("python", "toml"))
    (path / "make.py").write_text(script)
    (path / "analysis.toml").write_text(text + DATA)
    subprocess.run([sys.executable, "make.py", str(events)], cwd=path, check=True)
    x = Problem().throw(TRUTH, np.random.default_rng(2))
    with uproot.recreate(path / "data.root") as file:
        file["events"] = {"x1": x[:, 0], "x2": x[:, 1]}
    return path


def fit(root: Path, name: str) -> dict[str, Any]:
    return json.loads((root / "fits" / f"{name}.json").read_text())


def compare(root: Path, path: Path, simulated: float = 0.0) -> None:
    """Hold couplings that were fitted with learned ratios against those of the formula, on the same data: within 0.2 standard errors.

    Args:
        root: The run.
        path: Where the data are.
        simulated: How many errors from the finite simulation are allowed beside.
    """
    with uproot.open(path / "data.root") as file:
        x = np.column_stack([file["events"][name].array(library="np") for name in ("x1", "x2")])
    made = Problem().likelihood(x)
    exact = minimise(made, made.rates)
    learned, allowed = fit(root, "observed")["parameters"], fit(root, "asimov")["parameters"]
    for name, known in NAMES.items():
        error = exact.error(known)
        away = learned[name]["value"] - exact.value(known)
        assert abs(away) < 0.2 * error + simulated * allowed[name]["simulation_error"], (name, away / error)
        assert learned[name]["error"] == pytest.approx(error, rel=0.15)


def settings(**chosen: object) -> list[str]:
    return [word for key, value in chosen.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]


def test_couplings_of_the_page(needle: Callable[..., Any], tmp_path: Path) -> None:
    path = folder(tmp_path, 6000)
    checked = needle("check", path)
    assert checked.code == 0, checked.err
    assert "note: morphing in cW, cHq3: 6 monomials from vh-w_sm, " in checked.out
    short = settings(training__members=1, training__epochs=15, split__cross=2, fit__goodness=0)
    short += ["--set", "fit.scan={ start = -0.5, stop = 0.5, points = 7 }"]
    ended = needle("run", path, "--until", "morphing", *short)
    assert ended.code == 0, ended.err
    root = tmp_path / "runs" / "eft"
    compare(root, path, 2.0)
    for dataset in ("asimov", "observed"):
        full, linear = fit(root, dataset), fit(root, f"{dataset}_linear")
        assert full["converged"]
        assert linear["converged"]
        assert linear["minima"] == 1
    assert linear["parameters"]["cW"]["error"] > 1.1 * full["parameters"]["cW"]["error"]  # (dA/dc)^2 adds to the slope
    assert fit(root, "scan_linear")["intervals"]["0.68"] != fit(root, "scan")["intervals"]["0.68"]
    with h5py.File(root / "events/vh-w_sm.h5") as one, h5py.File(root / "events/vh-w_both.h5") as other:
        assert np.array_equal(one["id"], other["id"])  # so that an event is in the same fold in both
        assert not np.array_equal(one["weight"], other["weight"])
    section = fit(root, "morphing")
    assert next(row[0] for row in section["tables"][0]["rows"]) == "vh-w_sm"
    assert [row[0] for row in section["tables"][2]["rows"]] == ["all terms", "linear terms"]
    assert section["checks"][0]["state"] == "pass"
    assert len(section["figures"]) == 1


@pytest.mark.campaign
def test_couplings_of_the_page_with_many_events(needle: Callable[..., Any], tmp_path: Path) -> None:
    path = folder(tmp_path, 60_000)
    ended = needle("run", path, "--until", "fit", *settings(training__members=1, split__cross=2))
    assert ended.code == 0, ended.err
    compare(tmp_path / "runs" / "eft", path)
