"""Columns that expressions make of others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from needle_parsl import expressions
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.readers import Columns
from needle_parsl.nsbi.data.readers.columns import nullable, nulls, plain
from needle_parsl.nsbi.data.values import WHOLE


def derive(columns: Columns, rows: int, derived: Iterable[tuple[str, str]], where: str) -> Columns:
    """Add the derived columns, names and expressions; where events are selected away they may be NaN."""
    for name, text in derived:
        made = evaluate(text, columns, where)
        columns = {**columns, name: made if made.shape == (rows,) else np.broadcast_to(made, (rows,))}
    return columns


def evaluate(text: str, columns: Columns, where: str) -> np.typing.NDArray[np.generic]:
    """Evaluate an expression in columns; what cannot be is NaN or infinite.

    Rows with a null are computed for themselves, so that whole numbers of the others stay exact.
    """
    tree = expressions.parse(text)
    used = {name: columns[name] for name in tree.names()}
    null = [found for column in used.values() if (found := nulls(column)) is not None and found.any()]
    if not null:
        return computed(tree, {name: np.asarray(column) for name, column in used.items()}, text, where)
    some = np.logical_or.reduce(null)
    whole = computed(tree, {name: np.asarray(column[~some]) for name, column in used.items()}, text, where)
    rest = computed(tree, {name: plain(column[some]) for name, column in used.items()}, text, where)
    return _merged(np.broadcast_to(whole, (~some).sum()), np.broadcast_to(rest, some.sum()), some)


def _merged(
    whole: np.typing.NDArray[np.generic], rest: np.typing.NDArray[np.generic], some: np.typing.NDArray[np.bool_]
) -> np.typing.NDArray[np.generic]:
    """Put what was computed of rows without nulls and of those with some in their places."""
    integral = np.isnan(rest) | ((rest == np.rint(rest)) & (np.abs(rest) < WHOLE)) if rest.dtype.kind == "f" else None
    exact = whole.dtype.kind in "biu" and integral is not None and bool(integral.all())
    made = np.zeros(len(some), whole.dtype if exact else np.result_type(whole, rest))
    made[~some] = whole
    if not exact:
        made[some] = rest
        return made
    unknown = np.zeros(len(some), bool)
    unknown[some] = np.isnan(rest)
    made[some] = np.nan_to_num(rest).astype(made.dtype)
    return nullable(made, unknown) if unknown.any() else made


def computed(
    tree: expressions.Expression, columns: Mapping[str, np.typing.NDArray[np.generic]], text: str, where: str
) -> np.typing.NDArray[np.generic]:
    """Compute an expression in plain columns, whose whole numbers are widened first.

    Raises:
        InputError: It cannot be computed.
    """
    try:
        with np.errstate(all="ignore"):
            return np.asarray(tree({name: _wide(column) for name, column in columns.items()}))
    except (TypeError, ValueError, ArithmeticError, np.exceptions.DTypePromotionError) as error:
        raise InputError(f'{where}: "{expressions.shorten(text)}" cannot be computed: {error}') from error


def _wide(column: np.typing.NDArray[np.generic]) -> np.typing.NDArray[np.generic]:
    """Widen numbers to 64 bits before arithmetic: counters of 8 bits, or without a sign, would wrap around."""
    if column.dtype == np.uint64 and len(column) and int(column.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"there are whole numbers up to {column.max()}, and only those below 2^63 can be used")
    if column.dtype.kind in "biu":
        return column.astype(np.int64)
    return column.astype(np.float64) if column.dtype.kind == "f" else column


def condition(text: str, columns: Columns, where: str) -> np.typing.NDArray[np.bool_]:
    """Evaluate a selection; NaN counts as no."""
    found = evaluate(text, columns, where)
    if found.dtype.kind not in "biuf":
        raise InputError(
            f'{where}: the selection "{expressions.shorten(text)}" is no condition; compare the column with something'
        )
    kept: np.typing.NDArray[np.bool_] = np.nan_to_num(plain(found)).astype(bool)  # NaN is no yes
    return kept
