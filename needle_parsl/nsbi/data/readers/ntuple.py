"""The columns of an RNTuple, from the records of its header: uproot's own lists take half a minute for a thousand fields."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from needle_parsl.nsbi.data.readers.columns import JAGGED, NUMBER, TEXT

PLAIN = {"float": "float32", "double": "float64", "char": "int8", "std::byte": "uint8"}
"""C++ types whose names are not those of NumPy."""
COLLECTION, RECORD = 1, 2
"""Roles of a field that has any number of others, and of one that is made of them."""


class Field(NamedTuple):
    """A column."""

    parts: tuple[str, ...]
    """Its name, and the names of the records that it is in: `("Jet", "p4", "x")`."""
    kind: str
    """Its type in NumPy's words, where it has any."""

    @property
    def key(self) -> str:
        """How uproot reads no more than it; the whole outermost field where dots are in names."""
        return self.parts[0] if any("." in part for part in self.parts) else ".".join(self.parts)

    def names(self) -> tuple[str, ...]:
        """What is in a record has a column of its own: `Jet_pt`, also `Jet.pt`; deeper ones have dots."""
        path = ".".join(self.parts)
        return (f"{self.parts[0]}_{self.parts[1]}", path) if len(self.parts) == 2 else (path,)


def columns(ntuple: Any) -> list[Field]:
    """List the columns: all numbers and texts, at any depth, and beside them what cannot be read."""
    records = list(ntuple.ntuple.field_records)
    children = defaultdict(list)
    for number, record in enumerate(records):
        if record.parent_field_id != number:
            children[record.parent_field_id].append(number)
    tops = (number for number, record in enumerate(records) if record.parent_field_id == number)
    return [
        field
        for number in tops
        if not records[number].field_name.startswith("_collection")
        for field in _leaves(number, (), records, children, nested=0)
    ]


def _leaves(
    number: int, above: tuple[str, ...], records: list[Any], children: dict[int, list[int]], *, nested: int
) -> Iterator[Field]:
    """List what is in a field.

    Args:
        number: Of its record.
        above: Names of the fields that it is in.
        records: All.
        children: Numbers of the records in each.
        nested: Collections that it is in.
    """
    record, parts = records[number], (*above, records[number].field_name)
    kind = kind_of(record.type_name)
    plain = kind == TEXT or NUMBER.fullmatch(kind) is not None or kind.startswith(JAGGED)
    inner = children[number]
    if record.struct_role == COLLECTION and not plain and len(inner) == 1:
        (only,) = inner
        if records[only].struct_role == RECORD:
            for child in children[only]:
                yield from _leaves(child, parts, records, children, nested=nested + 1)
            return
        kind = kind_of(records[only].type_name)
        yield Field(parts, _jagged(kind, nested + 1))
    elif record.struct_role == RECORD and inner and not plain:
        for child in inner:
            yield from _leaves(child, parts, records, children, nested=nested)
    else:
        yield Field(parts, _jagged(kind, nested) if plain else record.type_name or "records")


def _jagged(kind: str, nested: int) -> str:
    """Name a type within collections; one collection of numbers can be read."""
    if not nested:
        return kind
    return f"{JAGGED}{kind}" if nested == 1 and NUMBER.fullmatch(kind) else f"collection of {kind or 'records'}"


def kind_of(typename: str) -> str:
    """Name a type in NumPy's words, where it has any."""
    outer, _, inner = typename.partition("<")
    if outer in ("ROOT::VecOps::RVec", "std::vector"):
        kind = kind_of(inner.removesuffix(">"))
        return f"{JAGGED}{kind}" if NUMBER.fullmatch(kind) else typename
    if outer == "ROOT::RNTupleCardinality":  # a counter of a collection
        return "int64"
    if outer == "std::string":
        return TEXT
    plain = PLAIN.get(typename, typename.removeprefix("std::").removesuffix("_t"))
    return plain if NUMBER.fullmatch(plain) else typename
