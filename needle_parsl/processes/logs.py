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
def bounded(folder: Path, most: int = MOST, kept: int = KEPT, pause: float = LOOK) -> Iterator[None]:
    """Cut the logs of a folder, and of those below, whenever one becomes too large.

    Whoever writes has opened them to append, as Parsl's loggers, this machine's blocks and Slurm do, and goes on at the new end.

    Args:
        folder: Where they are.
        most: Bytes on disk at which a log is cut.
        kept: Bytes of its beginning, and of its end, that are kept then.
        pause: Seconds between two looks.
    """
    over = threading.Event()

    def look() -> None:
        while not over.wait(pause):
            cut(folder, most, kept)

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join(pause)


def cut(folder: Path, most: int = MOST, kept: int = KEPT) -> None:
    """Look at all logs once."""
    for path in folder.rglob("*.log"):
        with suppress(OSError):
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and found.st_blocks * 512 > most:
                _shorten(path, most, kept)


def _shorten(path: Path, most: int, kept: int) -> None:
    """Leave out the middle of a log; what is written meanwhile is kept, but for that of the instant of the cut."""
    log = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
    try:
        size = os.fstat(log).st_size
        end = os.pread(log, kept, max(size - kept, kept))
        end += os.pread(log, kept, size)  # written since
        os.truncate(log, kept)
        left = memoryview(NOTE.format(most // 2**20).encode() + end.partition(b"\n")[2])
        while left:
            left = left[os.write(log, left) :]
    finally:
        os.close(log)
