"""Slow proofs on the off-shell app: `./scripts/test -m campaign -s tests/apps/test_offshell_campaign.py`.

`NEEDLE_TOYS` is the number of toys at each truth, 2000 unless it says otherwise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from needle_parsl import shipped

pytestmark = pytest.mark.campaign
APP = shipped.folder("apps") / "offshell"
TOYS = int(os.environ.get("NEEDLE_TOYS", "2000"))


def test_toys_from_the_amplitudes_are_unbiased_and_cover(tmp_path: Path) -> None:
    """At mu = 0.3, 1 and 2: bias, pull width and coverage of data sets drawn afresh; the ratios are those of one run."""
    settings = ["toys.at=[{mu=0.3},{mu=1.0},{mu=2.0}]", f"toys.count={TOYS}", "toys.block=100"]
    command = [sys.executable, "-m", "needle_parsl", "run", str(APP / "analysis.toml"), "--until", "coverage"]
    subprocess.run([*command, *(part for s in settings for part in ("--set", s))], cwd=tmp_path, check=True)
    found = json.loads((tmp_path / "runs/offshell/intervals/coverage.json").read_text())["points"]
    points = [point for point in found if point["level"] == 0.68 and point["method"] == "profile"]
    assert len(points) == 3
    for point in points:
        print(json.dumps(point))
    for point in points:
        assert point["failed"] <= 0.01 * TOYS
        assert abs(point["bias"]) < 0.1 * point["spread"] + 2 * point["bias_error"]
        assert 0.9 < point["pull_width"] < 1.1
        assert abs(point["coverage"] - 0.68) < 2.5 * point["error"]
