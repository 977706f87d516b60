"""A run that leaves out a variation that cannot matter: the look into the files finds it, the plan lists it, the report says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TINY = """[samples.background.variations.tiny]
up   = { weight = "weight * (1.0001 + 0.0005 * x1)" }
down = { weight = "weight * (0.9999 - 0.0005 * x1)" }

[ratios]"""


@pytest.mark.slow
def test_what_cannot_matter_is_listed_and_left_out(
    small_inputs: Path, tmp_path: Path, needle: Callable[..., Any]
) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "inputs")
    text = (folder / "analysis.toml").read_text()
    text = text.replace("[ratios]", TINY, 1).replace("nuisances.jes ", "nuisances.tiny = {}\nnuisances.jes ", 1)
    (folder / "analysis.toml").write_text(text)
    plain = json.loads(needle("plan", "--json", folder).out)
    (line,) = plain["variations"]
    assert line.startswith("the variation tiny of background cannot matter ([pruning] prune = true")
    assert line in " ".join(needle("plan", folder).out.split())
    choices = ("--set", "pruning.prune=true", "--set", "training.members=1", "--set", "training.epochs=1")
    ended = needle("run", folder, *choices, "--out", tmp_path / "run", "--json")
    assert ended.code == 0, ended.err
    assert "variations.tiny" in (tmp_path / "run" / "analysis.toml").read_text()
    assert not (tmp_path / "run" / "estimators" / "background.tiny.up").exists()
    fitted = json.loads((tmp_path / "run" / "fits" / "asimov.json").read_text())
    assert "tiny" not in fitted["parameters"]
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "The variation tiny of background is left out: its shape moves the result by at most" in page
    again = json.loads(needle("plan", folder, *choices, "--out", tmp_path / "run", "--json").out)
    assert sum(stage["to_do"] for stage in again["stages"].values()) == 0
    assert again["networks"] < plain["networks"]
