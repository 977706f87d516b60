"""Analyses with a mistake, `tests/wrong/*.toml`: each starts with what `needle` must say of it, as comments `#: ...`."""

from __future__ import annotations

import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

WRONG = sorted((Path(__file__).parents[1] / "wrong").glob("*.toml"))
SECONDS = 3.0
"""In which each is answered."""


def damage(folder: Path) -> None:
    """Add files that are damaged, empty or strange."""
    whole = (folder / "background.root").read_bytes()
    (folder / "folder").mkdir()
    (folder / "empty.root").write_bytes(b"")
    (folder / "truncated.root").write_bytes(whole[: len(whole) // 2])
    (folder / "text.root").write_text("pt eta phi\n" * 100)
    (folder / "copy.root").write_bytes(whole)
    (folder / "broken.py").write_text("def signal(generator, events)\n    return {}\n")
    columns = {name: np.ones(3000) for name in ("x1", "x2", "x3", "x4", "weight")}
    columns["x2"][7] = np.nan
    for name, rows in (("nan", 3000), ("no_events", 0)):
        with uproot.recreate(folder / f"{name}.root") as file:
            file.mktree("events", dict.fromkeys(columns, "f8"))
            file["events"].extend({key: column[:rows] for key, column in columns.items()})


@pytest.fixture(scope="session")
def damaged_inputs(small_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(small_inputs, tmp_path_factory.mktemp("wrong") / "analysis")
    damage(folder)
    return folder


def test_there_are_fifty() -> None:
    assert len(WRONG) >= 50


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_wrong_analysis_is_answered_with_its_message(
    path: Path, damaged_inputs: Path, inside: Callable[..., Any], tmp_path: Path
) -> None:
    shutil.copy(path, damaged_inputs / "analysis.toml")
    before, started = sorted(damaged_inputs.rglob("*")), _seconds()
    ended = inside("check", damaged_inputs)
    assert ended.code == 2, ended
    assert ended.out == ""
    said = ended.err.replace(f"{damaged_inputs.resolve()}/", "").splitlines()
    expected = [line.removeprefix("#: ") for line in path.read_text().splitlines() if line.startswith("#: ")]
    assert len(said) == len(expected), said
    for line, pattern in zip(said, expected, strict=True):  # "*" stands for counts that depend on the hash of a file
        assert re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), line), line
    assert all(line.count(". ") <= 1 for line in said)  # one or two sentences
    assert _seconds() - started < SECONDS
    assert [p for p in sorted(damaged_inputs.rglob("*")) if "__pycache__" not in p.parts] == before
    assert not list(tmp_path.iterdir())


def _seconds() -> float:
    """Work of the processes that have ended; tests run side by side, so that the clock would tell of them, too."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
