"""How a store is laid out: cells of the hash, and what is known of each.

A store holds its events in the order of h = hash(id). The leading bits of h cut it into 2^bits cells, each a range of rows:
the unit of checksums, of random reading, and of merging, since equal cells of several stores hold equal hashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.data.events import Events

SCHEMA = 2
CELL = 8192
"""Rows of a cell, at most on average: large enough to be read at the speed of memory, small enough to shuffle."""
COLUMNS = ("x", "weight", "id")
"""The datasets that have a row per event; stores with particles have `particles` and `offsets`, too."""
JOINT = "joint/"
"""Before the name of a ratio, in the name of the dataset of what is known jointly."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Schema:
    """What the events of a store are."""

    features: tuple[str, ...]
    particles: tuple[str, ...]
    """Features of a particle; empty for a store without particles."""
    salt: int
    """Of the hash."""
    joint: tuple[str, ...] = ()
    """Ratios of which something is known jointly of each event."""

    def row_bytes(self) -> int:
        """Count the bytes of an event without its particles."""
        return 4 * len(self.features) + 16 + 4 * len(self.joint)


def bits_for(rows: int) -> int:
    """Choose how many leading bits of the hash make a cell."""
    return max(0, (max(rows, 1) - 1) // CELL).bit_length()


def cell_of(hashes: hashing.Hashes, bits: int) -> npt.NDArray[np.int64]:
    """Find the cell of each hash."""
    if bits == 0:
        return np.zeros(len(hashes), np.int64)
    return (hashes >> np.uint64(64 - bits)).astype(np.int64)


def edges_of(ids: hashing.Hashes, schema: Schema, bits: int, first: int, last: int) -> npt.NDArray[np.int64]:
    """Find where the cells from first to last begin in ordered ids that fill them.

    Returns:
        Rows of shape (last - first + 1,), from 0 to N.
    """
    cells = cell_of(hashing.mix(ids, schema.salt), bits)
    return np.searchsorted(cells, np.arange(first, last + 1)).astype(np.int64)


def checksum(events: Events) -> int:
    """Fingerprint the bytes of a cell: 64 bits of XXH3."""
    total = xxhash.xxh3_64()
    for name in COLUMNS:
        total.update(np.ascontiguousarray(getattr(events, name)).data)
    if events.particles is not None:
        total.update(np.ascontiguousarray(events.particles.counts).data)
        total.update(np.ascontiguousarray(events.particles.values).data)
    for name in sorted(events.joint):
        total.update(np.ascontiguousarray(events.joint[name]).data)
    return total.intdigest()


def moments(events: Events) -> tuple[Floats, Floats]:
    """Compute mean and sum of squared deviations of each feature, shape (F,) each; zeros without events."""
    if len(events) == 0:
        nothing = np.zeros(events.x.shape[1])
        return nothing, nothing
    x = events.x.astype(np.float64)
    mean = x.mean(axis=0)
    x -= mean
    return mean, np.einsum("nf,nf->f", x, x)


def pooled(counts: npt.NDArray[np.int64], means: Floats, squares: Floats) -> tuple[Floats, Floats]:
    """Combine the moments of cells to mean and standard deviation of all their events.

    Args:
        counts: Events of each cell, shape (C,).
        means: Shape (C, F).
        squares: Sums of squared deviations from the cell's mean, shape (C, F).

    Returns:
        Mean and standard deviation, shape (F,) each.

    References:
        T. F. Chan, G. H. Golub, R. J. LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1979.
    """
    total, share = max(int(counts.sum()), 1), counts[:, None]
    mean = (share * means).sum(axis=0) / total
    return mean, np.sqrt((squares.sum(axis=0) + (share * (means - mean) ** 2).sum(axis=0)) / total)


def runs(counts: npt.NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Group neighbouring cells so that a group has at most so many rows, or is one cell.

    Yields:
        First cell, and the one after the last.
    """
    first, rows = 0, 0
    for cell, count in enumerate(counts.tolist()):
        if rows and rows + count > most:
            yield first, cell
            first, rows = cell, 0
        rows += count
    if first < len(counts):
        yield first, len(counts)
