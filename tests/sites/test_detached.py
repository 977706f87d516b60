"""Drivers that outlive the terminal: found, shown, ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import until
from test_slurm import analysis

Needle = Callable[..., Any]


def test_a_detached_run_is_found_and_shown(needle: Needle, tmp_path: Path) -> None:
    here = {"PYTHONPATH": f"{Path(__file__).parent.parent.parent}:{Path(__file__).parent}"}
    file = analysis(tmp_path / "app", 2)
    ended = needle("run", file, "--site", "local-htex", "--out", "run", "--detach", env=here)
    assert ended.code == 0, ended.err
    assert "started as process" in ended.out
    again = needle("run", file, "--site", "local-htex", "--out", "run", "--detach", env=here)
    assert again.code == 2
    attached = needle("attach", "run", env=here)
    assert attached.code == 0, attached.err
    assert "tasks done" in attached.out
    assert needle("logs", "run").out == attached.out
    assert "done" in needle("status", "run").out
    assert needle("cancel", "run").err.strip() == "run: is not running"


def test_a_detached_run_is_cancelled(needle: Needle, tmp_path: Path) -> None:
    here = {"PYTHONPATH": f"{Path(__file__).parent.parent.parent}:{Path(__file__).parent}"}
    assert (
        needle(
            "run", analysis(tmp_path / "app", 500), "--site", "local-htex", "--out", "run", "--detach", env=here
        ).code
        == 0
    )
    until(lambda: "running" in needle("status", "run").out, 60)
    ended = needle("cancel", "run")
    assert ended.code == 0, ended.err
    assert "interrupted" in ended.out
    attached = needle("attach", "run")
    assert (attached.code, "interrupted" in attached.err) == (1, True)
