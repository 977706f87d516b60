"""Arrow's schemas and arrays in NumPy's words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import types

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.jagged import Jagged, ends
from needle_parsl.nsbi.data.readers.columns import JAGGED, NUMBER, TEXT, Array, nullable, plain
from needle_parsl.nsbi.data.readers.names import Names

WHOLE = 18
"""Digits that a whole number of 64 bits holds in any case."""
PLAIN = {"halffloat": "float16", "float": "float32", "double": "float64", "null": "float64"}
"""Types whose names are not those of NumPy; a column of nulls is one of NaN."""


@dataclass(frozen=True)
class Place:
    """Where a column is."""

    field: str
    members: tuple[str, ...] = ()
    """Of a record, or of a list of records, from the outside in."""
    leaves: tuple[int, ...] = ()
    """Numbers of what Parquet holds for it, among all of the file."""

    def names(self) -> tuple[str, ...]:
        """What is in records has a column of its own: `Jet_pt`, also `Jet.pt`; deeper ones have dots."""
        path = ".".join((self.field, *self.members))
        return (f"{self.field}_{self.members[0]}", path) if len(self.members) == 1 else (path,)


class ArrowColumns:
    """The columns of a schema. What is in records has a column of its own: `Jet_pt`, of records `Jet` with a member `pt`."""

    def __init__(self, path: str, schema: Any) -> None:
        self.path, self.schema = path, schema
        self.repeated = {name for name, count in Counter(schema.names).items() if count > 1}
        self.places, first = [], 0
        for field in schema:
            own, first = _places(field.name, field.type, (), first)
            self.places += own
        plain = [place.field for place in self.places if not place.members]
        # A plain column goes before a member that would have its name, and one of several of a name stands for all.
        self.names = Names(
            [n for n in place.names() if not place.members or n not in plain] if place.field not in fields else []
            for place, fields in zip(self.places, self._before(), strict=True)
        )

    def _before(self) -> Iterator[set[str]]:
        """Give for each column the repeated fields that came before it."""
        seen: set[str] = set()
        for place in self.places:
            yield seen.copy()
            seen |= {place.field} & self.repeated

    def _place(self, name: str) -> Place:
        if name in self.repeated:
            raise InputError(f'{self.path}: has several columns called "{name}"; give each a name of its own')
        number = self.names.number(name)
        assert number is not None
        return self.places[number]

    def kind(self, name: str) -> str:
        """Name the type of a column.

        Raises:
            InputError: Several columns have the name.
        """
        place = self._place(name)
        kind, lists = self.schema.field(place.field).type, []
        for member in (*place.members, None):
            if _is_list(kind):
                lists.append(kind)
                kind = kind.value_type
            if member is not None:
                kind = kind.field(member).type
        inner = kind_of(kind)
        if not lists:
            return inner
        return _list_of(inner, str(lists[0])) if len(lists) == 1 else str(lists[0])

    def array(self, name: str, batch: Any) -> Array | Jagged:
        """Take the values of a column from a batch."""
        place = self._place(name)
        column, offsets = batch.column(batch.schema.get_field_index(place.field)), None
        for member in place.members:
            if _is_list(column.type):
                offsets, column = _offsets(column), column.flatten()
            column = _member(column, member)
        return array_of(column) if offsets is None else Jagged(plain(_plain(column)), offsets)

    def leaves(self, names: Sequence[str], paths: Sequence[str]) -> list[str]:
        """Choose the leaves of a Parquet file that columns need, among the paths of all."""
        wanted = {leaf for name in names for leaf in self._place(name).leaves}
        return [path for number, path in enumerate(paths) if number in wanted]


def _places(name: str, kind: Any, above: tuple[str, ...], first: int) -> tuple[list[Place], int]:
    """List the columns of a field; give also the number of the leaf behind it."""
    record = kind.value_type if _is_list(kind) else kind
    field, members = (above[0], (*above[1:], name)) if above else (name, ())
    if not types.is_struct(record):
        last = first + _count(kind)
        return [Place(field, members, tuple(range(first, last)))], last
    found: list[Place] = []
    for member in record:
        own, first = _places(member.name, member.type, (*above, name), first)
        found += own
    return found, first


def _count(kind: Any) -> int:
    """Count the leaves of a type in Parquet."""
    if types.is_map(kind):
        return _count(kind.key_type) + _count(kind.item_type)
    if _is_list(kind):
        return _count(kind.value_type)
    return sum(_count(member.type) for member in kind) if types.is_struct(kind) else 1


def _is_list(kind: Any) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _member(records: Any, name: str) -> Any:
    from pyarrow import compute  # noqa: PLC0415  a quarter of a second of every start

    return compute.struct_field(records, [name])


def kind_of(kind: Any) -> str:
    """Name an Arrow type."""
    if types.is_dictionary(kind):
        return kind_of(kind.value_type)
    if types.is_string(kind) or types.is_large_string(kind):
        return TEXT
    if types.is_decimal(kind):
        return "float64"
    return _list_of(kind_of(kind.value_type), str(kind)) if _is_list(kind) else PLAIN.get(str(kind), str(kind))


def _list_of(inner: str, typename: str) -> str:
    return f"{JAGGED}{inner}" if NUMBER.fullmatch(inner) else typename


def array_of(column: Any) -> Array | Jagged:
    """Take the values of an Arrow array; a null becomes NaN, a list that is null an empty one."""
    return Jagged(plain(_plain(column.flatten())), _offsets(column)) if _is_list(column.type) else _plain(column)


def _offsets(lists: Any) -> Any:
    return ends(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))


def _plain(column: Any) -> Array:
    if hasattr(column, "dictionary_decode"):
        column = column.dictionary_decode()
    if types.is_decimal(column.type) and column.type.scale == 0 and column.type.precision <= WHOLE:
        column = column.cast(pa.int64())
    if types.is_null(column.type) or types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if types.is_boolean(column.type) and column.null_count:
        column = column.cast(pa.int8())
    if types.is_integer(column.type) and column.null_count:
        return nullable(
            column.fill_null(0).to_numpy(zero_copy_only=False), column.is_null().to_numpy(zero_copy_only=False)
        )
    array: Array = column.to_numpy(zero_copy_only=False)
    return array
