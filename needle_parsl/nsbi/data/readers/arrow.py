"""Arrow's types and arrays in NumPy's words."""

from __future__ import annotations

from typing import Any

from needle_parsl.nsbi.data.jagged import Jagged, ends
from needle_parsl.nsbi.data.readers.columns import JAGGED, NUMBER, TEXT, Array

PLAIN = {"halffloat": "float16", "float": "float32", "double": "float64"}
"""Types whose names are not those of NumPy."""


def kind_of(kind: Any) -> str:
    """Name an Arrow type."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return kind_of(kind.value_type)
    if types.is_string(kind) or types.is_large_string(kind):
        return TEXT
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = kind_of(kind.value_type)
        return f"{JAGGED}{inner}" if NUMBER.fullmatch(inner) else str(kind)
    return PLAIN.get(str(kind), str(kind))


def array_of(column: Any) -> Array | Jagged:
    """Take the values of an Arrow array; a null becomes NaN."""
    from pyarrow import types

    if types.is_nested(column.type):
        counts = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        return Jagged(column.flatten().to_numpy(zero_copy_only=False), ends(counts))
    if hasattr(column, "dictionary_decode"):
        column = column.dictionary_decode()
    array: Array = column.to_numpy(zero_copy_only=False)
    return array
