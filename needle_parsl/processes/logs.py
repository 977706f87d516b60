"""Logs that cannot fill a disk: whoever writes on and on, of each file the beginning and what came last are kept."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOST = 64 * 2**20
"""Bytes on disk at which a log is cut."""
KEPT = 8 * 2**20
"""Bytes of its beginning, and of its end, that are kept then: in one of them stands the cause of most trouble."""
LOOK = 1.0
"""Seconds between two looks."""
NOTE = "\n... a part of this log is left out here: it had become larger than {} MB\n"


@contextmanager
def bounded(folder: Path) -> Iterator[None]:
    """Cut the logs of a folder, and of those below, whenever one becomes too large.

    Whoever writes has opened them to append, as Parsl's loggers, this machine's blocks and Slurm do, and goes on at the new end.
    """
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK):
            cut(folder)

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join(LOOK)


def cut(folder: Path) -> None:
    """Look at all logs once."""
    for path in folder.rglob("*.log"):
        with suppress(OSError):
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and found.st_blocks * 512 > MOST:
                _shorten(path)


def _shorten(path: Path) -> None:
    """Leave out the middle of a log; what is written meanwhile is kept, but for that of the instant of the cut."""
    log = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
    try:
        size = os.fstat(log).st_size
        end = os.pread(log, KEPT, max(size - KEPT, KEPT))
        end += os.pread(log, KEPT, size)  # written since
        os.truncate(log, KEPT)
        left = memoryview(NOTE.format(MOST // 2**20).encode() + end.partition(b"\n")[2])
        while left:
            left = left[os.write(log, left) :]
    finally:
        os.close(log)
