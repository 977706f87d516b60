"""What needle raises on purpose, and the words for it.

Each exception takes its message only, so that it survives the way back from a worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from needle_parsl import addresses


@dataclass(frozen=True)
class Blame:
    """Where a task failed."""

    worker: str = ""
    """Host, process and thread."""
    log: str = ""
    """A file with the details, relative to the run directory."""
    detail: str = ""
    """What of the task it was, such as a member."""


LONGEST, MOST_LINES = 2_000, 2_000
"""Characters of a line of a message that are kept, and its lines."""


def bounded(text: str) -> str:
    """Cut a text whose length somebody else decides: messages go to terminals, records and reports."""
    if len(text) <= LONGEST:
        return text
    lines = text.split("\n", MOST_LINES)
    kept = [
        line if len(line) <= LONGEST else f"{line[:LONGEST]}... ({len(line)} characters)" for line in lines[:MOST_LINES]
    ]
    return "\n".join([*kept, f"... and {len(lines[MOST_LINES])} characters more"] if len(lines) > MOST_LINES else kept)


def said(error: BaseException) -> str:
    """Give the kind and the words of an exception, whose own class may be unable to say them."""
    try:
        return bounded(f"{type(error).__name__}: {error}")
    except Exception as unable:  # noqa: BLE001  whatever a user's __str__ raises
        return f"{type(error).__name__}: its message cannot be read ({type(unable).__name__})"


class NeedleError(Exception):
    """A failure that needle foresaw; its message is written for the user."""

    blame = Blame()
    """Set on the worker."""

    def __init__(self, message: str = "") -> None:
        super().__init__(addresses.shown(bounded(message)))


@dataclass(frozen=True)
class Problem:
    """One mistake of the user: what is wrong and how to mend it, and where."""

    message: str
    file: str = ""
    """The file that has to be mended; `--set` for an override of the command line."""
    line: int | None = None
    key: str = ""

    def __post_init__(self) -> None:
        """Keep no password."""
        object.__setattr__(self, "message", addresses.shown(self.message))

    def __str__(self) -> str:
        """Say it in one line: `analysis.toml:12: features.names: is empty; name at least one column`."""
        file = f"{self.file}:{self.line}" if self.line else self.file
        place = f"{file} {self.key}" if file == "--set" else ": ".join(part for part in (file, self.key) if part)
        return f"{place}: {self.message}" if place else self.message


def printable(text: str) -> str:
    """Write what cannot be printed, such as the end of a line, as Python does: a message has one line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def legible(text: str) -> str:
    """Write what would steer a terminal, such as its escape codes, as Python does; lines and tabs stay, passwords in addresses do not."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in addresses.shown(text))


class InputError(NeedleError):
    """What the user wrote, or a file the user named, is wrong (exit code 2). One line per mistake."""

    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> InputError:
        """Make the error of several mistakes; each is said once, in the order of the file."""
        ordered = sorted(dict.fromkeys(problems), key=lambda problem: (problem.file, problem.line or 0))
        error = cls("\n".join(map(str, ordered)))
        error.problems = tuple(ordered)
        return error

    def listed(self) -> tuple[Problem, ...]:
        """List the mistakes; those that were raised as text have no place of their own."""
        return self.problems or tuple(Problem(line) for line in str(self).split("\n"))


class TaskError(NeedleError):
    """A task could not do its work although its input is right (exit code 1)."""


class CrashError(TaskError):
    """A task failed as nobody foresaw; it may be tried again."""


MOST_NAMES = 20
"""Known names that a message lists."""


def near(name: str, known: Iterable[object], cutoff: float = 0.6) -> str | None:
    """Find the known name that is meant; None if none is near.

    Args:
        name: What was written.
        known: The names that exist.
        cutoff: How near it must be: 1 is the same.
    """
    names = {str(k).lower(): str(k) for k in known}
    found = get_close_matches(name.lower(), names, n=1, cutoff=cutoff)
    return names[found[0]] if found else None


def closest(name: str, known: Iterable[object]) -> str:
    """Say which of the known names is meant, as a half-sentence; empty if none is near.

    Args:
        name: What was written.
        known: The names that exist.
    """
    names = [str(k) for k in known]
    if meant := near(name, names):
        return f'; did you mean "{meant}"?'
    return f" (known: {', '.join(names)})" if 0 < len(names) <= MOST_NAMES else ""
