"""Arrow's schemas and arrays in NumPy's words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.jagged import Jagged, ends
from needle_parsl.nsbi.data.readers.columns import JAGGED, NUMBER, TEXT, Array, nullable, plain

WHOLE = 18
"""Digits that a whole number of 64 bits holds in any case."""
PLAIN = {"halffloat": "float16", "float": "float32", "double": "float64", "null": "float64"}
"""Types whose names are not those of NumPy; a column of nulls is one of NaN."""


@dataclass(frozen=True)
class Place:
    """Where a column is."""

    field: str
    member: str = ""
    """Of a record, or of a list of records."""


class Table:
    """The columns of a schema. What is in records has a column of its own: `Jet_pt`, of records `Jet` with a member `pt`."""

    def __init__(self, path: str, schema: Any) -> None:
        self.path, self.schema = path, schema
        plain, inside = {}, {}
        for field in schema:
            members = _members(field.type)
            inside.update({f"{field.name}_{member}": Place(field.name, member) for member in members})
            if not members:
                plain[field.name] = Place(field.name)
        self.places: dict[str, Place] = {**inside, **plain}
        self.repeated = {name for name, count in Counter(schema.names).items() if count > 1}

    def kind(self, name: str) -> str:
        """Name the type of a column.

        Raises:
            InputError: Several columns have the name.
        """
        place = self.places[name]
        if place.field in self.repeated:
            raise InputError(f'{self.path}: has several columns called "{place.field}"; give each a name of its own')
        kind = self.schema.field(place.field).type
        if not place.member:
            return kind_of(kind)
        record = kind.value_type if _is_list(kind) else kind
        inner = kind_of(record.field(place.member).type)
        return _list_of(inner, str(kind)) if _is_list(kind) else inner

    def array(self, name: str, batch: Any) -> Array | Jagged:
        """Take the values of a column from a batch."""
        place = self.places[name]
        column = batch.column(place.field)
        if not place.member:
            return array_of(column)
        if not _is_list(column.type):
            return array_of(_member(column, place.member))
        return Jagged(plain(_plain(_member(column.flatten(), place.member))), _offsets(column))

    def leaves(self, names: Sequence[str], paths: Sequence[str]) -> list[str]:
        """Choose the leaves of a Parquet file that columns need, among the paths of all."""
        wanted = {self.places[name] for name in names}
        return [p for p in paths if any(_is_of(p.split("."), place) for place in wanted)]


def _is_of(path: Sequence[str], place: Place) -> bool:
    return path[0] == place.field and (not place.member or path[-1] == place.member)


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _members(kind: Any) -> list[str]:
    from pyarrow import types

    record = kind.value_type if _is_list(kind) else kind
    return [member.name for member in record] if types.is_struct(record) else []


def _member(records: Any, name: str) -> Any:
    from pyarrow import compute

    return compute.struct_field(records, [name])


def kind_of(kind: Any) -> str:
    """Name an Arrow type."""
    from pyarrow import types

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
    import pyarrow as pa
    from pyarrow import types

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
