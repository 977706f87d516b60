"""Compiled fits have the same bits in the process that compiles as in one that finds the code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="numba is not installed, see the extra `toys`")
FITS = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import bench_toys
from toy_problem import Problem
from needle_parsl.nsbi.statistics.toys.compiled.engine import CompiledFits
import numpy as np
events, truth, draws = bench_toys.thrown(Problem(), 8)
found = CompiledFits.of(events).fit(draws, truth, "mu", [1.0], np.empty((0, len(truth))))
print(hashlib.sha256(found.theta.tobytes() + found.nll.tobytes() + found.held.tobytes()).hexdigest())
"""


@pytest.mark.campaign
def test_compiling_process_has_the_bits_of_others(tmp_path: Path) -> None:
    """Compiles afresh, which takes a minute or two."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    scripts = str(Path(__file__).parents[3] / "scripts")
    found = [subprocess.run([sys.executable, "-c", FITS, scripts], env=env, check=True, capture_output=True, text=True).stdout for _ in range(2)]  # fmt: skip
    assert list(tmp_path.iterdir())
    assert found[0] == found[1]


def test_what_disables_numba_does_not_disable_needles_own(tmp_path: Path) -> None:
    """Without being compiled these functions do not work; a file of the current folder may say so, too."""
    code = "from needle_parsl.nsbi.statistics.toys.compiled import evaluation\nprint(type(evaluation.clear).__name__)"
    told = {**os.environ, "NUMBA_DISABLE_JIT": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "CPUDispatcher"
