"""Whether a sample as a whole can be used: it has events, each with a name of its own, and a positive sum of weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from needle_parsl import expressions
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.recipes import OBSERVED, Recipe


def judge(sample: Events, files: Sequence[str], recipe: Recipe) -> None:
    """Refuse a sample that is empty as a whole, repeats its ids, or has no positive sum of weights.

    Raises:
        InputError: It is one of these.
    """
    accept(len(sample), len(sample) - len(np.unique(sample.id)), float(sample.weight.sum()), files, recipe)


def accept(rows: int, repeated: int, weight: float, files: Sequence[str], recipe: Recipe) -> None:
    """Judge a sample by its counts.

    Args:
        rows: Selected events.
        repeated: How many of them have the id of another. Two events of one name would share their fate in every split.
        weight: Sum of their weights.
        files: Where they come from, for the message.
        recipe: How they were selected.

    Raises:
        InputError: The sample is empty, repeats its ids, or has no positive sum of weights. Observed data may be empty.
    """
    if rows == 0 and recipe.sample == OBSERVED:
        return  # nothing was seen, which is a result
    if rows == 0:
        raise InputError(empty(files, recipe))
    if recipe.id and repeated:
        raise InputError(
            f"sample {recipe.sample}: {repeated} of {rows} events repeat the id of another; "
            f"name more columns in split.id than {list(recipe.id)}, or leave it out"
        )
    if weight <= 0:
        raise InputError(
            f"sample {recipe.sample}: the weights add up to {weight:g}; expected more than 0: look at the key weight, "
            f"now {recipe.weight}, and at {_listed(files)}"
        )


def empty(files: Sequence[str], recipe: Recipe) -> str:
    """Say that a sample has no events."""
    return f"sample {recipe.sample}: no event is left in {_listed(files)}{_after(recipe)}"


def _after(recipe: Recipe) -> str:
    selections = " and ".join(f'"{expressions.shorten(s)}"' for s in recipe.selections)
    return f" after the selection {selections}" if selections else ""


def _listed(files: Sequence[str]) -> str:
    return f"{files[0]} and {len(files) - 1} more files" if len(files) > 1 else files[0]
