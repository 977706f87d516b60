"""How many networks and events are enough, from the command line: after a run, after a pilot, and before either."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import generated
import pytest

from needle_parsl.precision import PrecisionLaw

TRAINING = generated.QUICK.replace("members    = 2", "members    = 4")
PAGE = generated.ROOT / "docs" / "enough.md"
CROSS = ("--set", "split.cross=3")


@pytest.mark.slow
def test_a_run_tells_what_a_precision_needs(needle: Callable[..., Any], tmp_path: Path) -> None:
    path = generated.write(tmp_path, TRAINING, events=1_500)
    before = needle("plan", "--precision", 0.05, path, *CROSS)
    assert before.code == 2
    assert "there is no run or pilot yet" in before.err
    assert len(before.err.strip().splitlines()) == 1
    ended = needle("run", path, *CROSS)
    assert ended.code == 0, ended.err
    root = tmp_path / "runs" / "small"
    law = json.loads((root / "fits" / "precision.json").read_text())
    assert (law["members"], law["events"], law["growth"], law["bagging"]) == (4, 3_000, 1.0, 0.0)
    assert [(point["source"], point["size"]) for point in law["points"]] == [("members", 1), ("members", 2), ("exact", 0), ("folds", 0)]  # fmt: skip
    fitted = json.loads((root / "fits" / "asimov.json").read_text())["parameters"]["mu"]
    assert law["sigma"] == pytest.approx(fitted["error"], rel=1e-3)
    page = (root / "report" / "index.html").read_text()
    assert "How many networks and events are enough" in page
    assert (root / "report" / "precision.png").exists()

    said = needle("plan", "--precision", 0.05, path, *CROSS)
    assert said.code == 0, said.err
    assert "networks make up" in said.out
    found = json.loads(needle("plan", "--precision", 0.05, "--json", path, *CROSS).out)["precision"]
    assert found["needed"]["wanted"] == 0.05
    if found["needed"]["members"] is None:
        assert found["needed"]["reason"] in said.out
    else:
        assert f"{found['needed']['members']} members and {found['needed']['events']:,} events" in said.out
        assert found["node_hours"] > 0
    assert "precision" not in json.loads(needle("plan", "--json", path, *CROSS).out)


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_a_pilot_tells_it_for_the_whole(needle: Callable[..., Any], tmp_path: Path) -> None:
    """By the commands of docs/enough.md."""
    generated.write(tmp_path, TRAINING, events=1_500)
    pilot, plan = re.findall(r"^    needle (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert needle(*pilot.split(), *CROSS).code == 0
    said = needle(*plan.split(), *CROSS)
    assert said.code == 0
    found = json.loads(needle(*plan.split(), "--json", *CROSS).out)["precision"]
    assert found["run"].endswith("small-pilot")
    assert found["law"]["members"] == 2


@pytest.mark.parametrize("share", [0, 1, -0.1, 2, "nan"])
def test_a_share_is_between_0_and_1(needle: Callable[..., Any], tmp_path: Path, share: object) -> None:
    path = generated.write(tmp_path, TRAINING, events=1_500)
    said = needle("plan", f"--precision={share}", path, *CROSS)
    assert said.code == 2
    assert "expected a share of the error between 0 and 1" in said.err


def test_a_damaged_file_is_said(needle: Callable[..., Any], tmp_path: Path) -> None:
    path = generated.write(tmp_path, TRAINING, events=1_500)
    fits = tmp_path / "runs" / "small-pilot" / "fits"
    fits.mkdir(parents=True)
    for text in ("{}", "[]", "{"):
        (fits / "precision.json").write_text(text)
        said = needle("plan", "--precision", 0.05, path, *CROSS)
        assert said.code == 2, text
        assert "precision.json" in said.err


def test_a_floor_and_what_is_not_known_are_said(needle: Callable[..., Any], tmp_path: Path) -> None:
    path = generated.write(tmp_path, TRAINING, events=1_500)
    fits = tmp_path / "runs" / "small-pilot" / "fits"
    fits.mkdir(parents=True)
    law = PrecisionLaw(
        parameter="mu", sigma=0.2, members=4, events=3_000, bagging=0.0, growth=1.0, training=1e-4, floor=1e-3
    )
    for own, words in (
        (law, "a share of 0.05 cannot be reached: exact densities show a floor of 0.16"),
        (replace(law, floor=None, unknown={"simulation": "nobody looked"}), "not known: simulation: nobody looked"),
        (replace(law, floor=None, training=None, unknown={"training": "nobody looked"}), "cannot be reached: nobody looked"),
    ):  # fmt: skip
        (fits / "precision.json").write_text(json.dumps(own.to_json()))
        said = needle("plan", "--precision", 0.05, path, *CROSS)
        assert said.code == 0, said.err
        assert words in said.out
