"""Warnings of tasks: counted by thread, kept in records, repeated at the end of a run."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from needle_parsl import records
from needle_parsl.plan import Task
from needle_parsl.plan.stages import STAGES
from needle_parsl.records import Record
from needle_parsl.workflow import ledger

WARNING = """
import warnings
silent = log_density
def log_density(process, x, nuisances):
    warnings.warn("mind the gap", UserWarning)
    return silent(process, x, nuisances)
"""


@pytest.fixture(autouse=True)
def own_filters() -> Any:
    """Leave the filters of the other tests alone."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        yield


def test_each_thread_hears_its_own_warnings_every_time() -> None:
    def work(number: int) -> dict[str, int]:
        with records.listening() as heard:
            for _ in range(number):
                warnings.warn("careful\n now", RuntimeWarning, stacklevel=1)
        return dict(heard)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, [1, 2, 3, 0]))
    assert found == [{"RuntimeWarning: careful now": n} if n else {} for n in (1, 2, 3, 0)]


def test_other_warnings_are_shown_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(records, "_PRINT", lambda message, *_, **__: shown.append(str(message)))
    with records.listening():
        warnings.warn("heard", RuntimeWarning, stacklevel=1)
    warnings.warn("shown", RuntimeWarning, stacklevel=1)
    assert shown == ["shown"]


def test_record_keeps_the_warnings_of_its_task(tmp_path: Path) -> None:
    task = Task(stage=STAGES["fit"], name="asimov", key="key", spec=None, after=())  # type: ignore[arg-type]
    with records.writing(str(tmp_path), task) as out:
        out.path.write_text("{}")
        for _ in range(3):
            warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    record = out.record(str(tmp_path))
    assert record.warnings == "3 RuntimeWarning: overflow"
    ledger.append(tmp_path, record)
    assert ledger.read(tmp_path) == {"key": record}


def test_warnings_of_many_tasks_are_summed_up_by_kind() -> None:
    def record(what: str, text: str) -> Record:
        return Record(key=what, stage="fit", what=what, worker="", seconds=0.0, output="", digest="", warnings=text)

    found = records.warnings([record("a", "3 W: x\n1 W: y"), record("b", "2 W: x"), record("c", "")])
    assert found == ["W: x (5 times, in fit a and 1 more tasks)", "W: y (once, in fit a)"]


@pytest.mark.usefixtures("no_figures")
def test_run_counts_warnings_and_repeats_them(small_inputs: Path, tmp_path: Path, needle: Callable[..., Any]) -> None:
    folder = shutil.copytree(small_inputs, tmp_path / "analysis")
    with (folder / "physics.py").open("a") as file:
        file.write(WARNING)
    arguments = ("run", folder, "--set", "training.members=1", "--set", "training.epochs=1", "--set", "fit.blind=true")
    for last in ("fit", "report"):  # what is reused is repeated, too
        ended = needle(*arguments, "--until", last)
        assert ended.code == 0, ended.err
        (heard,) = [line for line in ended.err.splitlines() if "mind the gap" in line]
        assert heard.startswith("warning: UserWarning: mind the gap (")
        assert "warning: " in ended.err
        assert "fit.data: is left alone, since fit.blind is true" in ended.err
    summary = json.loads((tmp_path / "runs" / "small" / "report" / "summary.json").read_text())
    assert (
        summary["warnings"][0]
        == "fit.data: is left alone, since fit.blind is true; set fit.blind = false to look at the data"
    )
    assert "mind the gap" in summary["warnings"][1]
    assert "mind the gap" in (tmp_path / "runs" / "small" / "report" / "index.html").read_text()
