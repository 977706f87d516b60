"""End the interchange with the process that has started it.

Parsl: 2026.10.26, `parsl.executors.high_throughput.interchange`.
Without it: after `kill -9` of the process that submits, the interchange goes on for ever, and so do workers, which hear from it. It also
    stands in the process group of the terminal, whose keys reach it.
Upstream: https://github.com/Parsl/parsl/issues/3663 (open) and https://github.com/Parsl/parsl/issues/2742 (open).
Not needed any more when `test_plain_parsl_leaves_its_interchange_behind` fails.
"""

from __future__ import annotations

import os
from pathlib import Path

from needle_parsl.processes import supervised
from needle_parsl.workflow.executors.patches import spared_imports

INTERCHANGE = "parsl.executors.high_throughput.interchange"


def command(log: Path) -> list[str]:
    """Give the command line of an interchange that ends with this process, and writes to a log of its own."""
    return supervised.command(os.getpid(), str(log), spared_imports.program(INTERCHANGE))
