"""Columns that are made of others: by expressions, and by functions of the user."""

from __future__ import annotations

import numpy as np

from needle_parsl import expressions, refs
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.readers import Columns
from needle_parsl.nsbi.data.readers.columns import to_awkward
from needle_parsl.nsbi.data.recipes import Recipe


def compute(columns: Columns, rows: int, recipe: Recipe, where: str) -> Columns:
    """Add the columns that functions of the user make of an awkward array."""
    for column in recipe.computed:
        import awkward as ak

        function = refs.resolve(column.function, *recipe.physics)
        said = f'{where}: {column.function} for "{column.name}"'
        events = ak.zip({name: to_awkward(columns[name]) for name in column.columns}, depth_limit=1)
        try:
            found = ak.to_numpy(function(events), allow_missing=False)
        except Exception as error:
            raise InputError(f"{said} failed: {type(error).__name__}: {error}") from error
        if found.shape != (rows,):
            raise InputError(f"{said} has shape {found.shape}; expected ({rows},), one number per event")
        columns = {**columns, column.name: found}
    return columns


def derive(columns: Columns, rows: int, recipe: Recipe, where: str) -> Columns:
    """Add the derived columns; where events are selected away they may be NaN."""
    for name, text in recipe.derived:
        columns = {**columns, name: np.broadcast_to(evaluate(text, columns, where), (rows,))}
    return columns


def evaluate(text: str, columns: Columns, where: str) -> np.typing.NDArray[np.generic]:
    """Evaluate an expression in columns; what cannot be is NaN or infinite."""
    tree = expressions.parse(text)
    try:
        with np.errstate(all="ignore"):
            return np.asarray(tree({name: _wide(columns[name]) for name in tree.names()}))
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
    kept: np.typing.NDArray[np.bool_] = np.nan_to_num(found).astype(bool)  # NaN is no yes
    return kept
