"""Where in the user's file an exception comes from: `physics.py:18: DeepSet.forward: ...`."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import needle_parsl
from needle_parsl.errors import InputError

LIBRARIES = (sysconfig.get_paths()["stdlib"], "site-packages", str(Path(needle_parsl.__file__).parent), "<")
"""What is in the paths of files that no user has written."""


@contextmanager
def blamed(name: str, what: str = "", *, passed: tuple[type[Exception], ...] = (), hint: str = "") -> Iterator[None]:
    """Turn what the user's code raises into a sentence with its file and line.

    Args:
        name: Of the network.
        what: What was called.
        passed: Exceptions that mean something to the caller.
        hint: What may help where the code has taken something for something else.

    Raises:
        InputError: The code has failed.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, (InputError, MemoryError, *passed)):
            raise
        asked = hint if isinstance(error, (TypeError, KeyError, ValueError, AttributeError, IndexError)) else ""
        raise InputError(said(error, name, what, asked)) from error


def said(error: BaseException, name: str, what: str = "", hint: str = "") -> str:
    """Say what went wrong, and where in the user's own file.

    Args:
        error: What was raised.
        name: Of the network.
        what: Said in front, where no line of the user's is known.
        hint: Said behind.
    """
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    text = text if not hint else f"{text}; {hint}"
    place = own(error)
    if place is not None:
        return f"{place}: {text}"
    return f"{name}: {what}: {text}" if what else f"{name}: {text}"


def own(error: BaseException) -> str | None:
    """Name the last line of the user's that an exception went through; None if there is none."""
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = frame.f_code.co_filename
        if not any(part in path for part in LIBRARIES[1:]) and not path.startswith(LIBRARIES[0]):
            found = f"{Path(path).name}:{line}: {_function(frame)}"
    return found


def _function(frame: FrameType) -> str:
    owner = frame.f_locals.get("self")
    name = frame.f_code.co_name
    return f"{type(owner).__name__}.{name}" if owner is not None else name
