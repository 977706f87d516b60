"""How a worker process ended: what its pool has seen, written down for the process that submits."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from needle_parsl.processes import time_limit

LOOK = 0.1
"""Seconds between two looks."""


@dataclass(frozen=True)
class Death:
    """How a worker process ended."""

    host: str
    rank: int
    pid: int
    exit_code: int
    """Minus the signal, if one killed it."""
    out_of_memory: bool
    """The kernel says so."""

    def sentence(self) -> str:
        """Say it; memory is blamed only on evidence."""
        how = (
            f"was killed by signal {-self.exit_code}"
            if self.exit_code < 0
            else f"ended with exit code {self.exit_code}"
        )
        why = ": its task took longer than [limits] allows" if self.exit_code == time_limit.CODE else ""
        if self.out_of_memory:
            why = ": out of memory"
        elif self.exit_code == -9:
            why = ", possibly out of memory"
        return f"its worker {how}{why} (process {self.pid} on {self.host})"


def place(folder: Path, host: str, rank: int) -> Path:
    """Locate the note on a lost worker."""
    return folder / f"{host}.{rank}.json"


def read(folder: Path, host: str, rank: int) -> Death | None:
    """Read how a worker ended, if that was seen."""
    try:
        return Death(**json.loads(place(folder, host, rank).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def awaited(folder: Path, host: str, rank: int, seconds: float) -> Death | None:
    """Read how a worker ended; Parsl may have said that it is lost a moment before it was written."""
    ended = time.monotonic() + seconds
    while not (found := read(folder, host, rank)) and time.monotonic() < ended:
        time.sleep(LOOK)
    return found
