"""The keys that a file may have: what its dataclasses declare, with the words in which people are told of it."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, reduce
from operator import or_
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class Reference(str):
    """Stands, as a type, for the name of something of the user's: `"physics.py:name"`, or `"module:name"`."""

    __slots__ = ()


NAMES = {str: "text", bool: "true or false", int: "a whole number", float: "a number", dict: "a table", tuple: "a list"}
NAMES[Reference] = 'a function of yours, "physics.py:name"'
PLURALS = {"text": "texts", "a whole number": "whole numbers", "a number": "numbers", "a table": "tables"}
NAME = "NAME"
"""Stands for a name that the user chooses."""


@dataclass(frozen=True)
class Key:
    """A key of a file."""

    table: str
    """The key of its table, `samples.NAME`; empty at the top of the file."""
    name: str
    kind: Any
    """Its type."""
    owner: type
    """The dataclass that declares it."""
    field: dataclasses.Field[Any]

    @property
    def path(self) -> str:
        """The whole key."""
        return f"{self.table}.{self.name}" if self.table else self.name


def key_of(field: dataclasses.Field[Any]) -> str:
    """Name a field as the file does; `yield_` is `yield`, a word that Python keeps for itself."""
    return field.name.rstrip("_")


DERIVED = {"derived": True}
"""Field metadata of what is no key: it follows from other keys."""
LATER = {"key": "said"}
"""Field metadata of a key that came later: where it is not said, fingerprints are those of before (`plan.keys`)."""


def within(low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> dict[str, Any]:
    """Bound a number or the numbers of a list: field metadata.

    Args:
        low: Smallest allowed value.
        high: Largest allowed value.
        above: The smallest value itself is not allowed.
    """
    return {"low": low, "high": high, "above": above}


def among(names: Collection[str], *, own: bool = False) -> dict[str, Any]:
    """Say which texts a key may hold: field metadata of a text, or of a list of texts.

    Args:
        names: All that are known.
        own: Whether something of the user's may stand there, too, by reference.
    """
    return {"names": tuple(names), "own": own}


def written(owner: type) -> list[dataclasses.Field[Any]]:
    """List the fields that are keys."""
    return [field for field in dataclasses.fields(owner) if "derived" not in field.metadata]


@cache
def hints(owner: type) -> dict[str, Any]:
    """Give the types of a dataclass' fields; texts that stand for something known are the literal ones."""
    found = get_type_hints(owner)
    named = [field for field in dataclasses.fields(owner) if "names" in field.metadata]
    return found | {field.name: _narrowed(found[field.name], field.metadata) for field in named}


def _narrowed(kind: Any, metadata: Mapping[str, Any]) -> Any:
    """Put the names that are known, and a reference if that may be, in the place of text."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is str:
        names: Any = Literal[metadata["names"]]
        return names | Reference if metadata["own"] else names
    if origin in (Union, types.UnionType):
        return reduce(or_, (_narrowed(argument, metadata) for argument in arguments))
    entries: Any = _narrowed(arguments[0], metadata) if origin is tuple else None
    return tuple[entries, ...] if origin is tuple else kind


def keys(owner: type, table: str = "") -> Iterator[Key]:
    """List every key of a dataclass, those of a table before those of the tables in it."""
    found = [Key(table, key_of(f), hints(owner)[f.name], owner, f) for f in written(owner)]
    yield from found
    for key in found:
        for inner, named in tables_of(key.kind):
            yield from keys(inner, f"{key.path}.{NAME}" if named else key.path)


def tables_of(kind: Any) -> Iterator[tuple[type, bool]]:
    """List the dataclasses that may stand in a value, and whether under names that the user chooses."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        yield kind, False
    elif get_origin(kind) is dict:
        yield from ((inner, True) for inner, _ in tables_of(get_args(kind)[1]))
    else:
        for argument in get_args(kind):
            yield from tables_of(argument)


def kind_at(owner: type, parts: list[str]) -> Any:
    """Give the type of a key; None where there is no such key, or no single type."""
    kind: Any = owner
    for part in parts:
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif inner := next((inner for inner, named in tables_of(kind) if not named), None):
            kind = hints(inner).get(part, hints(inner).get(f"{part}_"))
        else:
            return None
    return kind


def placeholder(kind: Any) -> Any:
    """Make an empty value of a type, so that the search for mistakes can go on after one."""
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return kind(**{f.name: placeholder(hints(kind)[f.name]) for f in dataclasses.fields(kind) if required(f)})
    if origin in (Union, types.UnionType, Literal):
        return placeholder(arguments[0]) if origin is not Literal else arguments[0]
    if origin is tuple and arguments[-1] is not Ellipsis:
        return tuple(placeholder(a) for a in arguments)
    return (origin or kind)()


def required(field: dataclasses.Field[Any]) -> bool:
    """Whether a key has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def describe(kind: Any) -> str:
    """Say a type in the words of a config file."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(a) for a in arguments if a is not type(None)))
    if origin is Literal:
        return " or ".join(f'"{a}"' if isinstance(a, str) else str(a) for a in arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        inner = describe(arguments[0])
        return f"a list of {PLURALS.get(inner, inner)}"
    if origin is tuple:
        return f"a list of {len(arguments)} values"
    return NAMES.get(origin or kind, "a table")


def limits(metadata: Mapping[str, Any]) -> str:
    """Say the bounds of a number, as in "a number from 1 to 10"."""
    low, high, above = metadata["low"], metadata["high"], metadata["above"]
    if high == math.inf:
        return f"above {low:g}" if above else f"of at least {low:g}"
    return f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
