"""Ctrl-C, SIGTERM and a closed terminal: the first ends a run cleanly, a second at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import psutil

CODE = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TOGETHER = 0.5
"""Seconds within which signals are one: `timeout` sends each twice, and so do shells that end."""


@contextmanager
def watched() -> Iterator[None]:
    """Turn the first of the signals into KeyboardInterrupt, and the second into an end at once.

    A signal that is ignored, as `nohup` does with SIGHUP, stays so. Only for the main thread.

    Raises:
        KeyboardInterrupt: There was one; also in the place of an error from writing to a terminal that has gone.
    """
    first: list[float] = []

    def handle(number: int, _: FrameType | None) -> None:
        if not first:
            first.append(time.monotonic())
            raise KeyboardInterrupt
        if number != signal.SIGHUP and time.monotonic() - first[0] > TOGETHER:
            at_once()

    before = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = [number for number in SIGNALS if before[number] != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, handle)
    try:
        yield
    except OSError as error:
        if first:
            raise KeyboardInterrupt from error
        raise
    finally:
        if not first:  # after an interrupt they stay: whoever catches it has the process end
            for number in heeded:
                signal.signal(number, before[number])


def at_once() -> None:
    """End this process and all its children, without a word more than needed."""
    for child in psutil.Process().children(recursive=True):
        with suppress(ProcessLookupError):  # most are no leaders of a group
            os.killpg(child.pid, signal.SIGKILL)
        with suppress(psutil.NoSuchProcess):
            child.kill()
    leave(CODE)


def leave(code: int) -> NoReturn:
    """End this process although threads of Parsl may still work; every file has its final name or none."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # a terminal that has gone
            stream.flush()
    os._exit(code)
