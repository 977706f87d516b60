"""How the files of a sample are cut into tasks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from needle_parsl.nsbi.data.ranges import ranges
from needle_parsl.plan.specs import Convert, File, Piece

SHARE = 24
"""A task holds this part of its memory as events: beside them there are their sorted copy, the columns as they are read,
unpacked baskets, and the libraries themselves."""
FINE = 2
"""Bits by which the cells of parts are finer than what a task holds, so that what is merged at a time fills its room."""
WINDOWS = 16
"""Times its share of the memory that a merging task works through."""


@dataclass(frozen=True)
class Cut:
    """The tasks of a sample."""

    groups: tuple[tuple[Piece, ...], ...]
    """What each task reads: whole files, or one piece of a file."""
    bits: int
    """Leading bits of the hash that make the cells of the parts; a cell of all parts together is what a task may hold."""
    merges: int
    """Tasks that merge the parts, a power of two; 1 leaves it to the task that writes the store."""


def row_bytes(sample: Convert) -> int:
    """Count the bytes that an event may have in the store: features, weight, id, and as many particles as are allowed."""
    particles = 8 + 4 * len(sample.particles.names) * sample.particles.max if sample.particles else 0
    return 4 * len(sample.features) + 16 + particles


def cut(files: tuple[File, ...], row_bytes: int, memory: int) -> Cut:
    """Cut a sample.

    Args:
        files: Its files.
        row_bytes: Bytes of an event in the store.
        memory: Bytes that a task may use.
    """
    rows = max(memory // SHARE // row_bytes, 1)
    total = sum(file.borders[-1] for file in files if file.borders)
    windows = -(-total // rows)
    bits = max(windows - 1, 0).bit_length()
    merges = 2 ** max(bits - (WINDOWS - 1).bit_length(), 0)
    return Cut(tuple(_groups(files, rows)), bits + FINE, merges)


def _groups(files: tuple[File, ...], rows: int) -> Iterator[tuple[Piece, ...]]:
    """Put small files together; a file that is cut shares no task, so that it can be left out as a whole."""
    size, held = sum(file.size for file in files) or 1, 0
    group: list[Piece] = []
    for file in files:
        share = file.size / size
        entries = file.borders[-1] if file.borders else 0
        if group and held + entries > rows:
            yield tuple(group)
            group, held = [], 0
        if entries > rows:
            yield from ((piece,) for piece in _pieces(file, rows, share))
        else:
            group.append(Piece(file, share=share))
            held += entries
    if group:
        yield tuple(group)


def _pieces(file: File, rows: int, share: float) -> Iterator[Piece]:
    found = ranges(file.borders, rows)
    for start, stop in found[:-1]:
        yield Piece(file, start, stop, share)
    yield Piece(file, found[-1][0], None, share)
