"""`needle status` says of a finished run's result what the heading of its report says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from needle_parsl.nsbi.report.checks import run as judging
from needle_parsl.nsbi.report.checks.states import ORDER
from needle_parsl.summary import Finding
from needle_parsl.workflow.remote import answering

Needle = Callable[..., Any]
TASKS = {"total": 18, "done": 18, "failed": 0, "reused": 0}


def run(root: Path, status: str, reported: int, **summary: Any) -> Path:
    """Write a run directory with a report of which nobody knows the rest."""
    (root / "report").mkdir(parents=True)
    stages = {"report": {"tasks": 1, "done": reported, "seconds": 1.0}}
    (root / "run.json").write_text(json.dumps({"name": "g", "status": status, "tasks": TASKS, "stages": stages}))
    (root / "report" / "summary.json").write_text(json.dumps(summary))
    return root


@pytest.mark.parametrize("worst", ORDER)
def test_status_has_the_verdict_of_the_report(
    worst: Any, tmp_path: Path, inside: Needle, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = [Finding("fits", "pass", ""), Finding("toys", worst, ""), Finding("leaks", worst, "")]
    state, verdict = judging.verdict(checks)
    root = run(tmp_path / "run", "done", 1, state=state, verdict=verdict, value=1.0)
    assert inside("status", root).out.splitlines()[0] == f"g: done; {verdict}; 18 of 18 tasks done, 0 failed"
    facts = inside("status", root, "--json").json()
    assert (facts["status"], facts["state"], facts["verdict"]) == ("done", worst, verdict)
    (tmp_path / "driver.json").write_text('{"host": "h", "job": "7", "scheduler": "pbs"}')
    monkeypatch.setattr(answering, "_folder", lambda _: tmp_path)
    monkeypatch.setattr(answering, "_alive", lambda _: False)
    assert answering.answer({"what": "status", "run": "r"})["state"]["verdict"] == verdict


@pytest.mark.parametrize(
    ("status", "reported", "summary"),
    [
        ("failed", 0, {"state": "fail", "verdict": "of an earlier run"}),
        ("interrupted", 0, {"state": "fail", "verdict": "of an earlier run"}),
        ("done", 0, {"state": "fail", "verdict": "of an earlier run"}),
        ("done", 1, {"value": 1.0}),
        ("done", 1, {"state": ["fail"], "verdict": "x"}),
    ],
)
def test_a_report_that_is_not_of_this_run_or_no_report_says_nothing(
    status: str, reported: int, summary: Any, tmp_path: Path, inside: Needle
) -> None:
    root = run(tmp_path / "run", status, reported, **summary)
    assert inside("status", root).out.splitlines()[0] == f"g: {status}; 18 of 18 tasks done, 0 failed"
    assert not {"state", "verdict"} & inside("status", root, "--json").json().keys()
    (root / "report" / "summary.json").unlink()
    assert inside("status", root).code == 0
