"""The first analysis of docs/learning.md: it passes the check as it stands, and closes with fewer events and shorter trainings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from needle_parsl.analysis import load, recommended
from needle_parsl.analysis.tables import Training

PAGE = Path(__file__).parent.parent / "docs" / "learning.md"
EVENTS = 4000
SHORT = ("training.members=1", "training.epochs=12", "split.cross=3")


def blocks(language: str) -> list[str]:
    """The code of the page in a language, in its order."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.usefixtures("no_figures")
def test_first_analysis_of_the_page_closes(needle: Callable[..., Any], tmp_path: Path) -> None:
    (script,) = blocks("python")
    (tmp_path / "analysis.toml").write_text(blocks("toml")[0])
    subprocess.run([sys.executable, "-c", script, str(EVENTS)], cwd=tmp_path, check=True)
    checked = needle("check", "analysis.toml")
    assert checked.code == 0, checked.err
    assert "placeholder" not in checked.out + checked.err  # the page has named it
    choices = [word for choice in SHORT for word in ("--set", choice)]
    ended = needle("run", "--site", "local", *choices, "analysis.toml")
    assert ended.code == 0, ended.err
    fits = tmp_path / "runs" / "first" / "fits"
    mu = json.loads((fits / "asimov.json").read_text())["parameters"]["mu"]
    assert mu["value"] == pytest.approx(1.0, abs=0.02 * mu["error"])
    assert mu["total_error"] > mu["error"] > mu["ensemble_error"] > 0
    found = json.loads((fits / "closure.json").read_text())
    assert found["points"] == [{"mu": 1.0}]
    assert {one["name"] for one in found["variations"]} == {"scale.up", "scale.down"}
    for one in found["variations"] + found["signals"]:
        assert one["converged"]
        for parameter in one["parameters"]:
            error = parameter["error"] or mu["error"]
            assert abs(parameter["value"] - parameter["true"]) < error, one
    report = json.loads((fits.parent / "report" / "summary.json").read_text())
    assert {"slopes", "offsets", "information", "variations", "signals", "halves", "scatter"} <= set(report["checks"])
    assert re.search(r"± [\d.e-]+ \(networks\)", ended.out)


def test_the_earlier_recipe_of_the_page_is_one(tmp_path: Path) -> None:
    """Every key is known where it stands, and nothing is cross-fitted or normalised at the yields."""
    first, earlier = blocks("toml")
    for header, lines in re.findall(r"(\[\w+\]\n)([^\[]*)", earlier):
        first = first.replace(header, header + lines) if header in first else f"{first}\n{header}{lines}"
    (tmp_path / "analysis.toml").write_text(first)
    for name in ("signal", "background"):
        for side in ("", "_up", "_down"):
            (tmp_path / f"{name}{side}.parquet").touch()
    found = load(tmp_path / "analysis.toml").analysis
    assert (found.split.cross, found.split.fractions(), found.split.id) == (0, (0.60, 0.15, 0.25), ("event",))
    assert (found.training.loss, found.training.bootstrap, found.training.members) == ("carl", True, 10)
    assert (found.ensemble.combine, found.ensemble.normalise) == ("mean_ratio", "reference")
    assert found.features.transform == "standard"


def test_the_table_of_sizes_is_that_of_the_code() -> None:
    rows = re.findall(
        r"^\| ([\d,]+) \| 64 x (\d) \| (.*?) \| ([\d,]+) \| ([\d,]+) \| (\d+) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert len(rows) == 4
    for count, layers, regularised, processes, variations, folds in rows:
        events = float(count.replace(",", ""))
        own, varied = (recommended.Size(events, varied=varied) for varied in (False, True))
        made = recommended.complete(Training(), own)
        assert (made.layers, made.nodes) == (int(layers), 64)
        assert regularised.startswith(f"{made.dropout:g}, {made.weight_decay:g}")
        assert recommended.folds(events) == int(folds)
        for size, said in ((own, processes), (varied, variations)):
            assert recommended.steps(size) == pytest.approx(float(said.replace(",", "")), rel=0.02)
