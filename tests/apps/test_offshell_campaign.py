"""Slow proofs on the off-shell app: `./scripts/test -m campaign -rP tests/apps/test_offshell_campaign.py`.

`NEEDLE_TOYS` is the number of toys at each truth, 2000 unless it says otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from line import Line, unbiased_and_covering

from needle_parsl import shipped

pytestmark = pytest.mark.campaign
APP = shipped.folder("apps") / "offshell"
TOYS = int(os.environ.get("NEEDLE_TOYS", "2000"))
PAIRS = max(TOYS // 20, 10)
"""Toys at each truth that are fitted with the exact densities, too, which takes seconds each."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of the app with toys at three truths."""
    folder = tmp_path_factory.mktemp("offshell")
    settings = ["toys.at=[{mu=0.3},{mu=1.0},{mu=2.0}]", f"toys.count={TOYS}", "toys.block=100"]
    command = [sys.executable, "-m", "needle_parsl", "run", str(APP / "analysis.toml"), "--until", "coverage"]
    subprocess.run([*command, *(part for s in settings for part in ("--set", s))], cwd=folder, check=True)
    return folder / "runs" / "offshell"


def test_toys_from_the_amplitudes_are_unbiased_and_cover(run: Path) -> None:
    """At mu = 0.3, 1 and 2: bias, pull width and coverage of data sets drawn afresh; the ratios are those of one run."""
    print(*unbiased_and_covering(run, 3, TOYS, errors=0), sep="\n")


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.0])
def test_learned_and_exact_fits_of_the_same_toys_agree(run: Path, mu: float) -> None:
    """The mean of the paired differences is within 0.1 of the exact fit's error."""
    line = Line(run, APP / "analysis.toml")
    differences = []
    for seed in range(PAIRS):
        learned, exact = line.fits(mu, seed)
        assert learned.converged, seed
        differences.append((learned.value("mu") - exact.value("mu")) / exact.error("mu"))
    mean, error = np.mean(differences), np.std(differences) / np.sqrt(PAIRS)
    print(f"mu = {mu}: {mean:+.3f} +- {error:.3f} sigma, rms {np.std(differences):.3f}")
    assert abs(mean) < 0.1 + 2 * error  # what so many pairs can tell
