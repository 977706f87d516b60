"""Definitions that use each other: in which order, and which of them are needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from needle_parsl.errors import InputError
from needle_parsl.expressions.grammar import parse


def ordered(definitions: Mapping[str, str], wanted: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """List the definitions that some names need, each after those it uses.

    Args:
        definitions: Expressions by name; they may use each other.
        wanted: Names, of which some are defined.

    Raises:
        InputError: A definition needs itself; the message has the way round.
    """
    uses: dict[str, list[str]] = {}
    left = sorted(set(wanted) & definitions.keys())
    while left:
        if (name := left.pop()) not in uses:
            uses[name] = sorted(parse(definitions[name]).names() & definitions.keys())
            left += uses[name]
    try:
        return tuple((name, definitions[name]) for name in TopologicalSorter(uses).static_order())
    except CycleError as error:
        raise InputError(f"needs itself: {' uses '.join(reversed(error.args[1]))}") from error
