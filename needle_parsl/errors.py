"""What needle raises on purpose, and the words for it.

Each exception takes its message only, so that it survives the way back from a worker.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class NeedleError(Exception):
    """A failure that needle foresaw; its message is written for the user."""


class InputError(NeedleError):
    """What the user wrote, or a file the user named, is wrong (exit code 2). One line per mistake."""


class TaskError(NeedleError):
    """A task could not do its work although its input is right (exit code 1)."""


def closest(name: str, known: Iterable[object]) -> str:
    """Say which of the known names is meant, as a half-sentence; empty if none is near.

    Args:
        name: What was written.
        known: The names that exist.
    """
    names = [str(k) for k in known]
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f" (known: {', '.join(names)})" if 0 < len(names) <= 12 else ""
