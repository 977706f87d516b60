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


def small(small_inputs: Path, tmp_path: Path, text: str, *, fitted: bool = True) -> Path:
    """Add an example to the small analysis, which selects x1 >= -1; its table [fit] is left out where the example has one."""
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    own = (folder / "analysis.toml").read_text().replace('"x1 > -10"', '"x1 >= -1"')
    (folder / "analysis.toml").write_text((own if fitted else own.split("[fit]")[0]) + text)
    return folder


def test_goodness_of_the_page(small_inputs: Path, tmp_path: Path) -> None:
    loaded = load(small(small_inputs, tmp_path, example("Goodness of fit"), fitted=False))
    assert loaded.problems == ()
    assert loaded.analysis.fit.goodness == 500


def test_validation_region_of_the_page(small_inputs: Path, tmp_path: Path) -> None:
    loaded = load(small(small_inputs, tmp_path, example("Validation regions")))
    assert loaded.problems == ()
    assert loaded.analysis.model.validations() == ("validation",)
    assert loaded.analysis.model.fitted().regions == {}


def test_statistics_of_the_simulation_of_the_page(small_inputs: Path, tmp_path: Path) -> None:
    loaded = load(small(small_inputs, tmp_path, example("Statistics of the simulation"), fitted=False))
    assert loaded.problems == ()
    assert loaded.analysis.model.regions["control"].shapesys == ("background",)
    assert loaded.analysis.fit.simulation_error == "add"
