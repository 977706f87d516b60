"""The examples of docs/statistics.md, added to a small analysis."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from needle_parsl.analysis import load

PAGE = (Path(__file__).parent.parent / "docs" / "statistics.md").read_text(encoding="utf-8")


def example(heading: str) -> str:
    """Give the TOML of a section."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return "".join(re.findall(r"```toml\n(.*?)```", section, flags=re.DOTALL))


def test_groups_of_the_page(small_inputs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    text = (folder / "analysis.toml").read_text()
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("nuisances."))
    (folder / "analysis.toml").write_text(text + example("Groups of systematics"))
    loaded = load(folder)
    assert loaded.problems == ()
    assert loaded.analysis.model.groups() == {"jet": ("jes", "jer"), "other": ("lumi",)}


def test_offset_of_the_page(small_inputs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    text = (folder / "analysis.toml").read_text().split("[fit]")[0]
    (folder / "analysis.toml").write_text(text + example("Blinding with a hidden offset"))
    loaded = load(folder)
    assert loaded.problems == ()
    assert loaded.analysis.offset
    assert loaded.analysis.data() is not None


def test_two_parameters_of_the_page(small_inputs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    text = (folder / "analysis.toml").read_text().split("[model]")[0]
    (folder / "analysis.toml").write_text(text + example("Several parameters of interest"))
    loaded = load(folder)
    assert loaded.problems == ()
    assert loaded.analysis.pois() == ("mu", "k")
    assert {name: len(values) for name, values in loaded.analysis.grid_of_two().items()} == {"mu": 9, "k": 9}
