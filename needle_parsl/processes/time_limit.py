"""The time that a task of the user's code may take, in a process of its own."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from needle_parsl.errors import TaskError

CODE = 75
"""Exit code of a worker whose task did not end when it was told to."""
GRACE = 20.0
"""Seconds in which Python code must have noticed; code of other languages does not."""


class LimitError(TaskError):
    """A task has taken longer than it may; raised in the midst of it."""


@contextmanager
def limited(seconds: float, key: str) -> Iterator[None]:
    """End what is done here after some time: by an exception, and if that does not help with the process.

    Args:
        seconds: How long it may take.
        key: Which key says so.

    Raises:
        LimitError: It has taken longer.
    """
    if seconds == float("inf"):
        yield
        return
    over, thread = threading.Event(), threading.get_ident()

    def watch() -> None:
        if over.wait(seconds):
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(LimitError))
        if not over.wait(GRACE):
            os._exit(CODE)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except LimitError:
        raise LimitError(
            f"the user's code has taken longer than {seconds:g} s, as {key} allows; it was ended"
        ) from None
    finally:
        over.set()
