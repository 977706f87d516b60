"""The columns of an RNTuple, from the records of its header: uproot's own lists take half a minute for a thousand fields."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from needle_parsl.nsbi.data.readers.columns import JAGGED, NUMBER, TEXT

PLAIN = {"float": "float32", "double": "float64", "char": "int8", "std::byte": "uint8"}
"""C++ types whose names are not those of NumPy."""
COLLECTION = 1
"""Role of a field that has any number of others."""


class Field(NamedTuple):
    """A column."""

    key: str
    """How uproot calls it: `Jet.pt` is the member `pt` of records `Jet`."""
    kind: str
    """Its type in NumPy's words, where it has any."""


def columns(ntuple: Any) -> dict[str, Field]:
    """List the columns; what is in records has a column of its own, `Jet_pt`."""
    records = list(ntuple.ntuple.field_records)
    children = defaultdict(list)
    for number, record in enumerate(records):
        if record.parent_field_id != number:
            children[record.parent_field_id].append(number)
    inside: dict[str, Field] = {}
    plain: dict[str, Field] = {}
    for number, record in enumerate(records):
        if record.parent_field_id != number or record.field_name.startswith("_collection"):
            continue
        if record.type_name:
            plain[record.field_name] = Field(record.field_name, kind_of(record.type_name))
        else:
            inside.update(_members(number, records, children))
    return {**inside, **plain}


def _members(number: int, records: list[Any], children: dict[int, list[int]]) -> Iterator[tuple[str, Field]]:
    """List what is in a record, or in a collection of them."""
    outer = records[number]
    is_collection = outer.struct_role == COLLECTION
    for holder in children[number] if is_collection else [number]:
        for child in children[holder]:
            name, kind = records[child].field_name, kind_of(records[child].type_name)
            jagged = f"{JAGGED}{kind}" if NUMBER.fullmatch(kind) else f"collection of {kind or 'records'}"
            yield f"{outer.field_name}_{name}", Field(f"{outer.field_name}.{name}", jagged if is_collection else kind)


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
