"""The state of a local file: equal states, equal content, as far as a file system can tell."""

from __future__ import annotations

import os
import time
from typing import Any

YOUNG = 2_000_000_000
"""Nanoseconds after a change within which a file may change again unnoticed: the coarsest clock of a file system."""


def of(stat: os.stat_result) -> list[Any]:
    """Give size, times and number of a file; the state of one that has changed a moment ago is like no other, so that it is read again."""
    found = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    now = time.time_ns()
    return [*found, now] if now - max(stat.st_mtime_ns, stat.st_ctime_ns) < YOUNG else found
