"""Columns that functions of the user make of awkward arrays."""

from __future__ import annotations

import awkward as ak

from needle_parsl import refs
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import formulas
from needle_parsl.nsbi.data.readers import Columns
from needle_parsl.nsbi.data.readers.awkward_columns import to_awkward
from needle_parsl.nsbi.data.recipes import Recipe


def compute(columns: Columns, rows: int, recipe: Recipe, where: str) -> Columns:
    """Add the columns of the recipe's functions, each of `rows` numbers.

    Args:
        columns: By name, shape (N,) or jagged.
        rows: N.
        recipe: What is computed, and the user's code.
        where: File and sample, for the message.

    Raises:
        InputError: A function failed, or gave another shape.
    """
    for column in recipe.computed:
        function = refs.resolve(column.function, *recipe.physics)
        said = f'{where}: {column.function} for "{column.name}"'
        known = formulas.derive({name: columns[name] for name in column.columns}, rows, column.derived, where)
        events = ak.zip({name: to_awkward(values) for name, values in known.items()}, depth_limit=1)
        try:
            with refs.alone(column.function):
                found = ak.to_numpy(function(events, **dict(column.given)), allow_missing=False)
        except (Exception, SystemExit) as error:
            raise InputError(f"{said} failed: {type(error).__name__}: {error}") from error
        if found.shape != (rows,):
            raise InputError(f"{said} has shape {found.shape}; expected ({rows},), one number per event")
        columns = {**columns, column.name: found}
    return columns
