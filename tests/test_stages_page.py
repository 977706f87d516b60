"""The examples of docs/stages.md, as they stand there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from needle_parsl import files

PAGE = (Path(__file__).parent.parent / "docs" / "stages.md").read_text("utf-8")
EXAMPLES = {
    found[1]: (found[2], found[3] or "")
    for found in re.finditer(
        r"^## ([^\n]+)\n(?:(?!^## ).)*?```toml\n(name = .*?)```(?:(?:(?!^## |```).)*```python\n(.*?)```)?",
        PAGE,
        re.DOTALL | re.MULTILINE,
    )
}
SHARED = "One stage after another"
MADE = {
    "One function": (2, ["spectrum/all/result.json"]),
    "Many calls, and one output": (14, ["spectrum/part_2-0.9/spectrum.json", "spectrum/merged/spectrum.json"]),
    SHARED: (8 + 12 + 2, ["shifts/all/page.json"]),
    "Lists with a name": (12 + 3 + 3 + 1, ["spectrum/merged-scale_up/spectrum.h5", "shifts/scale_down/result.json"]),
    "Commands": (5, ["words/part_3/number.txt"]),
}


@pytest.mark.parametrize("title", [title for title in MADE if title != SHARED])
def test_example_runs(title: str, needle: Callable[..., Any], tmp_path: Path) -> None:
    runs(title, needle, tmp_path)


def runs(title: str, needle: Callable[..., Any], tmp_path: Path) -> None:
    """Run an example as it stands; it makes what it should."""
    toml, python = EXAMPLES[title]
    (tmp_path / "analysis.toml").write_text(toml)
    (tmp_path / "physics.py").write_text(python)
    (tmp_path / "raw").mkdir()
    for k in range(4):
        np.savetxt(tmp_path / "raw" / f"part_{k}.txt", np.random.default_rng(k).exponential(20, 30 + k))
    ended = needle("run", tmp_path, "--json")
    assert ended.code == 0, ended
    tasks, outputs = MADE[title]
    assert ended.json()["done"] == tasks
    for name in outputs:
        assert (tmp_path / ended.json()["run"] / "stages" / name).is_file()


SHORT = ("training.members=2", "training.epochs=5", "split.cross=3")
"""Networks that tell the two samples apart, in seconds."""


@pytest.mark.slow
def test_region_of_a_network_is_that_of_the_page(needle: Callable[..., Any], tmp_path: Path) -> None:
    section = PAGE.partition("## Columns from networks and from stages")[2].partition("\n## ")[0]
    for name, text in re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)```", section, re.DOTALL):
        (tmp_path / name).write_text(text)
    other = tmp_path / "preselection.toml"
    other.write_text("\n".join([*SHORT, other.read_text()]))  # `--set` changes the first alone
    for seed, name in enumerate(("signal", "background", "training_signal", "training_background")):
        x, y = np.random.default_rng(seed).normal(1.0 if "signal" in name else 0.0, 1.0, (2, 12_000))
        table = pa.table({"x": x, "y": y, "weight": np.full(12_000, 0.02 if "signal" in name else 0.2)})
        parquet.write_table(table, tmp_path / f"{name}.parquet")
    choices = [word for choice in SHORT for word in ("--set", choice)]
    ended = needle("run", tmp_path, *choices, "--json", "--until", "count")  # the fit is that of `test_preselection`
    assert ended.code == 0, ended
    root = tmp_path / "runs" / "region"
    assert (root / "analyses" / "preselection" / "estimators" / "signal" / "estimator.h5").is_file()
    counts = files.read_json(root / "regions" / "control.json")
    assert 0 < sum(counts["expected"]["background"]) < 2400, counts


def test_example_with_shared_calls_runs_and_they_are_counted(needle: Callable[..., Any], tmp_path: Path) -> None:
    runs(SHARED, needle, tmp_path)
    assert "25 calls of your stages in 21 tasks: 4 (16%)" in needle("plan", tmp_path).out
    page = files.read_json(tmp_path / "runs" / "spectra" / "stages" / "shifts" / "all" / "page.json")
    rows = dict(page["tables"][0]["rows"])
    assert rows["nominal"] == 0
    assert abs(rows["scale_up"]) > 0
    assert page["checks"][0]["state"] in ("pass", "warning")
