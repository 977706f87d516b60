"""A run whose site has an inference server: its tasks are evaluated there, and the end of the server changes no byte."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from needle_parsl.analysis import load
from needle_parsl.nsbi.statistics import dataset
from needle_parsl.site import Serving, Site
from needle_parsl.workflow import ledger, prepared_run, run, serving

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
    """Three runs: without a server, with one, and with one that is killed before it was asked."""
    above = tmp_path_factory.mktemp("runs")
    found = {name: above / name for name in ("plain", "served", "killed")}
    done(found["plain"], small_inputs, None)
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
    records = {name: [r for r in ledger.lines(root) if r.stage == "evaluate"] for name, root in runs.items()}
    assert {r.evaluator for r in records["plain"]} == {"torch"}
    assert {r.evaluator for r in records["served"]} == {"built-in"}
    assert {r.evaluator for r in records["killed"]} <= {"onnxruntime", "built-in", "built-in, onnxruntime"}
    assert {r.key for r in records["plain"]} == {r.key for r in records["served"]}, "not in the key"


def test_numbers_are_those_of_torch(runs: dict[str, Path]) -> None:
    plain, served = (dataset.read(runs[name] / "ratios" / "asimov.h5") for name in ("plain", "served"))
    for name, values in plain.ratios.items():
        np.testing.assert_allclose(served.ratios[name], values, atol=2e-5)


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
