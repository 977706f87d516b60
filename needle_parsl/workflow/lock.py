"""One run at a time on a run directory: a lock that says who holds it, beats while it is held, and can be told from a dead one."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from needle_parsl import rundir
from needle_parsl.errors import InputError
from needle_parsl.processes import supervised
from needle_parsl.workflow import forms

BEAT = 30.0
"""Seconds between two signs of life."""
SILENT = 300.0
"""Seconds of silence after which a lock of another host is stale."""
FORM = {"host": str, "pid": int, "born": float, "since": str}
LARGEST = 65_536
"""Bytes of a lock; a larger one is none."""
MOVED = 2.0
"""Seconds by which the start of a process may seem to move: it is counted from that of the machine, which follows the clock."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems without locks answer; there, the process named in the file decides."""


@dataclass(frozen=True)
class Holder:
    """Who holds a run directory."""

    host: str
    pid: int
    born: float
    """When the process started, in seconds since the epoch: numbers of processes are used again."""
    since: str
    """When it took the lock."""

    @staticmethod
    def myself() -> Holder:
        """Describe this process."""
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        return Holder(socket.gethostname(), os.getpid(), psutil.Process().create_time(), now)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def holder(root: Path) -> Holder | None:
    """Say who is running in a directory; None if nobody is, or if its process is dead or has long been silent."""
    path = root / rundir.LOCK
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        table = json.loads(path.read_text(encoding="utf-8"))
        if not forms.fits(table, FORM) or table["pid"] < 1 or not f"{table['host']}{table['since']}".isprintable():
            return None
        found = Holder(**table)
        silent = time.time() - path.stat().st_mtime
        return found if _lives(found, silent) else None
    except (OSError, ValueError, TypeError, RecursionError, OverflowError):
        return None


def _lives(found: Holder, silent: float) -> bool:
    if found.host != socket.gethostname():
        return silent < SILENT
    try:
        process = psutil.Process(found.pid)
        return abs(process.create_time() - found.born) < MOVED and not supervised.gone(process)
    except psutil.NoSuchProcess:
        return False


def refuse(root: Path) -> None:
    """Refuse a directory in which another run is going on.

    Raises:
        InputError: There is one; the message names it.
    """
    other = holder(root)
    if other is not None:
        raise InputError(
            f'{root}: another run is going on here ({other}); wait for it ("needle status"), or choose another --out'
        )


@contextmanager
def held(root: Path, beat: float = BEAT) -> Iterator[None]:
    """Hold the lock of a run directory.

    Args:
        root: The run directory.
        beat: Seconds between two signs of life.

    Raises:
        InputError: Another run holds it, or the directory cannot be written to.
    """
    path = root / rundir.LOCK
    file = _taken(root, path)
    released = threading.Event()
    beating = threading.Thread(target=_beat, args=(file, released, beat), daemon=True)
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(asdict(Holder.myself())).encode(), 0)
        beating.start()
        yield
    finally:
        released.set()
        with suppress(OSError):  # a disk that has become read-only keeps its file; this process is dead to the next one
            path.unlink()
        os.close(file)


def _taken(root: Path, path: Path) -> int:
    """Open the lock file, and take the kernel's lock on it: it goes with the process, and two cannot have it."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise InputError(f"{root}: cannot be written to ({error.strerror}); choose another --out") from error
        try:
            _lock(root, file)
            refuse(root)  # another host may hold it although this kernel does not know
            if os.fstat(file).st_ino == path.stat().st_ino:
                return file
            os.close(file)  # its holder has just removed it
        except FileNotFoundError:
            os.close(file)
        except BaseException:
            os.close(file)
            raise


def _lock(root: Path, file: int) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        refuse(root)
        raise InputError(
            f"{root}: a process of an earlier run, or one that has just started, holds its lock"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _beat(file: int, released: threading.Event, pause: float) -> None:
    while not released.wait(pause):
        with suppress(OSError):  # a late beat is better than a dead run
            os.utime(file)
