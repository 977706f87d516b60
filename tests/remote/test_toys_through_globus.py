"""Blocks of toys that go through Globus Compute to processes of needle at an endpoint; the rest of the run stays here."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import generated
import pytest
from site_here import LocalSite

from needle_parsl.errors import InputError, TaskError
from needle_parsl.plan import Task
from needle_parsl.plan.stages import STAGES
from needle_parsl.workflow.executors import wire

pytestmark = pytest.mark.remote
Laptop = Callable[..., Any]
BLOCKS = 24
TOYS = f"""
[toys]
count = {4 * BLOCKS}
at    = [{{ mu = 1.0 }}]
block = 4
pool  = 1.0
"""
SITE = """
description      = "This machine, and an endpoint for the toys"
executor         = "globus-compute"
workers_per_node = 1
[remote]
endpoint = "$NEEDLE_ENDPOINT"
"""


@pytest.fixture
def analysis(tmp_path: Path) -> Path:
    (tmp_path / "site_configs").mkdir()
    (tmp_path / "site_configs" / "wide.toml").write_text(SITE)
    return generated.write(tmp_path, more=TOYS)


def calls() -> int:
    with urllib.request.urlopen("http://localhost:5000/calls") as answer:
        found: int = json.load(answer).get("POST /v3/endpoints/ID/submit", 0)
    return found


def records(root: Path) -> dict[str, dict[str, Any]]:
    return {line["key"]: line for line in map(json.loads, (root / "ledger.jsonl").read_text().splitlines())}


def test_toys_run_there_and_are_the_same(endpoint: str, laptop: Laptop, analysis: Path, tmp_path: Path) -> None:
    before = calls()
    ended = laptop("run", "--site", "wide", "--out", "far", analysis, "--until", "coverage", NEEDLE_ENDPOINT=endpoint)
    assert ended.code == 0, ended.err
    assert calls() - before <= 12  # not one for each block
    assert laptop("run", "--site", "local", "--out", "here", analysis, "--until", "coverage").code == 0
    far, here = records(tmp_path / "far"), records(tmp_path / "here")
    assert far.keys() == here.keys()
    assert [r["stage"] for r in far.values()].count("toys") == BLOCKS
    differ = {far[key]["stage"] for key in far if far[key]["digest"] != here[key]["digest"]}
    assert differ <= {"generate", "convert"}  # these name files and times
    workers = {stage: {r["worker"] for r in far.values() if (r["stage"] == "toys") == (stage == "toys")} for stage in ("toys", "rest")}  # fmt: skip
    assert not workers["toys"] & workers["rest"]
    assert len(workers["toys"]) <= 2  # the endpoint's workers, each with one process that stays


def test_what_goes_wrong_is_a_sentence(far: LocalSite, endpoint: str, laptop: Laptop, analysis: Path) -> None:
    def says(code: int, *words: str, **env: str) -> None:
        ended = laptop("run", "--site", "wide", "--out", "wrong", analysis, **env)
        assert ended.code == code, ended
        assert all(word in ended.err for word in words), ended.err
        assert "Traceback" not in ended.err

    says(2, "wide.toml", "remote.endpoint", "NEEDLE_ENDPOINT")
    says(2, "wide.toml", "remote.endpoint", "is no endpoint id", NEEDLE_ENDPOINT="perlmutter")
    says(2, "there is no endpoint", NEEDLE_ENDPOINT="5b0e8f1e-6c1f-4f0c-9b53-6a9f3e2d7c10")
    says(2, "there is no valid login", NEEDLE_ENDPOINT=endpoint, GLOBUS_COMPUTE_CLIENT_ID="", GLOBUS_COMPUTE_CLIENT_SECRET="")  # fmt: skip
    far.configure("bare", needle=False)
    says(1, "finds no needle", NEEDLE_ENDPOINT=far.start("bare"))
    to = json.loads((far.folder / "compute" / "bare" / "endpoint.json").read_text())["endpoint_id"]
    far.stop("bare")
    says(1, "is offline", NEEDLE_ENDPOINT=to)


def asked(root: Path, token: str, **more: Any) -> str:
    text = wire.question(token, wire.HELLO, str(root))
    return wire.answer(json.dumps(json.loads(text) | more))


def test_a_worker_that_sees_another_directory_says_so(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with pytest.raises(InputError, match="is not this run's directory"):
        wire.result(asked(tmp_path, "mine"))
    (tmp_path / "more" / "logs").mkdir(parents=True)
    (tmp_path / "more" / wire.TOKEN).write_text("mine")
    assert wire.result(asked(tmp_path / "more", "mine")) is None
    with pytest.raises(InputError, match=r"Python 3\.\d+ \(here 3\.8\)"):
        wire.result(asked(tmp_path / "more", "mine", versions=wire.versions() | {"Python": "3.8"}))


def test_a_process_answers_line_by_line_and_ends_with_its_input(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / wire.TOKEN).write_text("mine")
    task = Task(stage=STAGES["toys"], name="nothing", key="key", spec=None, after=())  # type: ignore[arg-type]  # what no task is made of
    wrong = wire.question("mine", "toys", str(tmp_path), task)
    hello = wire.question("mine", wire.HELLO, str(tmp_path))
    ended = subprocess.run(
        [sys.executable, "-m", "needle_parsl", "work"],
        input=f"{hello}\n{wrong}\n{hello}\n", capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    first, second, third = ended.stdout.splitlines()
    assert (wire.result(first), wire.result(third)) == (None, None)
    with pytest.raises(TaskError):
        wire.result(second)
