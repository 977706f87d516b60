"""Which values may be a feature or a weight, and how columns of them become rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from needle_parsl.errors import InputError

STRIP = 4096
"""Rows that are turned from columns into rows at a time: what is read and written then stays in a near cache."""
EXACT = 2**24
"""The largest whole number up to which float32 holds all of them."""
MEND = "mend the file, or select these events away"

Rows = np.typing.NDArray[np.float32]


def fill(columns: Sequence[Any], names: Sequence[str], x: Rows, where: str, nan: float | None = None) -> None:
    """Turn columns into rows of float32, all of them finite; NaN becomes a number, where one is given."""
    for name, column in zip(names, columns, strict=True):
        numbers(column, f'column "{name}"', where)
        exact(column, f'column "{name}"', where)
    whole = True
    strip = np.empty((len(columns), STRIP), np.float32)
    with np.errstate(over="ignore"):
        for start in range(0, len(x), STRIP):
            some = strip[:, : len(x) - start]
            for row, column in zip(some, columns, strict=True):
                row[:] = column[start : start + STRIP]
                if nan is not None:
                    np.copyto(row, nan, where=np.isnan(row))
            whole &= bool(np.isfinite(some).all())
            x[start : start + STRIP] = some.T
    if not whole:
        for name, column in zip(names, columns, strict=True):
            _complain(column, f'column "{name}"', where, allowed=nan is not None)


def _complain(column: np.typing.NDArray[np.generic], what: str, where: str, *, allowed: bool) -> None:
    """Say what is wrong with a feature, if something is.

    Raises:
        InputError: It is infinite, beyond float32, or NaN where that is not allowed.
    """
    absent = np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), bool)
    remedy = MEND
    if absent.any() and not allowed:
        remedy = (
            "mend the file, select these events away, or add "
            'missing = ["nan"] to [features] if NaN stands for nothing measured'
        )
    infinite = int(np.isinf(column).sum()) if column.dtype.kind == "f" and allowed else 0
    if infinite:
        raise InputError(f"{where}: {what} is infinite in {infinite} of {len(column)} events; {MEND}")
    largest = float(np.finfo(np.float32).max)
    finite(column[~absent] if allowed else column, what, where, largest, remedy)


def finite(
    column: np.typing.NDArray[np.generic],
    what: str,
    where: str,
    largest: float = np.inf,
    remedy: str = MEND,
) -> np.typing.NDArray[np.generic]:
    """Insist on finite numbers, not beyond the largest that is given; returns the column.

    Raises:
        InputError: Something else is there; the message says in how many events.
    """
    numbers(column, what, where)
    bad = int((~np.isfinite(column)).sum()) if column.dtype.kind == "f" else 0
    if bad:
        raise InputError(f"{where}: {what} is NaN or infinite in {bad} of {len(column)} events; {remedy}")
    if largest < np.inf and bool((np.abs(column.astype(np.float64)) > largest).any()):
        raise InputError(f"{where}: {what} has values beyond {largest:.2g}, the largest float32")
    return column


def probability(column: np.typing.NDArray[np.generic], what: str, where: str) -> None:
    """Insist on numbers from 0 to 1.

    Raises:
        InputError: Something else is there; the message says in how many events, and by how much.
    """
    values = column.astype(np.float64)
    outside = (values < 0) | (values > 1)
    if outside.any():
        worst = values[outside][np.abs(values[outside] - 0.5).argmax()]
        raise InputError(
            f"{where}: {what} is outside [0, 1] in {int(outside.sum())} of {len(values)} events, {worst:.4g} in one; "
            'expected the joint score r / (1 + r); joint ratios themselves are for loss = "regression"'
        )


def numbers(column: np.typing.NDArray[np.generic], what: str, where: str) -> None:
    """Refuse columns of text and the like."""
    if column.dtype.kind not in "biuf":
        raise InputError(f"{where}: {what} holds no numbers ({column.dtype})")


def exact(column: np.typing.NDArray[np.generic], what: str, where: str) -> None:
    """Refuse whole numbers that float32 would round."""
    if column.dtype.kind in "iu" and column.dtype.itemsize > 2 and len(column):
        far = max(abs(int(column.min())), abs(int(column.max())))
        if far > EXACT:
            raise InputError(
                f"{where}: {what} has whole numbers up to {far}; a feature holds them exactly only up to {EXACT}"
            )
