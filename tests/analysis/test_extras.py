"""Packages that are not installed: what an analysis asks for is missed at check, with its key; the rest is a note."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from needle_parsl.analysis import extras, load

ROOT = Path(__file__).parents[2]


@pytest.fixture
def without(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """An environment in which modules are not there."""

    def make(*modules: str) -> dict[str, str]:
        folder = tmp_path / "without"
        folder.mkdir()
        lines = ["import sys", *(f"sys.modules[{module!r}] = None" for module in modules)]
        (folder / "sitecustomize.py").write_text("\n".join(lines))
        return {"PYTHONPATH": f"{folder}:{ROOT}"}

    return make


def test_every_extra_is_one_of_the_distribution() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, modules in extras.MODULES.items():
        required = {requirement.partition(">")[0] for requirement in known[extra]}
        assert {extras.PACKAGES.get(module, module) for module in modules} <= required
    assert set(extras.WITHOUT) <= set(extras.MODULES)


@pytest.mark.parametrize("command", ["check", "run", "plan"])
def test_what_is_asked_for_is_missed_before_anything_starts(
    command: str, without: Callable[..., dict[str, str]], small_inputs: Path, needle: Callable[..., Any], tmp_path: Path
) -> None:
    settings = ("--set", "ensemble.calibration='isotonic'", "--set", "training.network='flow'")
    ended = needle(command, small_inputs, *settings, env=without("sklearn", "zuko"))
    assert (ended.code, ended.out) == (2, "")
    lines = ended.err.splitlines()
    assert len(lines) == 2
    assert 'ensemble.calibration: "isotonic" needs scikit-learn, not installed here' in lines[0]
    assert 'training.network: "flow" needs zuko, not installed here; pip install "needle-parsl[flows]"' in lines[1]
    assert not (tmp_path / "runs").exists()


def test_what_nobody_asks_for_is_a_note(
    without: Callable[..., dict[str, str]], small_inputs: Path, needle: Callable[..., Any]
) -> None:
    ended = needle(
        "check", small_inputs, "--json", env=without("sklearn", "zuko", "numba", "matplotlib", "onnxruntime")
    )
    assert ended.code == 0, ended.err
    notes = ended.json()["notes"]
    for extra, lack in extras.WITHOUT.items():
        assert any(note.startswith(f"{lack}: ") and f"needle-parsl[{extra}]" in note for note in notes)


def test_nothing_is_missing_where_all_is_installed(small_inputs: Path) -> None:
    assert list(extras.demanded(load(small_inputs, ["ensemble.calibration='isotonic'"]).analysis)) == []
