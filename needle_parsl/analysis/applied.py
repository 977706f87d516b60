"""Settings that a search has chosen, put into `[training]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from needle_parsl.analysis import space
from needle_parsl.analysis.space import Value
from needle_parsl.analysis.tables import Search, Training


def apply(training: Training, settings: Mapping[str, Value]) -> Training:
    """Write settings into the table.

    Args:
        training: As the user wrote it.
        settings: By key; `network.NAME` is an argument of the network, and `ensemble.NAME` concerns what is made of networks later.
    """
    arguments = {n.removeprefix(space.ARGUMENT): value for n, value in settings.items() if n.startswith(space.ARGUMENT)}
    own = {n: value for n, value in settings.items() if not n.startswith((space.ARGUMENT, space.ENSEMBLE))}
    found: Training = replace(training, **own)  # type: ignore[arg-type]  # the rules of the table have looked at every value
    if not arguments:
        return found
    name, given = training.architecture()
    table: dict[str, Any] = {"_target_": name, **given}
    for path, value in arguments.items():
        table = _put(table, path.split("."), value)
    return replace(found, network=table)


def first(search: Search) -> dict[str, Value]:
    """Give the first value of each range, for networks that are tried before anything is found."""
    return {name: ends[0] for name, ends in _ends(search).items()}


MOST = 40
"""Values that are tried beside the first ones."""


def further(search: Search) -> Sequence[tuple[str, Value, Sequence[Mapping[str, Value]]]]:
    """List every other choice and end of a range, with its key, and in whole settings: beside the first values of all others, and beside the last."""
    ends = _ends(search)
    firsts, lasts = ({name: own[place] for name, own in ends.items()} for place in (0, -1))
    found = [
        (name, value, ({**firsts, name: value}, {**lasts, name: value}))
        for name, own in ends.items()
        if not name.startswith(space.ENSEMBLE)
        for value in own[1:]
    ]
    return found[:MOST]


def _ends(search: Search) -> dict[str, tuple[Value, ...]]:
    return {name: space.parse(text).extremes() for name, text in space.flat(search.space).items()}


def _put(table: Mapping[str, Any], path: Sequence[str], value: Value) -> dict[str, Any]:
    """Set a value in nested tables."""
    first, *rest = path
    return {**table, first: _put(table.get(first, {}), rest, value) if rest else value}
