"""`[lists]`: lists that several stages go over, put in the place of their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from needle_parsl.analysis.tables import Analysis
from needle_parsl.analysis.tables.stages import LISTS, Value

Lists = Mapping[str, str | tuple[Value, ...]]


def resolved(analysis: Analysis, complain: Callable[[str, str], None]) -> Analysis:
    """Write out the lists that stages name.

    Args:
        analysis: As it was read.
        complain: Called with key and message for each mistake.
    """
    found: dict[str, str | tuple[Value, ...]] = {}
    for name in analysis.lists:
        if name in LISTS:
            complain(f"lists.{name}", "is the name of a list of needle's; choose another name")
        elif circle := _circle(analysis.lists, name):
            complain(f"lists.{name}", f"goes round in a circle: {' in '.join(circle)}")
        else:
            found[name] = members(analysis.lists, analysis.lists[name])
    stages = {
        name: replace(
            own,
            over={axis: found.get(said, said) if isinstance(said, str) else said for axis, said in own.over.items()},
        )
        for name, own in analysis.stages.items()
    }
    return replace(analysis, stages=stages)


def members(lists: Lists, said: str | tuple[Value, ...]) -> str | tuple[Value, ...]:
    """List members, those of a list that is named in its place; a text that names none stays."""
    if isinstance(said, str):
        return members(lists, lists[said]) if said in lists else said
    found: list[Value] = []
    for one in said:
        own = members(lists, one) if isinstance(one, str) and one in lists else one
        found += own if isinstance(own, tuple) else [own]
    return tuple(found)


def _circle(lists: Lists, name: str, path: tuple[str, ...] = ()) -> list[str]:
    """Follow the names in a list until one stands there again; empty if none does."""
    if name in path:
        return [*path[path.index(name) :], name]
    said = lists[name]
    named = [one for one in ([said] if isinstance(said, str) else said) if isinstance(one, str) and one in lists]
    return next((found for one in named if (found := _circle(lists, one, (*path, name)))), [])
