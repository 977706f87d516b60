"""What is loaded: ranges of rows of stores, with the label and the weights their events get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.events import Fractions, Part
from needle_parsl.nsbi.data.store import Store
from needle_parsl.nsbi.data.store.layout import CELL

Range = tuple[float, float]
"""The events whose hash, a number in [0, 1), is in [low, high)."""
ALL: tuple[Range, ...] = ((0.0, 1.0),)
SCAN = 1_000_000
"""Weights that are added up at a time."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A range of rows of a store."""

    path: str
    start: int
    stop: int
    label: float
    factor: float
    """What the weights are multiplied with."""
    joint: str = ""
    """The ratio of which what is known jointly stands for the label; empty for the label itself."""


@dataclass(frozen=True)
class CellRows:
    """Rows of a stretch that lie in one cell of its store: the unit of reading."""

    stretch: Stretch
    cell: int
    start: int
    stop: int
    bits: int
    """Leading bits of the hash that make a cell."""

    def within(self, bits: int) -> int:
        """Give the hash range of that many leading bits in which its first event is."""
        return self.cell >> (self.bits - bits) if bits < self.bits else self.cell << (bits - self.bits)


def fold(number: int, folds: int) -> tuple[Range, ...]:
    """Give the events outside one of k folds; the fold itself is [number / folds, (number + 1) / folds)."""
    return ((0.0, number / folds), ((number + 1) / folds, 1.0))


def stretches(stores: Mapping[str | Path, float], ranges: Sequence[Range] = ALL) -> list[Stretch]:
    """Choose the events to load, with the same sum of weights for every label, and 1 as the mean weight.

    Args:
        stores: The label of the events of each store.
        ranges: Which of them.

    Raises:
        InputError: A store is damaged, or the weights of a label do not add up to more than 0.
    """
    found: list[tuple[str, int, int, float, float]] = []
    for path, label in stores.items():
        with Store(path) as store:
            for start, stop in (store.between(low, high) for low, high in ranges):
                if stop > start:
                    found.append((str(path), start, stop, label, store.sums(start, stop).weight))
    rows, labels = sum(stop - start for _, start, stop, _, _ in found), sorted(set(stores.values()))
    totals = {label: sum(weight for *_, other, weight in found if other == label) for label in labels}
    for label, total in totals.items():
        if not total > 0:
            raise InputError(
                f"the weights of the events with label {label:g} add up to {total:g}; expected more than 0"
            )
    return [
        Stretch(path=path, start=start, stop=stop, label=label, factor=rows / (len(labels) * totals[label]))
        for path, start, stop, label, _ in found
    ]


def located(
    path: str | Path, part: Part, fractions: Fractions, label: float, factor: float = 1.0, joint: str = ""
) -> Stretch:
    """Find the events of a store that serve a purpose."""
    with Store(path) as store:
        start, stop = store.rows_of(part, fractions)
    return Stretch(path=str(path), start=start, stop=stop, label=label, factor=factor, joint=joint)


def held(found: Sequence[Stretch]) -> int:
    """Count the bytes of events, if they were held in memory."""
    total = 0
    for stretch in found:
        with Store(stretch.path) as store:
            ends = [
                store.raw("offsets", row, row + 1)[0] for row in (stretch.start, stretch.stop) if store.schema.particles
            ]
            jets = 4 * len(store.schema.particles) * int(ends[1] - ends[0]) if ends else 0
            total += (stretch.stop - stretch.start) * store.schema.row_bytes() + jets
    return total


def blocks(found: Sequence[Stretch]) -> list[CellRows]:
    """Cut stretches at the cells of their stores."""
    cut = []
    for stretch in found:
        with Store(stretch.path) as store:
            edges = store.edges
            first = int(np.searchsorted(edges, stretch.start, side="right")) - 1
            last = int(np.searchsorted(edges, stretch.stop, side="left"))
            for cell in range(first, last):
                start, stop = max(int(edges[cell]), stretch.start), min(int(edges[cell + 1]), stretch.stop)
                if stop > start:
                    cut.append(CellRows(stretch, cell, start, stop, store.bits))
    return cut


def shared(found: Sequence[Stretch]) -> bool:
    """Whether there are several versions of an event, which have the same id: as far as the first events of stretches show it.

    Stretches are in the order of the same hash, and begin at the same, so that the first events of one are those of the others.
    """
    first = []
    for stretch in found:
        with Store(stretch.path) as store:
            first.append(store.raw("id", stretch.start, min(stretch.start + CELL, stretch.stop)))
    ids = np.concatenate(first)
    return len(np.unique(ids)) < len(ids)


def together(cut: Sequence[CellRows], most: int) -> list[list[CellRows]]:
    """Put blocks of the same hash range together, where versions of an event are.

    Args:
        cut: From `blocks`.
        most: Events that may come together. Where a range of the cells of a small store holds more of a large one, it is cut,
            and where no range holds less, each block stays alone.
    """
    bits = {block.bits for block in cut}
    for leading in range(min(bits), max(bits) + 1):
        found: dict[int, list[CellRows]] = {}
        for block in cut:
            found.setdefault(block.within(leading), []).append(block)
        if max(sum(block.stop - block.start for block in range_) for range_ in found.values()) <= most:
            return list(found.values())
    return [[block] for block in cut]
