"""Records that know their JSON: an object with their fields, in their order."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

Json = dict[str, Any]


class JsonRecord:
    """A frozen dataclass that stands in a JSON file. One whose object is not simply its fields says so by methods of its own."""

    def to_json(self) -> Json:
        """Give the object that is written."""
        record: Any = self  # a dataclass
        return {field.name: encode(getattr(self, field.name)) for field in fields(record)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read the object again.

        A field that the file lacks has its default, or is None: who needs it notices, and nobody else.
        """
        record: Any = cls
        types = _types(record)
        return cls(**{name: decode(kind, found.get(name, default)) for name, (kind, default) in types.items()})


def encode(value: Any) -> Any:
    """Give what JSON has for a value: arrays and tuples are lists, other dataclasses objects."""
    if isinstance(value, JsonRecord):
        return value.to_json()
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: encode(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [encode(inner) for inner in value]
    return value.tolist() if hasattr(value, "tolist") else value


def decode(kind: Any, value: Any) -> Any:
    """Make what a type says of what JSON has; null stays None, and numbers are not looked at.

    Args:
        kind: Of a record, a tuple, a mapping, or of what JSON knows itself.
        value: As it was read.
    """
    if value is None:
        return None
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return decode(next(one for one in inner if one is not types.NoneType), value)
    if isinstance(kind, type) and issubclass(kind, JsonRecord):
        return value if isinstance(value, kind) else kind.from_json(value)
    if origin is tuple:
        each = inner if inner[-1] is not Ellipsis else inner[:1] * len(value)
        return tuple(decode(one, own) for one, own in zip(each, value, strict=False))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {name: decode(inner[1], own) for name, own in value.items()}
    return value


@cache
def _types(kind: Any) -> dict[str, tuple[Any, Any]]:
    """Give type and default of each field of a record."""
    hints = get_type_hints(kind)
    return {one.name: (hints[one.name], None if one.default is MISSING else one.default) for one in fields(kind)}
