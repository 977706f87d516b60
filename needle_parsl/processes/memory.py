"""Whether the kernel says that a process was killed because memory ran out."""

from __future__ import annotations

import os
import re
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
KERNEL_LOG = Path("/dev/kmsg")
COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def kills(own: Path = Path("/proc/self/cgroup"), root: Path = CGROUPS) -> int:
    """Count the processes of this control group that were killed for want of memory; 0 where nobody counts.

    Args:
        own: Which group this process belongs to, as Linux says it.
        root: Where control groups are mounted.
    """
    return sum(int(found[1]) for path in _counters(own, root) if (found := COUNT.search(_text(path))))


def _counters(own: Path, root: Path) -> list[Path]:
    """Find `memory.events` (version 2) and `memory.oom_control` (version 1) of the group."""
    found = []
    for line in _text(own).splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            found.append(root / group.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            found.append(root / "memory" / group.lstrip("/") / "memory.oom_control")
    return found


def in_kernel_log(pid: int, log: Path = KERNEL_LOG) -> bool:
    """Whether the kernel's log says that it killed this process for want of memory; False where it cannot be read."""
    wanted = re.compile(rf"Out of memory.*\bprocess {pid}\b|oom-kill.*\bpid={pid}\b", re.IGNORECASE)
    return any(wanted.search(line) for line in _lines(log))


def _lines(log: Path) -> list[str]:
    """Read what there is; `/dev/kmsg` gives one record at a time, and would wait for the next."""
    lines: list[str] = []
    try:
        file = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return lines
    try:
        while chunk := os.read(file, 16_384):
            lines += chunk.decode(errors="replace").splitlines()
    except OSError:  # nothing more to read, or not for us
        return lines
    finally:
        os.close(file)
    return lines


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
