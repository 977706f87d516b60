"""`kill -9` among the toys: the next run goes on, repeats none that is recorded, and gives the same belt."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from needle_parsl import rundir
from needle_parsl.plan import stages

BELT = """
[intervals]
method         = "neyman"
grid           = [0.5, 1.0, 1.5]
toys_per_point = 400
[toys]
block = 40
pool  = 1
"""


def thrown(root: Path) -> list[str]:
    """Keys of the blocks of toys that are recorded."""
    lines = [json.loads(line) for line in (root / rundir.LEDGER).read_text().splitlines() if line.endswith("}")]
    return [line["key"] for line in lines if line["stage"] == "toys"]


@pytest.mark.campaign
def test_a_run_killed_among_its_toys_gives_the_same_belt(
    small_inputs: Path, tmp_path: Path, needle: Callable[..., Any]
) -> None:
    app, killed, whole = shutil.copytree(small_inputs, tmp_path / "app"), tmp_path / "killed", tmp_path / "whole"
    (app / "analysis.toml").write_text((app / "analysis.toml").read_text() + BELT)
    assert (ended := needle("run", app, "--until", "evaluate", "--out", killed)).code == 0, ended.err
    shutil.copytree(killed, whole)
    assert (ended := needle("run", app, "--until", "neyman", "--out", whole)).code == 0, ended.err
    command = [sys.executable, "-m", "needle_parsl", "run", app, "--until", "neyman", "--out", killed]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    ends = time.monotonic() + 300
    while run.poll() is None and not thrown(killed):
        assert time.monotonic() < ends
        time.sleep(0.02)
    run.kill()
    assert run.wait() == -9
    before = thrown(killed)
    assert 0 < len(before) < len(thrown(whole))
    assert (ended := needle("run", app, "--until", "neyman", "--out", killed)).code == 0, ended.err
    after = thrown(killed)
    assert sorted(after) == sorted(thrown(whole))
    belt = stages.place("neyman", "neyman")
    assert (killed / belt).read_bytes() == (whole / belt).read_bytes()
