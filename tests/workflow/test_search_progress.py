"""What `needle status` says of a search: of the one that is running, whatever an earlier one has left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from needle_parsl import files
from needle_parsl.workflow import search_progress


def written(path: Path, content: dict[str, Any], time: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, content)
    os.utime(path, (time, time))


def step(number: int, steps: int, trials: int) -> dict[str, Any]:
    return {"step": number, "steps": steps, "best": "trial 0", "trials": [{"state": "running"}] * trials}


def state(done: int, tasks: int) -> dict[str, Any]:
    return {"stages": {"search": {"done": done, "tasks": tasks}}}


@pytest.fixture(params=["", "signal"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An earlier search of three steps, whose end is there."""
    folder = tmp_path / "search" / request.param
    for k in range(3):
        written(folder / f"step.{k:03d}.json", step(k, 3, 6), 100 + k)
    written(folder / "best.json", {"trials": [{"state": "complete"}] * 6}, 110)
    return folder


def said(folder: Path, now: dict[str, Any]) -> list[str]:
    root = folder if folder.name != "signal" else folder.parent
    return [line.partition(": ")[2] for line in search_progress.lines(root.parent, now)]


def test_a_search_that_has_ended(before: Path) -> None:
    assert said(before, state(4, 4)) == said(before, {}) == ["done, 6 trials"]


def test_a_search_with_other_settings_has_not_ended(before: Path) -> None:
    assert said(before, state(0, 6)) == []
    written(before / "step.000.json", step(0, 5, 2), 200)
    assert said(before, state(1, 6)) == ["step 1 of 5, 2 trials; best so far: trial 0"]
    written(before / "step.001.json", step(1, 5, 4), 210)
    assert said(before, state(2, 6)) == ["step 2 of 5, 4 trials; best so far: trial 0"]


def test_one_of_several_searches_has_ended(before: Path) -> None:
    written(before / "step.000.json", step(0, 1, 2), 200)
    written(before / "best.json", {"trials": [{"state": "failed"}] * 2}, 210)
    assert said(before, state(3, 8)) == ["done, 2 trials, 2 failed"]


def test_times_of_a_copied_directory_do_not_matter(before: Path) -> None:
    for path in before.iterdir():
        os.utime(path, (300 - path.stat().st_mtime,) * 2)
    assert said(before, state(4, 4)) == ["done, 6 trials"]
