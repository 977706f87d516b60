"""The channels app at its full size: `./scripts/test -m campaign -rP tests/apps/test_channels_campaign.py`. `NEEDLE_TOYS` is the number of toys."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from channels import APP, exactly, fit, points

from needle_parsl.analysis import load

TOYS = int(os.environ.get("NEEDLE_TOYS", "2000"))


@pytest.mark.campaign
def test_app_is_right(needle: Callable[..., Any], tmp_path: Path) -> None:
    """At its full size, with 2,000 toys: learned minus exact, bias, spread of pulls, coverage."""
    ended = needle("run", "--site", "local", APP, "--set", f"toys.count={TOYS}", "--set", "toys.block=250")
    assert ended.code == 0, ended.err
    run = tmp_path / "runs" / "channels"
    for data in ("observed", "asimov"):
        learned, best = fit(run, data)["parameters"]["mu"], exactly(run, load(APP), data)
        shift = (learned["value"] - best.value("mu")) / best.error("mu")
        print(
            f"{data}: learned minus exact {shift:+.3f} sigma, ratio of errors {learned['error'] / best.error('mu'):.3f}"
        )
        assert abs(shift) < 0.2
        assert learned["error"] / best.error("mu") == pytest.approx(1, abs=0.05)
    point, *_ = points(run)
    print({name: point[name] for name in ("bias", "bias_error", "spread", "pull_width", "coverage", "error")})
    assert abs(point["bias"]) < 0.05 * point["spread"] + 3 * point["bias_error"]
    assert abs(point["coverage"] - 0.68) < 2.5 * point["error"]
    assert abs(point["pull_width"] - 1) < 3 * point["pull_width_error"]
