"""`needle bench serve`: all layouts give the same numbers, and what is measured is what was asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from needle_parsl import files
from needle_parsl.errors import InputError

FEW = ("--seconds", "0.3", "--concurrency", "1,2", "--hits", "20", "--rows", "8,64", "--instances", "2")


@pytest.mark.slow
def test_the_built_in_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "needle_parsl", "bench", "serve", "--builtin", "-o", str(tmp_path / "bench"), *FEW]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    found = files.read_json(tmp_path / "bench" / "serving.json")
    assert found["server"] == "built-in"
    settings = {(p["workload"], p["layout"], p["rows"], p["instances"], p["concurrency"]) for p in found["points"]}
    assert len(settings) == len(found["points"])
    cases = {
        ("chain", "one", 20, 1),
        ("chain", "client", 20, 1),
        ("networks", "one", 8, 1),
        ("networks", "client", 8, 1),
    }
    cases |= {("networks", "one", 64, 1), ("chain", "one", 20, 2), ("networks", "one", 8, 2)}
    assert settings == {(*case, n) for case in cases for n in (1, 2)}
    for point in found["points"]:
        assert point["requests"] > 0
        assert 0 < point["p50"] <= point["p95"]
        assert not point["errors"]
    assert (tmp_path / "bench" / "serving.png").read_bytes()[1:4] == b"PNG"
    assert len(ended.stderr.splitlines()) == len(found["points"])


def test_bad_numbers_are_a_sentence(needle: Callable[..., Any]) -> None:
    ended = needle("bench", "serve", "--builtin", "--rows", "1,x")
    assert ended.code == 2
    assert ended.err == '--rows 1,x: are to be whole numbers from 1 to 65536, such as "1,4,16"\n'
    from needle_parsl.cli import bench

    for text in ("", "0", "70000", "-1", "1.5"):
        with pytest.raises(InputError, match="whole numbers"):
            bench._numbers("--hits", text)
    assert bench._numbers("--hits", "1, 16") == (1, 16)


def test_where_nothing_can_be_written_nothing_is_measured(needle: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = needle("bench", "serve", "--builtin", "--out", tmp_path / "file")
    assert ended.code == 2
    assert ended.err == f"--out {tmp_path}/file: cannot be written to (File exists); choose another folder\n"


@pytest.mark.triton
def test_layouts_and_batches_of_triton(tritonserver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from needle_parsl.serving.bench import workloads
    from needle_parsl.workflow import bench

    monkeypatch.setattr(workloads, "MEMBERS", 2)
    monkeypatch.setattr(bench, "TOLERANCE", 1e-6)
    wanted = bench.BenchSettings(
        concurrency=(8,), hits=(30,), rows=(32,), instances=(), seconds=0.7, tritonserver=tritonserver
    )
    found = bench.run(wanted, lambda _: None)
    assert found.server.startswith("triton")
    settings = [(p.workload, p.layout, p.batching) for p in found.points]
    both = [(name, layout, True) for name in ("chain", "networks") for layout in workloads.LAYOUTS]
    assert settings == [*both, ("networks", "one", False)]
    known = dict(zip(settings, found.points, strict=True))
    batched, single = (known["networks", "one", batching].rows_per_execution for batching in (True, False))
    assert single == 32
    assert batched is not None
    assert batched > 48


def test_one_model_takes_the_steps_that_others_take_singly(tmp_path: Path) -> None:
    import json

    from needle_parsl.serving.bench import steps, workloads

    known = workloads.arrays("chain", 50, 1)
    for k, own in enumerate([workloads.STEPS, *((step,) for step in workloads.STEPS)]):
        folder = tmp_path / str(k)
        folder.mkdir()
        (folder / "steps.json").write_text(json.dumps(own))
        found = steps.load(folder)(known)
        if k == 0:
            whole = found["LABELS"]
        known = known if k == 0 else found
    np.testing.assert_array_equal(whole, known["LABELS"])
    assert 1 < len(set(whole.tolist())) < 50
    for n in (1, 2):
        folder = tmp_path / "0"
        assert steps.load(folder)(workloads.arrays("chain", n, 1))["LABELS"].shape == (n,)
