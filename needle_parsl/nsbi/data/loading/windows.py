"""Windows: random blocks of stores, read into memory, permuted, and ready to be cut into batches.

How random that is: each epoch takes every block (about 8000 rows) of all stores once, in an order of its own, some blocks make
a window, and the rows of a window are permuted. Rows that are far apart in a store meet in a window by chance, rows of one
block always do. A store is ordered by a hash, so that neighbours in it have nothing to do with each other, and a window is as
good a sample as any. Everything follows from the seed and the number of the epoch.

Where stores hold versions of the same events, blocks of the same range of the hash come in the same window, and versions of an
event follow each other. If one store is so much smaller than another that such a range does not fit into a window, the range
is cut, and some versions are apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from needle_parsl import salts
from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.jagged import Jagged, join
from needle_parsl.nsbi.data.loading.stretches import CellRows
from needle_parsl.nsbi.data.store import Store
from needle_parsl.nsbi.transforms.transform import Transform

GATHER = 65_536
"""Rows that are put into order at a time: new memory of this size is cheap, that of a whole window is not."""
COPIES = 3
"""Windows that are held at a time: one that is read, one in use, and what has been taken from it."""


@dataclass(frozen=True)
class WindowRows:
    """Events of a window."""

    x: npt.NDArray[np.float32]
    label: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    id: hashing.Hashes
    particles: Jagged | None = None

    def __len__(self) -> int:
        """Count the events."""
        return len(self.label)

    def __getitem__(self, rows: Any) -> WindowRows:
        """Keep a range of rows, or put them into an order."""
        particles = None if self.particles is None else self.particles[rows]
        # ndarray.take is four times as fast as indexing with an array
        x = self.x[rows] if isinstance(rows, slice) else self.x.take(rows, axis=0)
        return WindowRows(x, self.label[rows], self.weight[rows], self.id[rows], particles)


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How events are made ready."""

    memory: int = 200 * 2**20
    """Bytes that windows may use together."""
    seed: int = 0
    transform: Transform | None = None
    """Of the features, and of those of particles; None leaves them in their units."""
    bootstrap: int | None = None
    """Salt of Poisson(1) weights, the same for an event wherever it appears; None without."""
    shuffle: bool = True
    paired: bool = False
    """Whether versions of an event, which have the same id, stay together in the shuffle."""
    keep: Callable[[hashing.Hashes], npt.NDArray[np.bool_]] | None = None
    """Whether an event of an id is used; None for all."""


def joined(parts: Sequence[WindowRows]) -> WindowRows:
    """Copy rows behind each other."""
    packed = [part.particles for part in parts if part.particles is not None]
    return WindowRows(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.weight for part in parts]),
        np.concatenate([part.id for part in parts]),
        join(packed) if packed else None,
    )


def largest(loading: Loading, row_bytes: int) -> int:
    """Give the events of a window.

    Args:
        loading: Memory.
        row_bytes: Bytes of an event.
    """
    return max(loading.memory // COPIES // row_bytes, 1)


def epoch(
    cut: Sequence[Sequence[CellRows]], loading: Loading, number: int, most: int
) -> Iterator[tuple[int, list[CellRows]]]:
    """Group the blocks of an epoch into windows.

    Args:
        cut: All blocks; those that stay together are one item.
        loading: Its seed.
        number: Of the epoch.
        most: Events of a window.

    Yields:
        For each window the seed of its permutation, and its blocks.
    """
    generator = np.random.default_rng([loading.seed, number])
    order = generator.permutation(len(cut)) if loading.shuffle else np.arange(len(cut))
    window: list[CellRows] = []
    rows = 0
    for place in order.tolist():
        added = sum(block.stop - block.start for block in cut[place])
        if window and rows + added > most:
            yield int(generator.integers(2**63)), window
            window, rows = [], 0
        window += cut[place]
        rows += added
    if window:
        yield int(generator.integers(2**63)), window


class Room:
    """Memory that one window after the other is read into; what has been used costs a third of new memory."""

    def __init__(self) -> None:
        self.held: WindowRows | None = None

    def take(self, rows: int, features: int) -> WindowRows:
        """Give room for some events; what it gave before is void."""
        if self.held is None or len(self.held) < rows:
            label, weight = np.empty((2, rows), np.float32)
            self.held = WindowRows(np.empty((rows, features), np.float32), label, weight, np.empty(rows, np.uint64))
        return self.held[:rows]


def read(window: Sequence[CellRows], seed: int, loading: Loading, stores: Mapping[str, Store]) -> WindowRows:
    """Read a window, and make it ready; the arguments are those of `filled` and `pieces`."""
    (rows,) = pieces(filled(window, stores), seed, loading, None)
    return rows


def pieces(rows: WindowRows, seed: int, loading: Loading, size: int | None = GATHER) -> Iterator[WindowRows]:
    """Make the events of a window ready: permuted, transformed, with the weights of their labels.

    Args:
        rows: As they were read.
        seed: Of the permutation.
        loading: What else is done.
        size: Events of a piece; None for one piece.
    """
    order = permuted(rows.id, seed, paired=loading.paired) if loading.shuffle else np.arange(len(rows))
    if loading.keep is not None:
        order = order[loading.keep(rows.id)[order]]
    size = len(order) if size is None else size
    for start in range(0, max(len(order), 1), max(size, 1)):
        yield _ready(rows[order[start : start + size]], loading)


def permuted(ids: hashing.Hashes, seed: int | list[int], *, paired: bool) -> npt.NDArray[np.int64]:
    """Give rows in a random order.

    Args:
        ids: Shape (N,).
        seed: What the order follows from.
        paired: Whether rows with the same id follow each other.
    """
    if paired:
        return np.argsort(hashing.mix(ids, salts.key(seed)), kind="stable")
    return np.random.default_rng(seed).permutation(len(ids))


def _ready(rows: WindowRows, loading: Loading) -> WindowRows:
    if loading.transform is not None:
        rows = replace(rows, x=loading.transform(rows.x))
        jets = loading.transform.particles
        if jets is not None and rows.particles is not None:
            rows = replace(rows, particles=Jagged(jets(rows.particles.values), rows.particles.offsets))
    if loading.bootstrap is not None:
        weight = rows.weight * hashing.poisson(rows.id, loading.bootstrap).astype(np.float32)
        rows = replace(rows, weight=weight)
    return rows


def filled(window: Sequence[CellRows], stores: Mapping[str, Store], room: Room | None = None) -> WindowRows:
    """Read the blocks of a window behind each other.

    Args:
        window: Its blocks.
        stores: Open stores by path.
        room: Where to put them; by default new memory.

    Raises:
        InputError: A store is damaged.
    """
    total, first = sum(block.stop - block.start for block in window), stores[window[0].stretch.path]
    held = (room or Room()).take(total, len(first.schema.features))
    x, ids, label, weight = held.x, held.id, held.label, held.weight
    particles: list[Jagged] = []
    filled = 0
    for block in window:
        rows = slice(filled, filled + block.stop - block.start)
        events = _block(block, stores[block.stretch.path], x[rows], ids[rows])
        known = block.stretch.joint
        label[rows] = events.joint[known] if known else block.stretch.label
        weight[rows] = events.weight * block.stretch.factor
        particles += [] if events.particles is None else [events.particles]
        filled = rows.stop
    return WindowRows(x, label, weight, ids, join(particles) if particles else None)


def _block(block: CellRows, store: Store, x: npt.NDArray[np.float32], ids: hashing.Hashes) -> Events:
    """Read and verify one block; a whole cell goes straight to its place."""
    start, stop = int(store.edges[block.cell]), int(store.edges[block.cell + 1])
    if store.schema.particles or store.schema.joint or (start, stop) != (block.start, block.stop):
        events = store.cells(block.cell, block.cell + 1).take(slice(block.start - start, block.stop - start))
        x[:], ids[:] = events.x, events.id
        return events
    weight = store.raw("weight", start, stop)
    events = Events(
        names=store.schema.features,
        x=store.raw("x", start, stop, x),
        weight=weight,
        id=store.raw("id", start, stop, ids),
    )
    store.verify(block.cell, events)
    return events
