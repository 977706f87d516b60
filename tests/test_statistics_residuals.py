"""The examples of docs/statistics.md on diagnostics in units of the parameter, and on variations that cannot matter."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from needle_parsl import files
from needle_parsl.analysis import Diagnostics, Pruning
from needle_parsl.nsbi.statistics.results import Residuals, ResidualShift

PAGE = (Path(__file__).parent.parent / "docs" / "statistics.md").read_text(encoding="utf-8")


def example(language: str, section: str = "residuals") -> str:
    found = re.search(rf"<!-- {section}: {language} -->\n```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    assert found
    return found[1]


def test_keys_of_the_page_are_those_of_the_table() -> None:
    keys = tomllib.loads(example("toml"))["diagnostics"]
    assert keys.keys() <= {*Diagnostics.__dataclass_fields__}
    assert Diagnostics(**{name: tuple(value) for name, value in keys.items()}) != Diagnostics()


def test_pruning_of_the_page() -> None:
    assert Pruning(**tomllib.loads(example("toml", "pruning"))["pruning"]) == Pruning(prune=True, threshold=0.02)


def test_numbers_of_a_run_are_read_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shifts = [
        ResidualShift(ratio="signal", kind="closure", column=column, at={"mu": 1.0}, shift=shift, error=0.05)
        for column, shift in (("x1", 0.1), ("ln r", -0.31), ("x2", None))
    ]
    (tmp_path / "fits").mkdir()
    files.write_json(
        tmp_path / "fits" / "residuals.json", Residuals(parameter="mu", shifts=tuple(shifts), tails={}).to_json()
    )
    monkeypatch.chdir(tmp_path)
    exec(example("python"), {})
    assert capsys.readouterr().out == "signal, closure ln r: -0.31 ± 0.05 of the error of mu\n"
