"""Batches of torch tensors, cut from windows or from memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import cycle
from typing import NamedTuple, TypeVar

import torch

from needle_parsl.nsbi.data.loading import windows
from needle_parsl.nsbi.data.loading.particles import Packed
from needle_parsl.nsbi.data.loading.stretches import CellRows, Stretch, blocks, together
from needle_parsl.nsbi.data.loading.windows import Loading, Room, WindowRows
from needle_parsl.nsbi.data.store import Store

T = TypeVar("T")


class Batch(NamedTuple):
    """Events as a network takes them."""

    x: torch.Tensor
    """Features, shape (B, F)."""
    label: torch.Tensor
    """Shape (B,), float32."""
    weight: torch.Tensor
    """Shape (B,), float32."""


class ParticleBatch(NamedTuple):
    """Events with particles."""

    x: torch.Tensor
    label: torch.Tensor
    weight: torch.Tensor
    particles: Packed


class Streamed:
    """Batches of an epoch, in windows of bounded memory; iterate once per epoch.

    Holds no event between two epochs, so that the stores may be much larger than memory.
    """

    def __init__(
        self, found: Sequence[Stretch], batch_size: int, loading: Loading | None = None, *, prefetch: bool = True
    ) -> None:
        """Choose what is loaded.

        Args:
            found: From `stretches`.
            batch_size: Events of a batch; the last one of an epoch may be smaller.
            loading: How they are made ready.
            prefetch: Read the next window while one is used.
        """
        self.loading, self.batch_size, self.prefetch = loading or Loading(), batch_size, prefetch
        self.rows = sum(s.stop - s.start for s in found)
        self.number = 0
        """Of the next epoch; set it to continue where another process was."""
        with Store(found[0].path) as store:
            particles = 4 * len(store.schema.particles) * store.particles_between(0, len(store.counts))
            self.row_bytes = store.schema.row_bytes() + particles // max(len(store), 1)
        self.paths = sorted({stretch.path for stretch in found})
        self.most, cut = windows.largest(self.loading, self.row_bytes), blocks(found)
        paired = self.loading.paired and self.loading.shuffle
        self.blocks = together(cut, self.most) if paired else [[block] for block in cut]

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return math.ceil(self.rows / self.batch_size)

    def plan(self) -> Iterator[tuple[int, list[CellRows]]]:
        """Give the windows of the next epoch."""
        number, self.number = self.number, self.number + 1
        return windows.epoch(self.blocks, self.loading, number, self.most)

    def __iter__(self) -> Iterator[Batch | ParticleBatch]:
        """Go through an epoch."""
        return cut(self.pieces(), self.batch_size)

    def pieces(self) -> Iterator[WindowRows]:
        """Go through an epoch, one piece of a window after the other."""
        plan, rooms = self.plan(), cycle([Room(), Room()] if self.prefetch else [Room()])
        with ExitStack() as stack:
            stores = {path: stack.enter_context(Store(path)) for path in self.paths}
            read = (
                (seed, windows.filled(window, stores, room)) for (seed, window), room in zip(plan, rooms, strict=False)
            )
            for seed, rows in _ahead(read, stack) if self.prefetch else read:
                yield from windows.pieces(rows, seed, self.loading)


def _ahead(read: Iterator[T], stack: ExitStack) -> Iterator[T]:
    """Read one window ahead, in a thread."""
    pool = stack.enter_context(ThreadPoolExecutor(1))
    coming = pool.submit(next, read, None)
    while (found := coming.result()) is not None:
        coming = pool.submit(next, read, None)
        yield found


def cut(read: Iterable[WindowRows], batch_size: int) -> Iterator[Batch | ParticleBatch]:
    """Cut windows into batches of one size; what is left of a window begins the next."""
    left: WindowRows | None = None
    for rows in read:
        start = 0
        if left is not None:
            start = min(batch_size - len(left), len(rows))
            left = windows.joined([left, rows[:start]])
            if len(left) < batch_size:
                continue
            yield from tensors(left, batch_size)
        stop = start + (len(rows) - start) // batch_size * batch_size
        yield from tensors(rows[start:stop], batch_size)
        left = windows.joined([rows[stop:]]) if stop < len(rows) else None
    if left is not None:
        yield from tensors(left, batch_size)


def tensors(rows: WindowRows, batch_size: int) -> Iterator[Batch | ParticleBatch]:
    """Cut rows into batches; the tensors are views."""
    if len(rows) == 0:
        return
    x, label, weight = (torch.split(torch.from_numpy(c), batch_size) for c in (rows.x, rows.label, rows.weight))
    if rows.particles is None:
        yield from map(Batch, x, label, weight)
        return
    for number, (x_, label_, weight_) in enumerate(zip(x, label, weight, strict=True)):
        particles = Packed.of(rows.particles[number * batch_size : (number + 1) * batch_size])
        yield ParticleBatch(x_, label_, weight_, particles)


class InMemory:
    """Batches of an epoch, from events that are read once and stay in memory."""

    def __init__(self, found: Sequence[Stretch], batch_size: int, loading: Loading | None = None) -> None:
        """Read the events; the arguments are those of `Streamed`."""
        self.loading, self.batch_size, self.number = loading or Loading(), batch_size, 0
        still = replace(self.loading, shuffle=False)
        with ExitStack() as stack:
            stores = {s.path: stack.enter_context(Store(s.path)) for s in found}
            self.rows = windows.read(blocks(found), 0, still, stores)

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return math.ceil(len(self.rows) / self.batch_size)

    def __iter__(self) -> Iterator[Batch | ParticleBatch]:
        """Go through an epoch, in an order of its own."""
        number, self.number = self.number, self.number + 1
        if not self.loading.shuffle:
            yield from tensors(self.rows, self.batch_size)
            return
        order = windows.permuted(self.rows.id, [self.loading.seed, number], paired=self.loading.paired)
        step = max(windows.GATHER // self.batch_size, 1) * self.batch_size
        for start in range(0, len(order), step):
            yield from tensors(self.rows[order[start : start + step]], self.batch_size)
