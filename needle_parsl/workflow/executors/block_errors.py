"""Whether workers will ever come: what Parsl would wait for in vain becomes a sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from needle_parsl.workflow.executors.patches import no_more_blocks

NUMBER = re.compile(r"^\s*\d+: ")
"""Of the task of `srun -l` that has said a line."""
START = 3
"""Blocks in a row that may end before their workers are there."""


class BlockErrorHandler:
    """Looks at the blocks of an executor after each look at their states; what Parsl calls a handler of block errors."""

    def __init__(self, logs: Path) -> None:
        self.logs, self.verdict = logs, ""
        """Why there will be no workers; empty while there may be."""

    def __call__(self, executor: Any, status: dict[str, Any]) -> None:
        """Judge."""
        self.verdict = self.verdict or self._refused(executor, status) or self._never_came(executor, status)
        if self.verdict:
            no_more_blocks.stop(executor)

    def _refused(self, executor: Any, status: dict[str, Any]) -> str:
        """Say why the scheduler takes no job, unless there are others to work on."""
        provider = executor.provider
        if any(not block.terminal for block in status.values()) or not executor.outstanding():
            return ""
        if getattr(provider, "spent", ""):
            return str(provider.spent)
        if getattr(provider, "refused", ()) and provider.hopeless():
            return f"the scheduler refuses the job: {provider.refused[-1]}"
        return ""

    def _never_came(self, executor: Any, status: dict[str, Any]) -> str:
        """Say what blocks have said last, when several in a row have ended before their workers were there."""
        from parsl.jobs.states import JobState  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

        jobs = [block for block in sorted(status, key=int) if block in executor.blocks_to_job_id]
        last = [status[block] for block in jobs[-START:]]
        if len(last) < START or any(block.state != JobState.MISSING for block in last):
            return ""
        return f"workers cannot be started: {last_words(self.logs, last[-1].stderr_path)}"


def last_words(logs: Path, errors: str | None = None) -> str:
    """Quote what a block has said last: two lines, since the first may be a shell's, and the second ours about it.

    Args:
        logs: The folder of logs of a run.
        errors: The file with what it wrote to standard error; else the newest log of a block is looked for.
    """
    newest = max(logs.glob("block-*.log"), key=lambda path: path.stat().st_mtime, default=None)
    log = Path(errors) if errors else newest
    text = log.read_text(encoding="utf-8", errors="replace") if log and log.exists() else ""
    lines = [NUMBER.sub("", line) for line in text.strip().splitlines() if not line.startswith(("srun:", "slurmstepd"))]
    return f"{'; '.join(lines[-2:]) if lines else 'they ended without a word'} (see {log or logs})"
