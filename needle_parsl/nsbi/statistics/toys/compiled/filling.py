"""Filling tables: events of a pool that a toy has drawn, and the numbers that a response is evaluated from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from needle_parsl.nsbi.statistics.toys.compiled.arrays import BLOCK, PITCH, ROWS
from needle_parsl.nsbi.statistics.toys.compiled.compilation import compiled
from needle_parsl.nsbi.statistics.toys.compiled.vectors import exponential

ABOVE, BELOW, UP, DOWN = (place * PITCH for place in range(ROWS))


class DrawnEvents(NamedTuple):
    """Events that toys draw from, one behind the other, so that one takes a few lines of the cache."""

    y: Any
    """Divided by lambda at a reference point, shape (N, J)."""
    sides: Any
    """Logarithms of the responses at plus and minus one sigma, shape (N, 2 C)."""
    reference: Any
    """lambda at the reference point, shape (N,)."""
    floor: float
    """lambda is at least this inside the logarithm."""


@compiled
def fill(row, bits):
    """Take the exponentials of a block's responses, whose logarithms stand in UP and DOWN; row has shape (ROWS * PITCH,)."""
    exponential(row[UP:], 1.0, row[ABOVE:], bits, BLOCK)
    exponential(row[DOWN:], 1.0, row[BELOW:], bits, BLOCK)


@compiled
def gather(events, drawn, rows, s):
    """Put drawn events into the last table of a toy; give the sum of ln lambda at the reference point.

    Args:
        drawn: Which events; one that was drawn twice stands there twice. Shape (N,).
    """
    last = len(rows.begin) - 2
    start, processes, curves = rows.begin[last], rows.y.shape[1], events.sides.shape[1] // 2
    blocks = (len(drawn) + BLOCK - 1) // BLOCK
    rows.begin[last + 1] = start + blocks
    for block in range(blocks):
        place = start + block
        low, own = block * BLOCK, rows.curves[place]
        n = min(BLOCK, len(drawn) - low)
        for i in range(n):
            event = drawn[low + i]
            for j in range(processes):
                rows.y[place, j, i] = events.y[event, j]
            for c in range(curves):
                own[c, UP + i] = events.sides[event, 2 * c]
                own[c, DOWN + i] = events.sides[event, 2 * c + 1]
            rows.count[place, i], rows.root[place, i] = 1.0, 1.0
            rows.floor[place, i] = events.floor / events.reference[event]
        for i in range(n, BLOCK):  # rows that only fill the block
            for j in range(processes):
                rows.y[place, j, i] = 0.0
            for c in range(curves):
                own[c, UP + i], own[c, DOWN + i] = 0.0, 0.0
            rows.count[place, i], rows.root[place, i], rows.floor[place, i] = 0.0, 0.0, 1.0
        for c in range(curves):
            fill(own[c], s.bits[0])
    total = 0.0
    for event in drawn:
        total += np.log(events.reference[event])
    return total
