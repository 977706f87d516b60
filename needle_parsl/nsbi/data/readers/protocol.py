"""What every reader of input files can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, Self, TypeVar

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.readers.columns import Columns

T = TypeVar("T")


class Reader(Protocol):
    """An open file; use it in `with`."""

    @property
    def path(self) -> str:
        """Name the file, for messages."""

    @property
    def entries(self) -> int:
        """Count the rows."""

    @property
    def names(self) -> Sequence[str]:
        """List the columns."""

    def kind(self, name: str) -> str:
        """Name the type of a column.

        Returns:
            A NumPy type ("float32"), "text", "jagged float32", or for what cannot be read the type in the file's words.
        """

    def borders(self, names: Sequence[str]) -> Sequence[int]:
        """List rows at which the reading of some columns may start without unpacking anything twice.

        Returns:
            Ascending, from 0 to `entries`.
        """

    def iterate(self, names: Sequence[str], start: int, stop: int, step: int) -> Iterator[Columns]:
        """Read columns of the rows from start to stop, at most `step` rows at a time."""

    def __enter__(self) -> Self:
        """Stay open."""

    def __exit__(self, *error: object) -> None:
        """Close the file."""


def guarded(path: str, what: str, read: Callable[[], T]) -> T:
    """Turn what a library raises about a bad file into a sentence.

    Args:
        path: The file.
        what: What it is then, as in "damaged".
        read: What may fail.

    Raises:
        InputError: It failed.
    """
    try:
        return read()
    except (MemoryError, InputError):
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = "".join(c if c.isprintable() else "?" for c in lines[0])
        raise InputError(f"{path}: is {what}: {reason[:200]}") from error
