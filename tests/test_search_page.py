"""The examples of docs/search.md, on the analysis of docs/learning.md."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from needle_parsl import files
from needle_parsl.analysis import catalogue, load, space
from needle_parsl.analysis.rules.search import COMBINED, FIXED, SEARCHED

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "search.md").read_text(encoding="utf-8")
SHORT = ("training.members=1", "split.cross=3", "search.trials=4", "training.epochs=3")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    learning = (DOCS / "learning.md").read_text(encoding="utf-8")
    subprocess.run([sys.executable, "-c", blocks(learning, "python")[0], "4000"], cwd=folder, check=True)
    first, *_ = blocks(PAGE, "toml")
    (folder / "analysis.toml").write_text(f"{blocks(learning, 'toml')[0]}\n{first}")
    return folder


def test_first_search_of_the_page(analysis: Path, needle: Callable[..., Any], tmp_path: Path) -> None:
    choices = [word for choice in SHORT for word in ("--set", choice)]
    planned = needle("plan", *choices, analysis)
    assert "search: 12 networks in trials; 3 of the 9 networks" in planned.out
    ended = needle("run", *choices, "--out", tmp_path / "run", analysis, "--until", "searched", "--json")
    assert ended.code == 0, ended.err
    found = files.read_json(tmp_path / "run" / "search" / "best.json")
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 4
    assert (tmp_path / "run" / "search" / "study.db").exists()
    status = needle("status", tmp_path / "run")
    assert "search: done, 4 trials; chosen: trial " in status.out


def test_other_examples_are_right(analysis: Path) -> None:
    learning = (DOCS / "learning.md").read_text(encoding="utf-8")
    for number, other in enumerate(blocks(PAGE, "toml")[1:]):
        path = analysis / f"{number}.toml"
        path.write_text(f"{blocks(learning, 'toml')[0]}\n{other}")
        assert load(path).problems == ()
    for text in re.findall(r'^\| `"(\w+:[^"]+)"`', PAGE, flags=re.MULTILINE):
        space.parse(text)


def test_the_page_knows_every_name() -> None:
    for name in (
        *SEARCHED,
        *(name.removeprefix(space.ENSEMBLE) for name in (*COMBINED, *FIXED)),
        *catalogue.SEARCH_METRICS,
        *catalogue.SAMPLERS,
        *space.FORMS,
    ):
        assert name in PAGE, name
