"""What a finished task leaves behind: one line of the ledger."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """A finished task, done or failed."""

    key: str
    stage: str
    what: str
    worker: str
    """Host, process and thread."""
    seconds: float
    """Wall time of the work itself."""
    output: str
    """Relative to the run directory."""
    digest: str
    """Of the output; empty for a failed task."""
    reason: str = ""
    """Why it failed; empty for a task that is done."""
