"""A run whose site has an inference server: its tasks are evaluated there, and the end of the server changes no byte."""

from __future__ import annotations

import os
import signal
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from needle_parsl.analysis import load
from needle_parsl.site import Serving, Site
from needle_parsl.workflow import ledger, prepared_run, run, serving

pytestmark = pytest.mark.slow


def done(root: Path, inputs: Path, wanted: Serving | None, on_end: Any = lambda *_: None) -> list[str]:
    """Run an analysis up to its fits; give what was said."""
    said: list[str] = []
    site = Site(description="t", serving=wanted)
    prepared = prepared_run.prepare(root, load(inputs), site, "fit")
    outcome = run.run(prepared, on_end, said.append)
    assert not outcome.failed, outcome.failed
    return said


@pytest.fixture(scope="module")
def runs(small_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two runs: with a server, and with one that is killed before it was asked."""
    above = tmp_path_factory.mktemp("runs")
    found = {name: above / name for name in ("served", "killed")}
    said = done(found["served"], small_inputs, Serving(server="built-in"))
    assert said[-1:] == ["the built-in server evaluates networks for this run"]

    killed: list[int] = []

    def kill(task: Any, _: Any) -> None:
        if task.stage.name != "combine" or killed:
            return
        for process in psutil.Process().children(recursive=True):
            if "needle_parsl.serving.builtin" in process.cmdline() and process.pid != os.getpid():
                killed.append(process.pid)
                os.kill(process.pid, signal.SIGKILL)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done(found["killed"], small_inputs, Serving(server="built-in"), kill)
    assert killed
    return found


def test_who_evaluates_stands_in_the_record(runs: dict[str, Path]) -> None:
    lines = {name: ledger.lines(root) for name, root in runs.items()}
    said = {name: {r.evaluator for r in found if r.stage == "evaluate"} for name, found in lines.items()}
    assert {r.evaluator for r in lines["served"] if r.stage == "combine"} == {""}
    assert said["served"] == {"built-in"}
    assert said["killed"] <= {"onnxruntime", "built-in", "built-in, onnxruntime"}


def test_keys_are_those_without_a_server(runs: dict[str, Path], small_inputs: Path) -> None:
    plain = prepared_run.prepare(runs["served"], load(small_inputs), Site(description="t"), "fit")
    assert not plain.todo()


def test_the_end_of_the_server_changes_no_byte(runs: dict[str, Path]) -> None:
    served, killed = ({r.output: r.digest for r in ledger.lines(runs[name])} for name in ("served", "killed"))
    assert any(output.startswith("fits/") for output in served)
    assert served == killed


def test_nothing_of_the_server_stays(runs: dict[str, Path]) -> None:
    assert not (runs["served"] / "serving").exists()
    assert (runs["served"] / "logs" / "serving.log").exists()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [(Serving(server="triton", tritonserver="/nowhere/tritonserver"), "/nowhere/tritonserver: is no program")],
)
def test_a_server_that_is_not_there(wanted: Serving, message: str, tmp_path: Path) -> None:
    from needle_parsl.errors import InputError

    with pytest.raises(InputError, match=message):
        serving.of_site(wanted, tmp_path)


def test_a_server_on_a_node_of_workers(tmp_path: Path) -> None:
    """It begins with the run, is started again when it dies, and ends with the run."""
    from needle_parsl.serving import endpoint as endpoints
    from needle_parsl.workflow import executors, flow, serving_block

    wanted = Serving(where="gpu", server="built-in", host="127.0.0.1")
    site = Site(description="t", executor="htex", workers_per_node=1, serving=wanted)
    (tmp_path / "logs").mkdir()
    path = tmp_path / endpoints.FOLDER / endpoints.FILE

    def next_one(before: str) -> endpoints.Endpoint:
        ends = time.monotonic() + 90
        while time.monotonic() < ends:
            if path.exists() and (found := endpoints.read(path)).started != before:
                return found
            time.sleep(0.1)
        raise AssertionError((tmp_path / "logs" / "serving.node.stderr").read_text())

    with serving.of_run(tmp_path, site, lambda _: None), executors.started(site, tmp_path / "logs") as machine:
        with serving_block.started(site, tmp_path, partial(flow.serve, machine, tmp_path), lambda _: None):
            first = next_one("")
            assert first.token
            for process in psutil.Process(first.pid).children():
                process.kill()
            second = next_one(first.started)
        ends = time.monotonic() + 30
        while path.exists() and time.monotonic() < ends:
            time.sleep(0.1)
        assert not path.exists()
    while psutil.pid_exists(second.pid) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not psutil.pid_exists(second.pid)
