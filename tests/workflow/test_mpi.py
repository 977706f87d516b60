"""The toys of a run as one MPI program: the same numbers as on Parsl's workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MPIEXEC = Path(sys.executable).parent / "mpiexec"
SETTINGS = ("intervals.method='neyman'", "intervals.grid=[0.5, 1.0, 1.5]", "intervals.toys_per_point=10", "toys.block=4",
            "toys.pool=1", "toys.generate='physics.py:pseudo_data'", "toys.count=6", "intervals.rounds=1")  # fmt: skip


@pytest.mark.campaign  # seen to agree once and to differ once: to be understood
@pytest.mark.mpi
@pytest.mark.skipif(
    not MPIEXEC.exists() and not shutil.which("mpiexec"), reason="there is no mpiexec; install the extra `mpi`"
)
def test_mpi_program_gives_the_numbers_of_a_run(small_inputs: Path, tmp_path: Path, needle: Callable[..., Any]) -> None:
    app = shutil.copytree(small_inputs, tmp_path / "app")  # other tests have theirs as it is
    analysis = app / "analysis.toml"
    text = analysis.read_text()
    tables: dict[str, list[str]] = {}
    for setting in SETTINGS:
        key, value = setting.split("=", 1)
        table, name = key.split(".")
        tables.setdefault(table, []).append(f"{name} = {value}")
    analysis.write_text(text + "".join(f"\n[{table}]\n" + "\n".join(lines) + "\n" for table, lines in tables.items()))
    for root in ("parsl", "mpi"):
        until = ("--until", "evaluate") if root == "mpi" else ()
        ended = needle("run", app, "--out", tmp_path / root, *until)
        assert ended.code == 0, ended.err
    program = [
        str(MPIEXEC),
        "-n",
        "2",
        sys.executable,
        "-m",
        "needle_parsl.workflow.campaign",
        str(analysis),
        str(tmp_path / "mpi"),
    ]
    ran = subprocess.run(program, capture_output=True, text=True, check=False, env=os.environ, timeout=280)
    assert ran.returncode == 0, ran.stderr
    ended = needle("run", app, "--out", tmp_path / "mpi", "--json")
    assert ended.code == 0, ended.err
    for name in ("neyman.json", "coverage.json"):
        assert (tmp_path / "mpi" / "intervals" / name).read_bytes() == (
            tmp_path / "parsl" / "intervals" / name
        ).read_bytes()
    assert not [
        entry
        for entry in (tmp_path / "mpi" / "ledger.jsonl").read_text().splitlines()
        if '"reason":"' in entry and '"reason":""' not in entry
    ]
