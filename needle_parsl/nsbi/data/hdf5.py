"""needle's own HDF5 files: nothing that they point to is followed, and what is wrong with one is a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from needle_parsl import kinds
from needle_parsl.errors import InputError, NeedleError, printable

DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SystemError,
    TypeError,
    ValueError,
)
"""What h5py, NumPy and JSON raise about a file that does not hold what it should."""


@contextmanager
def opened(path: Path | str, what: str) -> Iterator[h5py.File]:
    """Open a file that needle has written, or that somebody says it has.

    Args:
        path: The file.
        what: What it is, for the message: "estimator".

    Raises:
        InputError: It is none, whether that is noticed here or by whoever reads it.
    """
    if wrong := kinds.unreadable(Path(path)):
        raise InputError(f"{path}: {wrong}")
    try:
        with h5py.File(path, "r") as file:
            plain(file)
            yield file
    except NeedleError as error:
        raise type(error)(f"{path}: {error}") if str(path) not in str(error) else error from error
    except DAMAGE as error:
        reason = printable(" ".join(str(error).split()))[:200]
        raise InputError(f"{path}: is no {what} that can be read ({type(error).__name__}: {reason})") from error


def plain(file: h5py.Group) -> None:
    """Insist on data that lies in the file itself, whole.

    Raises:
        InputError: A link or a data set points elsewhere, or stands for more than the file holds.
    """
    names: list[str] = []
    file.visititems_links(lambda name, link: names.append("" if isinstance(link, h5py.HardLink) else name))
    if elsewhere := [name for name in names if name]:
        raise InputError(f'holds a link, "{printable(elsewhere[0])}"; needle writes none, and none is followed')

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
            raise InputError(
                f'the data of "{printable(name)}" lies in another file; needle writes none such, and none is read'
            )
        if (
            isinstance(item, h5py.Dataset)
            and item.id.get_storage_size() < item.nbytes
            and not h5py.check_string_dtype(item.dtype)
        ):
            raise InputError(f'"{printable(name)}" claims {item.nbytes} bytes and holds {item.id.get_storage_size()}')

    file.visititems(look)
