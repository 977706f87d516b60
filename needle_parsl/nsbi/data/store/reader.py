"""Reading a store: ranges of rows at the speed of memory, with their checksums verified."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import h5py
import numpy as np
import numpy.typing as npt

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import hashing, hdf5
from needle_parsl.nsbi.data.events import Events, Fractions, Part
from needle_parsl.nsbi.data.jagged import Jagged
from needle_parsl.nsbi.data.store.layout import JOINT, SCHEMA, Floats, Schema, cell_of, checksum, pooled, runs
from needle_parsl.nsbi.data.store.writer import Lost, StoredSource

MAPPED = 256 * 2**20
"""Bytes of events from which on their features stay in the file: whoever evaluates networks on them, chunk by chunk, then
holds but the chunk."""
Read = Callable[[str, int, int], npt.NDArray[Any]]
"""Gives rows of a dataset."""
SCAN = 1_000_000
"""Weights that are added up at a time."""


class WeightSums(NamedTuple):
    """What the weights of some events add up to."""

    events: int
    weight: float
    square: float
    negative: int
    """Events whose weight is."""

    def effective(self) -> float:
        """Count the effective events, (sum w)^2 / sum w^2."""
        return self.weight**2 / self.square if self.square else 0.0


class Store:
    """A store that is read; use it in `with`.

    The datasets are contiguous, so that rows are read straight from their place in the file. That is as fast as copying
    memory, needs no lock of HDF5, and no address space beyond the rows themselves.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            with h5py.File(path, "r") as file:
                hdf5.plain(file)
                self._head(file)
            self.file = os.open(path, os.O_RDONLY)
        except (InputError, OSError, KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"{path}: is no store, or damaged ({error}); remove it, and the next run makes it again"
            ) from error

    def _head(self, file: Any) -> None:
        if int(file.attrs.get("schema", 0)) != SCHEMA:
            raise ValueError(f"its schema is {file.attrs.get('schema')}, expected {SCHEMA}")
        features, particles = (tuple(json.loads(file.attrs[name])) for name in ("features", "particles"))
        joint = tuple(json.loads(file.attrs.get("joint", "[]")))
        self.schema = Schema(features, particles, int(file.attrs["salt"]), joint)
        self.bits = int(file.attrs["bits"])
        self.edges, self.checksums = file["cells/edges"][...], file["cells/checksum"][...]
        self.means, self.squares = file["cells/mean"][...], file["cells/square"][...]
        self.rows = int(file["x"].shape[0])
        self.attributes: Mapping[str, float] = {
            name: float(value)
            for name, value in file.attrs.items()
            if np.ndim(value) == 0 and not isinstance(value, str)
        }
        self.sources = [StoredSource(**item) for item in json.loads(file["sources"][()])]
        self.lost = [Lost(**item) for item in json.loads(file["lost"][()])]
        names = ("x", "weight", "id", *(("particles", "offsets") if particles else ()), *(JOINT + n for n in joint))
        self.places = {name: (file[name].id.get_offset(), file[name].dtype, file[name].shape[1:]) for name in names}

    def __len__(self) -> int:
        """Count the events."""
        return self.rows

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Rows of each cell."""
        rows: npt.NDArray[np.int64] = np.diff(self.edges)
        return rows

    def raw(self, name: str, start: int, stop: int, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Read rows of a dataset, without a look at their checksums.

        Args:
            name: The dataset.
            start: First row.
            stop: The row after the last.
            out: Where to put them; by default new memory.

        Raises:
            InputError: The file is shorter than it should be.
        """
        offset, dtype, shape = self.places[name]
        found = np.empty((stop - start, *shape), dtype) if out is None else out
        if found.nbytes == 0:
            return found
        view, place = found.data.cast("B"), offset + start * (found.nbytes // len(found))
        while view:
            count = os.preadv(self.file, [view], place)
            if count == 0:
                raise InputError(f"{self.path}: is truncated; remove it, and the next run makes it again")
            view, place = view[count:], place + count
        return found

    def cells(self, first: int, last: int) -> Events:
        """Read the events of the cells from first to last, and verify their checksums."""
        start, stop = int(self.edges[first]), int(self.edges[last])
        events = self._rows(start, stop)
        for cell in range(first, last):
            rows = slice(int(self.edges[cell]) - start, int(self.edges[cell + 1]) - start)
            self.verify(cell, events.take(rows))
        return events

    def particles_between(self, first: int, last: int) -> int:
        """Count the particles in the cells from first to last."""
        if not self.schema.particles:
            return 0
        ends = (self.raw("offsets", int(row), int(row) + 1)[0] for row in (self.edges[first], self.edges[last]))
        start, stop = ends
        return int(stop - start)

    def verify(self, cell: int, events: Events) -> None:
        """Compare the events of a cell with their checksum.

        Raises:
            InputError: They differ.
        """
        if checksum(events) != int(self.checksums[cell]):
            raise InputError(
                f"{self.path}: is damaged between rows {self.edges[cell]} and {self.edges[cell + 1]}; "
                "run the same command again, and it is made again"
            )

    def read(self, start: int = 0, stop: int | None = None) -> Events:
        """Read rows; the cells they are in are verified. The features of very many rows stay in the file, mapped."""
        stop = self.rows if stop is None else stop
        if start >= stop:
            return self._rows(start, start)
        first = int(np.searchsorted(self.edges, start, side="right")) - 1
        last = int(np.searchsorted(self.edges, stop, side="left"))
        if (stop - start) * self.schema.row_bytes() > MAPPED:
            for a, b in runs(self.counts[first:last], MAPPED // 8 // self.schema.row_bytes()):
                self.cells(first + a, first + b)
            return self._rows(start, stop, self._mapped)
        begin = int(self.edges[first])
        return self.cells(first, last).take(slice(start - begin, stop - begin))

    def _rows(self, start: int, stop: int, read: Read | None = None) -> Events:
        read = read or self.raw
        x, weight, ids = read("x", start, stop), self.raw("weight", start, stop), self.raw("id", start, stop)
        particles = None
        if self.schema.particles:
            offsets = self.raw("offsets", start, stop + 1)
            particles = Jagged(read("particles", int(offsets[0]), int(offsets[-1])), offsets - offsets[0])
        joint = {name: self.raw(JOINT + name, start, stop) for name in self.schema.joint}
        return Events(names=self.schema.features, x=x, weight=weight, id=ids, particles=particles, joint=joint)

    def _mapped(self, name: str, start: int, stop: int) -> npt.NDArray[Any]:
        offset, dtype, shape = self.places[name]
        place = offset + start * dtype.itemsize * int(np.prod(shape))
        return np.memmap(self.path, dtype, "r", place, (stop - start, *shape))

    def between(self, low: float, high: float) -> tuple[int, int]:
        """Find the range of rows whose number in [0, 1), the hash of the id, is in [low, high)."""
        return self._edge(low), self._edge(high)

    def _edge(self, value: float) -> int:
        if value >= 1:
            return self.rows
        cell = int(cell_of(np.array([int(value * 2**64)], np.uint64), self.bits)[0])
        start, stop = int(self.edges[cell]), int(self.edges[cell + 1])
        numbers = hashing.uniform(self.raw("id", start, stop), self.schema.salt)
        return start + int(np.searchsorted(numbers, value))

    def rows_of(self, part: Part, fractions: Fractions) -> tuple[int, int]:
        """Find the range of rows that serves a purpose, in a store that is ordered by the hash which splits."""
        if part == "all":
            return 0, self.rows
        assert fractions.salt == self.schema.salt
        return self.between(*fractions.between(part))

    def sums(self, start: int, stop: int) -> WeightSums:
        """Add up the weights of a range of rows, in bounded memory; their checksums are not looked at."""
        found = WeightSums(0, 0.0, 0.0, 0)
        for first in range(start, stop, SCAN):
            w = self.raw("weight", first, min(first + SCAN, stop))
            found = WeightSums(
                found.events + len(w),
                found.weight + float(w.sum()),
                found.square + float((w**2).sum()),
                found.negative + int((w < 0).sum()),
            )
        return found

    def scale(self, start: int = 0, stop: int | None = None) -> tuple[Floats, Floats]:
        """Give mean and standard deviation of each feature over the whole cells of a range of rows."""
        stop = self.rows if stop is None else stop
        inside = (self.edges[:-1] >= start) & (self.edges[1:] <= stop)
        if not self.counts[inside].sum():
            x = self.read(start, stop).x.astype(np.float64)
            return x.mean(axis=0), x.std(axis=0)
        return pooled(self.counts[inside], self.means[inside], self.squares[inside])

    def __enter__(self) -> Self:
        """Stay open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        os.close(self.file)


def read(path: Path | str, part: Part = "all", fractions: Fractions | None = None) -> Events:
    """Read the events of a store that serve one purpose.

    Args:
        path: The store.
        part: The purpose; by default all events.
        fractions: How events are split; needed for a part.

    Raises:
        InputError: The file is missing, no store, or damaged.
    """
    with Store(path) as store:
        return store.read(*store.rows_of(part, fractions)) if fractions else store.read()
