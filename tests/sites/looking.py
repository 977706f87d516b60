"""What tests of sites look at: the jobs of a run, until something is so."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from needle_parsl import files, rundir


def jobs(root: Path) -> dict[str, dict[str, Any]]:
    """Read what a run has written down of its jobs."""
    found: dict[str, dict[str, Any]] = files.read_json(root / rundir.JOBS) if (root / rundir.JOBS).exists() else {}
    return found


def until(there: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not (found := there()):
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.2)
    return found
