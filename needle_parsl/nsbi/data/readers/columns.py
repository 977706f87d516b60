"""What a column is: flat, with one value per event, or jagged, with any number of them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
TEXT = "text"
"""Kind of a column of strings."""
JAGGED = "jagged "
"""What the kind of a jagged column starts with; the kind of its values follows."""
NUMBER = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")

Columns = dict[str, Any]
"""By name an array of shape (N,), or `Jagged`."""


def nullable(values: Array, null: npt.NDArray[np.bool_]) -> Array:
    """Make a column of whole numbers of which some are null; as floats, the others would be rounded beyond 2^53."""
    return np.ma.MaskedArray(values, null)


def nulls(column: Array) -> npt.NDArray[np.bool_] | None:
    """Say which whole numbers of a column are null; None for a column that has no such."""
    return np.ma.getmaskarray(column) if isinstance(column, np.ma.MaskedArray) else None


def plain(column: Array) -> Array:
    """Give a column as it is computed with: nulls are NaN."""
    null = nulls(column)
    if null is None:
        return column
    values: Array = np.asarray(column)
    return np.where(null, np.nan, values) if null.any() else values


def length(columns: Columns) -> int:
    """Count the events of a chunk."""
    return len(next(iter(columns.values())))


def flat(kind: str) -> bool:
    """Whether a kind is one number or text per event."""
    return kind == TEXT or NUMBER.fullmatch(kind) is not None


def jagged(kind: str) -> bool:
    """Whether a kind is any number of numbers per event."""
    return kind.startswith(JAGGED) and NUMBER.fullmatch(kind.removeprefix(JAGGED)) is not None


def refusal(name: str, kind: str) -> str:
    """Say why a column cannot be one number or text per event."""
    what = "is not flat" if jagged(kind) else "has a type that cannot be used"
    return f'column "{name}" {what} ({kind}); expected one number or text per event'
