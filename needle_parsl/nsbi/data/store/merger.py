"""Merging stores: equal cells of many stores become the next cells of one, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.store.layout import Schema, bits_for, runs
from needle_parsl.nsbi.data.store.reader import Store
from needle_parsl.nsbi.data.store.writer import Lost, StoredSource, Writer

WHOLE = (0, 1)


def merge(paths: Sequence[Path], path: Path, memory: int, share: tuple[int, int] = WHOLE) -> None:
    """Merge stores of equal cells into one.

    The result depends neither on their order, nor on how the events are spread over them.

    Args:
        paths: The stores.
        path: The merged store.
        memory: Bytes of events to hold at a time, about.
        share: (k, n) merges only the k-th of n equal ranges of the hash; n is a power of two, at most the number of cells.

    Raises:
        InputError: A store is damaged.
    """
    with ExitStack() as stack:
        every = [stack.enter_context(Store(p)) for p in paths]
        stores, lost = _whole(every)
        schema, bits = every[0].schema, every[0].bits
        first, last = (2**bits * k // share[1] for k in (share[0], share[0] + 1))
        counts = sum((store.counts for store in stores), np.zeros(2**bits, np.int64))
        counts[:first], counts[last:] = 0, 0
        rows, particles = int(counts.sum()), sum(store.particles_between(first, last) for store in stores)
        # The cells of a share must still be those of the other shares; the whole gets cells of its own.
        cells = bits_for(rows) if share == WHOLE else bits
        common = min(bits, cells)
        grouped = counts.reshape(2**common, -1).sum(axis=1)
        most = memory // 2 // _event_bytes(schema, rows, particles)  # what is joined is there twice for a moment
        with Writer(path, schema, rows, particles, None if share == WHOLE else bits) as writer:
            for start, stop in runs(grouped, most):
                begin, end = start << (bits - common), stop << (bits - common)
                begin, end = max(begin, first), min(end, last)
                # Nothing keeps the parts once they are joined.
                events = Events.join(
                    [store.cells(begin, end) for store in stores if store.edges[end] > store.edges[begin]],
                    schema.features,
                )
                writer.fill(events, start << (cells - common), stop << (cells - common))
                del events
            writer.close(_sources(stores), lost)


def _whole(stores: Sequence[Store]) -> tuple[list[Store], list[Lost]]:
    """Leave out every part of a file that is bad somewhere; what is lost must not depend on how the file was cut."""
    lost = {item.path: item for store in stores for item in store.lost}
    kept = [store for store in stores if not store.sources or {s.path for s in store.sources} - lost.keys()]
    return kept, sorted(lost.values(), key=lambda item: item.path)


def _sources(stores: Sequence[Store]) -> list[StoredSource]:
    found = {source for store in stores for source in store.sources}
    return sorted(found, key=lambda source: source.path)


def _event_bytes(schema: Schema, rows: int, particles: int) -> int:
    return schema.row_bytes() + (8 + 4 * len(schema.particles) * particles // max(rows, 1) if schema.particles else 0)
