"""Progress of a run: lines without a terminal, bars on one, nothing where all is up to date."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from needle_parsl.cli import progress, terminal
from needle_parsl.workflow.prepared_run import Prepared

STAGES = ("convert", "train", "train", "train")


def prepared(done: int) -> Prepared:
    """A run of four tasks of which some are done."""
    tasks = [
        SimpleNamespace(stage=SimpleNamespace(name=stage), name=str(number)) for number, stage in enumerate(STAGES)
    ]
    plan = SimpleNamespace(stages=lambda: dict(Counter(STAGES)))
    return cast("Prepared", SimpleNamespace(plan=plan, todo=lambda: tasks[done:]))


def finish(run: Prepared, *, quiet: bool = False, reason: str = "", pause: float = progress.EACH) -> None:
    with progress.shown(run, quiet=quiet, pause=pause) as on_end:
        for task in run.todo():
            on_end(task, cast("Any", SimpleNamespace(seconds=2.0, reason=reason)))


def test_lines_count_what_was_done_before(capsys: pytest.CaptureFixture[str]) -> None:
    finish(prepared(2), pause=0.0)
    lines = capsys.readouterr().err.splitlines()
    # Clocks differ by a second where the machine is busy.
    assert [line.partition(": ")[2] for line in lines] == [
        "convert 1 of 1, train 2 of 3",
        "convert 1 of 1, train 3 of 3",
    ]
    assert all(line.startswith("0:00:0") for line in lines)


@pytest.mark.parametrize(("done", "quiet"), [(2, True), (4, False)])
def test_nothing_is_shown_where_nobody_asks(done: int, quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    finish(prepared(done), quiet=quiet, pause=0.0)
    assert capsys.readouterr().err == ""


def test_a_short_run_has_no_lines_and_equal_reasons_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    finish(prepared(1), reason="no [bold]space[/bold]")
    assert capsys.readouterr().err.splitlines() == ["failed: train 1: no [bold]space[/bold]"]


def test_a_terminal_has_a_bar_for_each_stage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "ERR", terminal.Plain(stderr=True, force_terminal=True, width=100))
    finish(prepared(0))
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "6.0 s of work" in shown
