"""Functions of the user's that make events, tried with a few before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from needle_parsl.errors import InputError, closest
from needle_parsl.nsbi.data import conversion, generation
from needle_parsl.nsbi.data.events import Events, Fractions
from needle_parsl.nsbi.data.recipes import OBSERVED, Recipe

TRIAL = 100
"""Events that a generator is asked for."""


@dataclass(frozen=True)
class Throw:
    """A function that makes the events of toys."""

    recipe: Recipe
    reference: str
    parameters: Mapping[str, float]
    """Where it is tried."""


def generated(
    recipe: Recipe, reference: str, physics: tuple[str, str], events: int, fractions: Fractions, least: int
) -> Events:
    """Try a generator with a few events, and judge from them how many effective ones there will be.

    Args:
        recipe: What is kept of them.
        reference: The function, as the analysis names it.
        physics: Text and path of the user's Python file.
        events: How many it will be asked for.
        fractions: How they are split.
        least: Effective events that each part must have; 0 where there are no parts.

    Returns:
        The few.

    Raises:
        InputError: It makes other columns than are wanted, or too few events.
    """
    trial = _tried(generation.generate(reference, *physics, TRIAL, seed=0), recipe, reference)
    expected = trial.effective() * events / TRIAL
    smallest = (1.0 if fractions.crossed else min(fractions.train, fractions.combine, fractions.test)) * expected
    if recipe.sample != OBSERVED and smallest < least:
        passing = " and ".join(f"({text})" for text in recipe.selections if text)
        where = f" that pass {passing}" if passing else ""
        part = "" if fractions.crossed else " in the smallest part"
        raise InputError(
            f"sample {recipe.sample}: {events} generated events leave about {smallest:.0f} effective ones{where}{part}; "
            f"expected at least {least}; ask for more events, or set split.min_events lower"
        )
    return trial


def thrown(throw: Throw, physics: tuple[str, str]) -> None:
    """Try a function that makes toys, at the nominal parameters."""
    generator = np.random.default_rng(0)
    columns = generation.pseudo_data(throw.reference, *physics, generator, throw.parameters)
    _tried(columns, throw.recipe, throw.reference)


def _tried(columns: generation.Columns, recipe: Recipe, reference: str) -> Events:
    """Keep what a recipe says of what a function has made."""
    missing = [name for name in recipe.columns() if name not in columns]
    if missing:
        known = recipe.known(columns)
        lines = [f'sample {recipe.sample}: {reference} makes no column "{m}"{closest(m, known)}' for m in missing]
        raise InputError("\n".join(lines))
    conversion.distinct(recipe, columns, f"sample {recipe.sample}: {reference}")
    return conversion.select(columns, recipe, reference)
