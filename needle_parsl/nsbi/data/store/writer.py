"""Writing a store: events in the order of their hash, cell after cell."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.store.layout import JOINT, SCHEMA, Schema, bits_for, checksum, edges_of, moments, runs

ROWS = 32_768
"""Rows that are put in order at a time, about."""


@dataclass(frozen=True)
class StoredSource:
    """An input file whose events are in a store."""

    path: str
    digest: str


@dataclass(frozen=True)
class Lost:
    """A bad file that was left out."""

    path: str
    reason: str
    share: float
    """Its part of the bytes of the sample's files, which stands for its part of the sum of weights."""


class Writer:
    """A store that is written; use it in `with`."""

    def __init__(self, path: Path, schema: Schema, rows: int, particles: int = 0, bits: int | None = None) -> None:
        """Make room for all events.

        Args:
            path: The file.
            schema: What the events are.
            rows: How many there will be.
            particles: How many particles they will have together.
            bits: Leading bits of the hash that make a cell; by default what suits `rows`. A store with bits of its own is a
                part of another, and without moments, which only the whole needs.
        """
        self.schema, self.is_part = schema, bits is not None
        self.bits = bits_for(rows) if bits is None else bits
        self.path, self.file = path, h5py.File(path, "w")
        self.columns = {
            "x": self._room("x", (rows, len(schema.features)), np.float32),
            "weight": self._room("weight", (rows,), np.float64),
            "id": self._room("id", (rows,), np.uint64),
        }
        if schema.particles:
            self.columns["particles"] = self._room("particles", (particles, len(schema.particles)), np.float32)
            self.columns["offsets"] = self._room("offsets", (rows + 1,), np.int64)
            self.columns["offsets"][0] = 0
        for name in schema.joint:
            self.columns[JOINT + name] = self._room(JOINT + name, (rows,), np.float32)
        cells = 2**self.bits
        self.edges = np.zeros(cells + 1, np.int64)
        self.checksums = np.zeros(cells, np.uint64)
        self.moments = np.zeros((2, 0 if self.is_part else cells, len(schema.features)))
        self.sums = [(0.0, 0.0, 0.0)]
        """Of w, |w| and w^2, by cell."""
        self.rows, self.particles, self.negative, self.repeated = 0, 0, 0, 0

    def _room(self, name: str, shape: tuple[int, ...], kind: Any) -> Any:
        return self.file.create_dataset(name, shape, kind, track_times=False)

    def fill(self, events: Events, first: int = 0, last: int | None = None) -> None:
        """Add the events of the cells from first to last, in any order; these are the next ones, by default all.

        They are put in order some cells at a time, which takes no memory worth speaking of, and stays in the caches.
        """
        last = 2**self.bits if last is None else last
        order = events.order(self.schema.salt)
        ids = events.id if order is None else events.id[order]
        edges = edges_of(ids, self.schema, self.bits, first, last)
        for start, stop in runs(np.diff(edges), ROWS):
            rows = slice(int(edges[start]), int(edges[stop]))
            self.append(events.take(rows if order is None else order[rows]), first + start, first + stop)

    def append(self, events: Events, first: int, last: int) -> None:
        """Add the ordered events of the cells from first to last, which are the next ones."""
        edges = edges_of(events.id, self.schema, self.bits, first, last)
        for cell, (start, stop) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True), first):
            self._note(cell, events.take(slice(start, stop)))
        self.edges[first : last + 1] = self.rows + edges
        self.edges[last + 1 :] = self.rows + len(events)
        self._put(events)

    def _note(self, cell: int, events: Events) -> None:
        self.checksums[cell] = checksum(events)
        if not self.is_part:
            self.moments[:, cell] = moments(events)
        w = events.weight
        self.sums.append((float(w.sum()), float(np.abs(w).sum()), float((w**2).sum())))
        self.negative += int((w < 0).sum())
        self.repeated += int((events.id[1:] == events.id[:-1]).sum())

    def _put(self, events: Events) -> None:
        rows = slice(self.rows, self.rows + len(events))
        for name in ("x", "weight", "id"):
            self.columns[name][rows] = getattr(events, name)
        for name, column in events.joint.items():
            self.columns[JOINT + name][rows] = column
        if events.particles is not None:
            values, offsets = events.particles.values, events.particles.offsets
            self.columns["particles"][self.particles : self.particles + len(values)] = values
            self.columns["offsets"][self.rows + 1 : rows.stop + 1] = self.particles + offsets[1:]
            self.particles += len(values)
        self.rows = rows.stop

    def close(self, sources: Sequence[StoredSource] = (), lost: Sequence[Lost] = ()) -> None:
        """Write what is known of the store as a whole."""
        schema, file = self.schema, self.file
        for name, table in (("edges", self.edges), ("checksum", self.checksums)):
            file.create_dataset(f"cells/{name}", data=table, track_times=False)
        for name, table in zip(("mean", "square"), self.moments, strict=True):
            file.create_dataset(f"cells/{name}", data=table, track_times=False)
        total, absolute, square = (math.fsum(column) for column in zip(*self.sums, strict=True))
        file.attrs["schema"], file.attrs["salt"], file.attrs["bits"] = SCHEMA, np.uint64(schema.salt), self.bits
        file.attrs["features"] = json.dumps(schema.features)
        file.attrs["particles"] = json.dumps(schema.particles)
        file.attrs["joint"] = json.dumps(schema.joint)
        file.attrs["sum_of_weights"], file.attrs["sum_of_absolute_weights"] = total, absolute
        file.attrs["sum_of_squared_weights"] = square
        file.attrs["effective_events"] = total**2 / square if square else 0.0
        file.attrs["negative_weights"], file.attrs["repeated_ids"] = self.negative, self.repeated
        for name, items in (("sources", sources), ("lost", lost)):
            text = json.dumps([asdict(item) for item in items])
            file.create_dataset(name, data=np.bytes_(text), track_times=False)

    def __enter__(self) -> Self:
        """Stay open."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Close the file.

        Raises:
            TaskError: It could not be written, as on a full disk.
        """
        failed = error
        try:
            self.file.close()
        except (OSError, RuntimeError) as late:
            failed = error or late
        if isinstance(failed, (OSError, RuntimeError)):
            # HDF5's own messages are paragraphs, with the number of the error in the middle.
            number = re.search(r"errno = (\d+)", str(failed))
            reason = os.strerror(int(number[1])) if number else str(failed)
            raise TaskError(f"{self.path}: cannot be written: {reason}") from failed


def write(
    path: Path, events: Events, schema: Schema, bits: int | None = None, sources: Sequence[StoredSource] = (), lost: Sequence[Lost] = ()
) -> None:  # fmt: skip
    """Write events that are in memory.

    Args:
        path: The file.
        events: In any order.
        schema: What they are.
        bits: Leading bits of the hash that make a cell; by default what suits their number.
        sources: Where they come from.
        lost: What was left out.
    """
    particles = 0 if events.particles is None else len(events.particles.values)
    with Writer(path, schema, len(events), particles, bits) as writer:
        writer.fill(events)
        writer.close(sources, lost)
