"""HDF5 files: a group with one dataset per column, or one dataset of records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Self

import h5py
import numpy as np

from needle_parsl.errors import InputError, closest
from needle_parsl.nsbi.data.jagged import Jagged, ends
from needle_parsl.nsbi.data.readers import links, storage
from needle_parsl.nsbi.data.readers.columns import JAGGED, TEXT, Array, Columns
from needle_parsl.nsbi.data.readers.protocol import guarded
from needle_parsl.nsbi.data.readers.source import InputSource


class Hdf5File:
    """Columns in an HDF5 file."""

    def __init__(self, source: InputSource, tree: str) -> None:
        self.path = source.name
        self.file = guarded(self.path, "no readable HDF5 file", lambda: h5py.File(source.file, "r"))
        self.table = self._find(tree, source.links)
        group = isinstance(self.table, h5py.Group)
        members = links.members(self.table, source.links) if group else _records(self.table)
        self.columns = members.columns
        self.refused = members.refused
        """What cannot be read, and why."""
        self.names = [*self.columns, *self.refused]
        lengths = {name: column.shape[0] for name, column in self.columns.items() if column.shape}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} {count}" for name, count in list(lengths.items())[:5])
            raise InputError(f"{self.path}: its columns have different lengths ({shown}); expected one row per event")
        self.entries = next(iter(lengths.values()), 0) if group else (*self.table.shape, 0)[0]

    def _find(self, tree: str, allowed: Sequence[str]) -> Any:
        """Find the table: the one that is named, or the only one."""
        tables = _tables(self.file, allowed)
        if tree and tree not in tables:
            raise InputError(f'{self.path}: has no table "{tree}"{closest(tree, tables)}')
        if not tree and len(set(tables.values())) != 1:  # a link is another name of one
            found = f"several tables ({', '.join(tables)}); say which with tree = ..." if tables else "no table"
            raise InputError(f"{self.path}: contains {found}")
        return tables[tree or next(iter(tables))]

    def kind(self, name: str) -> str:
        """Name the type of a column."""
        if name in self.refused:
            return self.refused[name]
        column = self.columns[name]
        if column.dtype.names is None and column.ndim != 1:
            return f"{column.dtype} {column.shape[1:]}"
        dtype = column.dtype if column.dtype.names is None else column.dtype[name]
        if (inner := _vector(dtype)) is not None:
            return f"{JAGGED}{inner}"
        if dtype.kind == "S" or h5py.check_string_dtype(dtype):
            return TEXT
        return str(dtype.newbyteorder("="))

    def borders(self, names: Sequence[str]) -> Sequence[int]:
        """Say that reading may start nowhere in particular."""
        del names
        return [0, self.entries]

    def iterate(self, names: Sequence[str], start: int, stop: int, step: int) -> Iterator[Columns]:
        """Read columns in chunks."""
        for first in range(start, min(stop, self.entries), step):
            rows = slice(first, min(first + step, stop, self.entries))
            yield guarded(self.path, "damaged", partial(self._read, names, rows))

    def _read(self, names: Sequence[str], rows: slice) -> Columns:
        return {name: self._column(name, rows) for name in names}

    def _column(self, name: str, rows: slice) -> Array | Jagged:
        column = self.columns[name]
        array: Array = column[rows] if column.dtype.names is None else column.fields(name)[rows]
        if (inner := _vector(array.dtype)) is not None:
            values = np.concatenate([np.empty(0, inner), *array])
            return Jagged(values, ends(np.fromiter(map(len, array), np.int64, len(array))))
        if array.dtype.kind in "OS":
            return np.array([text.decode() if isinstance(text, bytes) else text for text in array], dtype=str)
        return array

    def __enter__(self) -> Self:
        """Stay open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.file.close()


def _records(table: Any) -> links.Members:
    """Give the columns of a data set of records."""
    names = storage.fields(table)
    why = storage.unreadable(table)
    return links.Members({}, dict.fromkeys(names, why)) if why else links.Members(dict.fromkeys(names, table), {})


def _vector(dtype: Any) -> Any:
    """Give the type of the numbers of a column that has any number of them per event; None for others."""
    inner = h5py.check_vlen_dtype(dtype)
    return inner if isinstance(inner, np.dtype) and inner.kind in "biuf" else None


def _tables(file: Any, allowed: Sequence[str]) -> dict[str, Any]:
    """Map the paths of all tables to their group or dataset of records; the root of a file is "/"."""
    found: dict[str, Any] = {}

    def look(group: Any, above: str, seen: tuple[Any, ...]) -> None:
        for name in group:
            item = links.inside(group, name, allowed)
            path = f"{above}{name}"
            if isinstance(item, h5py.Group) and item not in seen:
                look(item, f"{path}/", (*seen, item))
            elif isinstance(item, h5py.Dataset) and storage.fields(item):
                found[path] = item
            elif isinstance(item, str) or (isinstance(item, h5py.Dataset) and item.ndim):
                found.setdefault(path.rpartition("/")[0] or "/", group)

    look(file["/"], "", (file["/"],))
    return found
