"""Windows: random blocks of stores, read into memory, permuted, and ready to be cut into batches.

How random that is: each epoch takes every block (about 8000 rows) of all stores once, in an order of its own, some blocks make
a window, and the rows of a window are permuted. Rows that are far apart in a store meet in a window by chance, rows of one
block always do. A store is ordered by a hash, so that neighbours in it have nothing to do with each other, and a window is as
good a sample as any. Everything follows from the seed and the number of the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.jagged import Jagged, join
from needle_parsl.nsbi.data.loading.stretches import Block
from needle_parsl.nsbi.data.store import Store
from needle_parsl.nsbi.data.store.layout import Floats

GATHER = 65_536
"""Rows that are put into order at a time where all events are in memory."""
COPIES = 4
"""Windows that are held at a time: one as it is read, one permuted from it, one in use, one waiting."""


@dataclass(frozen=True)
class Rows:
    """Events of a window."""

    x: npt.NDArray[np.float32]
    label: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    id: hashing.Hashes
    particles: Jagged | None = None

    def __len__(self) -> int:
        """Count the events."""
        return len(self.label)

    def __getitem__(self, rows: Any) -> Rows:
        """Keep a range of rows, or put them into an order."""
        particles = None if self.particles is None else self.particles[rows]
        # ndarray.take is four times as fast as indexing with an array
        x = self.x[rows] if isinstance(rows, slice) else self.x.take(rows, axis=0)
        return Rows(x, self.label[rows], self.weight[rows], self.id[rows], particles)


@dataclass(frozen=True)
class Loading:
    """How events are made ready."""

    memory: int = 200 * 2**20
    """Bytes that windows may use together."""
    seed: int = 0
    scaler: tuple[Floats, Floats] | None = None
    """Shift and width of the features, which are standardised; None leaves them in their units."""
    particle_scaler: tuple[Floats, Floats] | None = None
    """The same for the features of particles."""
    bootstrap: int | None = None
    """Salt of Poisson(1) weights, the same for an event wherever it appears; None without."""
    shuffle: bool = True
    keep: Callable[[hashing.Hashes], npt.NDArray[np.bool_]] | None = None
    """Whether an event of an id is used; None for all."""


def joined(parts: Sequence[Rows]) -> Rows:
    """Copy rows behind each other."""
    packed = [part.particles for part in parts if part.particles is not None]
    return Rows(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.weight for part in parts]),
        np.concatenate([part.id for part in parts]),
        join(packed) if packed else None,
    )


def epoch(cut: Sequence[Block], loading: Loading, number: int, row_bytes: int) -> Iterator[tuple[int, list[Block]]]:
    """Group the blocks of an epoch into windows.

    Args:
        cut: All blocks.
        loading: Memory and seed.
        number: Of the epoch.
        row_bytes: Bytes of an event.

    Yields:
        For each window the seed of its permutation, and its blocks.
    """
    generator = np.random.default_rng([loading.seed, number])
    order = generator.permutation(len(cut)) if loading.shuffle else np.arange(len(cut))
    most = max(loading.memory // COPIES // row_bytes, 1)
    window: list[Block] = []
    rows = 0
    for place in order.tolist():
        block = cut[place]
        if window and rows + block.stop - block.start > most:
            yield int(generator.integers(2**63)), window
            window, rows = [], 0
        window.append(block)
        rows += block.stop - block.start
    if window:
        yield int(generator.integers(2**63)), window


def read(window: Sequence[Block], seed: int, loading: Loading, stores: Mapping[str, Store]) -> Rows:
    """Read a window, and make it ready: permuted, standardised, with the weights of its labels.

    Args:
        window: Its blocks.
        seed: Of the permutation.
        loading: What else is done.
        stores: Open stores by path.

    Raises:
        InputError: A store is damaged.
    """
    rows = _filled(window, stores)
    if loading.shuffle:
        order = np.random.default_rng(seed).permutation(len(rows))
        rows = rows[order if loading.keep is None else order[loading.keep(rows.id)[order]]]
    elif loading.keep is not None:
        rows = rows[np.flatnonzero(loading.keep(rows.id))]
    if loading.scaler is not None:
        shift, width = loading.scaler
        np.subtract(rows.x, shift.astype(np.float32), out=rows.x)
        np.divide(rows.x, width.astype(np.float32), out=rows.x)
    if loading.particle_scaler is not None and rows.particles is not None:
        shift, width = loading.particle_scaler
        values = (rows.particles.values - shift.astype(np.float32)) / width.astype(np.float32)
        rows = replace(rows, particles=Jagged(values, rows.particles.offsets))
    if loading.bootstrap is not None:
        weight = rows.weight * hashing.poisson(rows.id, loading.bootstrap).astype(np.float32)
        rows = replace(rows, weight=weight)
    return rows


def _filled(window: Sequence[Block], stores: Mapping[str, Store]) -> Rows:
    """Read blocks behind each other."""
    total, first = sum(block.stop - block.start for block in window), stores[window[0].stretch.path]
    x = np.empty((total, len(first.schema.features)), np.float32)
    ids, label, weight = np.empty(total, np.uint64), np.empty(total, np.float32), np.empty(total, np.float32)
    particles: list[Jagged] = []
    filled = 0
    for block in window:
        rows = slice(filled, filled + block.stop - block.start)
        events = _block(block, stores[block.stretch.path], x[rows], ids[rows])
        label[rows], weight[rows] = block.stretch.label, events.weight * block.stretch.factor
        particles += [] if events.particles is None else [events.particles]
        filled = rows.stop
    return Rows(x, label, weight, ids, join(particles) if particles else None)


def _block(block: Block, store: Store, x: npt.NDArray[np.float32], ids: hashing.Hashes) -> Events:
    """Read and verify one block; a whole cell goes straight to its place."""
    start, stop = int(store.edges[block.cell]), int(store.edges[block.cell + 1])
    if store.schema.particles or (start, stop) != (block.start, block.stop):
        events = store.cells(block.cell, block.cell + 1).take(slice(block.start - start, block.stop - start))
        x[:], ids[:] = events.x, events.id
        return events
    weight = store.raw("weight", start, stop)
    events = Events(store.schema.features, store.raw("x", start, stop, x), weight, store.raw("id", start, stop, ids))
    store.verify(block.cell, events)
    return events
