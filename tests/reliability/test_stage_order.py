"""Stages in any order of completion, with any number of workers, and after a kill: merged outputs have the same bytes, and nothing is done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from needle_parsl import files
from needle_parsl.workflow import ledger

ANALYSIS = """
name = "order"
physics = "physics.py"
[stages.fill]
function = "physics.py:fill"
over = { k = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] }
outputs = { spectrum = "hist", numbers = "arrays", facts = "json" }
merge = "sum"
[stages.rows]
function = "physics.py:rows"
over = { k = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] }
outputs = { events = "table" }
merge = "concatenate"
[stages.all]
function = "physics.py:whole"
after = ["fill", "rows"]
"""
PHYSICS = """
import os
import random
import time

import hist
import numpy as np


def wait(k):
    time.sleep(random.Random(f"{os.environ.get('ORDER')}{k}").uniform(0, float(os.environ.get("LONGEST", "0.2"))))


def fill(k):
    wait(k)
    rng = np.random.default_rng(k)
    x, weight = rng.normal(size=300), rng.exponential(size=300) * 10.0 ** rng.integers(-6, 6, 300)
    made = hist.Hist(hist.axis.Regular(10, -2, 2), storage=hist.storage.Weight()).fill(x, weight=weight)
    return {"spectrum": made, "numbers": {"sums": rng.normal(size=(3, 4)) * 1e3}, "facts": {"total": float(weight.sum()), "n": 300}}


def rows(k):
    wait(k + 100)
    return {"k": np.full(3, k), "x": np.random.default_rng(k).normal(size=3)}


def whole(fill, rows):
    return {"total": fill["facts"], "rows": len(rows)}
"""


def folder(tmp_path: Path) -> Path:
    (tmp_path / "analysis.toml").write_text(ANALYSIS)
    (tmp_path / "physics.py").write_text(PHYSICS)
    return tmp_path


def start(analysis: Path, root: Path, site: str, order: int, longest: float = 0.2) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "needle_parsl", "run", str(analysis), "--site", site, "--out", str(root)]
    return subprocess.Popen(
        command, env={**os.environ, "ORDER": str(order), "LONGEST": str(longest)}, stdout=subprocess.DEVNULL
    )


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): files.digest(path)
        for path in sorted((root / "stages").rglob("*"))
        if path.is_file()
    }


def sites(tmp_path: Path) -> list[str]:
    found = ["local"]
    for workers in (1, 2, 3, 4):
        path = tmp_path / f"workers{workers}.toml"
        path.write_text(f'description = "test"\nscheduler = "local"\nexecutor = "htex"\nworkers_per_node = {workers}\n')
        found.append(str(path))
    return found


@pytest.mark.campaign
def test_merged_bytes_do_not_depend_on_order_or_workers(tmp_path: Path) -> None:
    """Twenty random orders of completion, with threads and 1 to 4 workers."""
    analysis, found = folder(tmp_path), []
    orders: set[tuple[str, ...]] = set()
    for order in range(20):
        root = tmp_path / f"run{order}"
        assert start(analysis, root, sites(tmp_path)[order % 5], order).wait(300) == 0
        found.append(digests(root))
        orders.add(tuple(record.what for record in ledger.lines(root) if record.stage == "fill"))
    assert len(orders) > 15  # they were in another order indeed
    assert all(one == found[0] for one in found)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an undisturbed run gives, at any site."""
    path = tmp_path_factory.mktemp("whole")
    assert start(folder(path), path / "whole", "local", 1, 0.0).wait(300) == 0
    return digests(path / "whole")


@pytest.mark.parametrize("site", ["local", "local-htex"])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(whole: dict[str, str], tmp_path: Path, site: str) -> None:
    analysis = folder(tmp_path)
    root = tmp_path / "killed"
    process = start(analysis, root, site, 2, 1.0)
    until = time.monotonic() + 120
    while time.monotonic() < until and len(ledger.lines(root)) < 5:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = ledger.lines(root)
    assert 5 <= len(before) < 27
    for _ in range(100):  # until all that it had started has noticed
        done = start(analysis, root, site, 3, 0.0)
        if done.wait(300) == 0:
            break
        time.sleep(0.2)
    assert digests(root) == whole
    after = ledger.lines(root)
    assert len(after) == 12 + 1 + 12 + 1 + 1 + 1
    assert after[: len(before)] == before
