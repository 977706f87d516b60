"""What `needle status` says of a search: of the one that is running, whatever an earlier one has left."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from needle_parsl import files, rundir
from needle_parsl.records import Record
from needle_parsl.workflow import search_progress


def written(root: Path, place: str, content: dict[str, Any]) -> None:
    """Write an output of a search, and its line of the ledger."""
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    files.write_json(root / place, content)
    record = Record(key=place, stage="search", what=place, worker="w", seconds=1.0, output=place, digest="d")
    with (root / rundir.LEDGER).open("a") as ledger:
        ledger.write(json.dumps(asdict(record)) + "\n")


def step(number: int, steps: int, trials: int) -> dict[str, Any]:
    return {"step": number, "steps": steps, "best": "trial 0", "trials": [{"state": "running"}] * trials}


def end(state: str, trials: int) -> dict[str, Any]:
    return {"trials": [{"state": state}] * trials, "chosen": [{"trial": 1, "words": "nodes = 8"}]}


def state(done: int, tasks: int) -> dict[str, Any]:
    return {"stages": {"search": {"done": done, "tasks": tasks}}}


@pytest.fixture(params=["search", "search/signal"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An earlier search of three steps, whose end is there."""
    folder: str = request.param
    for k in range(3):
        written(tmp_path, f"{folder}/step.{k:03d}.json", step(k, 3, 6))
    written(tmp_path, f"{folder}/best.json", end("complete", 6))
    return folder


def said(root: Path, now: dict[str, Any]) -> list[str]:
    return [line.partition(": ")[2] for line in search_progress.lines(root, now)]


def test_a_search_that_has_ended(before: str, tmp_path: Path) -> None:
    assert said(tmp_path, state(4, 4)) == said(tmp_path, {}) == ["done, 6 trials; chosen: trial 1 (nodes = 8)"]
    name = before.partition("/")[2]
    assert search_progress.lines(tmp_path, {})[0].startswith(f"search of {name}:" if name else "search:")


def test_a_search_with_other_settings_has_not_ended(before: str, tmp_path: Path) -> None:
    assert said(tmp_path, state(0, 6)) == []
    written(tmp_path, f"{before}/step.000.json", step(0, 5, 2))
    assert said(tmp_path, state(1, 6)) == ["step 1 of 5, 2 trials; best so far: trial 0"]
    written(tmp_path, f"{before}/step.001.json", step(1, 5, 4))
    assert said(tmp_path, state(2, 6)) == ["step 2 of 5, 4 trials; best so far: trial 0"]


def test_one_of_several_searches_has_ended(before: str, tmp_path: Path) -> None:
    written(tmp_path, f"{before}/step.000.json", step(0, 1, 2))
    written(tmp_path, f"{before}/best.json", end("failed", 2))
    assert said(tmp_path, state(3, 8)) == ["done, 2 trials, 2 failed; chosen: trial 1 (nodes = 8)"]


def test_files_that_are_none_of_a_search_are_passed_over(before: str, tmp_path: Path) -> None:
    (tmp_path / before / "best.json").write_text("[1, 2")
    assert said(tmp_path, {}) == []
    (tmp_path / before / "best.json").write_text('{"trials": 3}')
    assert said(tmp_path, {}) == []
