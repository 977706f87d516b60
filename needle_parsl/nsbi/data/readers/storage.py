"""Data sets of HDF5 that h5py cannot read: of types that NumPy does not have, or compressed by a filter that is not installed."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import h5py

TYPE = "a type that NumPy does not have"
FILTER = (
    "compressed by the filter {}, which is not installed; pip install hdf5plugin, or write the file anew with h5repack"
)


def fields(item: Any) -> tuple[str, ...]:
    """Name the fields of a data set of records; none of any other, or where the type cannot be read."""
    return () if _type(item) is None else item.dtype.names or ()


def unreadable(item: Any) -> str:
    """Say why h5py cannot read a data set; nothing if it can."""
    if _type(item) is None:
        return TYPE
    lacking = [name for code, name in _filters(item) if not _available(code)]
    return FILTER.format(lacking[0]) if lacking and _fails(item) else ""


def _type(item: Any) -> Any:
    try:
        return item.dtype
    except (TypeError, ValueError):
        return None


def _filters(item: Any) -> list[tuple[int, str]]:
    """List number and name of each filter."""
    made = item.id.get_create_plist()
    found = [made.get_filter(number) for number in range(made.get_nfilters())]
    return [(code, name.decode(errors="replace") or str(code)) for code, _, _, name in found]


def _available(code: int) -> bool:
    """Whether a filter is there, by itself or by the package that brings many."""
    if not h5py.h5z.filter_avail(code):
        with contextlib.suppress(ImportError):
            importlib.import_module("hdf5plugin")
    return bool(h5py.h5z.filter_avail(code))


def _fails(item: Any) -> bool:
    """Whether its first row cannot be read; a filter may have been passed over where the file was written."""
    try:
        item[:1]
    except OSError:
        return True
    return False
