"""Filling tables: events of a pool that a toy has drawn, and the numbers that a response is evaluated from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from needle_parsl.nsbi.statistics.toys.compiled.arrays import BLOCK, PITCH, ROWS
from needle_parsl.nsbi.statistics.toys.compiled.compilation import compiled
from needle_parsl.nsbi.statistics.toys.compiled.vectors import exponential

ABOVE, BELOW, UP, DOWN = (place * PITCH for place in range(ROWS))


class DrawnEvents(NamedTuple):
    """Events that toys draw from, one behind the other, so that one takes a few lines of the cache; those of M regions, one region behind the other."""

    ends: Any
    """Where the events of each region end, shape (M,)."""
    y: Any
    """Divided by lambda at a reference point, shape (N, J)."""
    sides: Any
    """Logarithms of the responses at plus and minus one sigma, shape (N, 2 C); zeros behind those of a region."""
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
    """Put drawn events into the last tables of a toy, one for each region; give the sum of ln lambda at the reference point.

    Args:
        drawn: Which events, ascending; one that was drawn twice stands there twice. Shape (N,).
    """
    r, begin, total = len(rows.begin) - 1 - len(events.ends), 0, 0.0
    for region in range(len(events.ends)):
        end = begin
        while end < len(drawn) and drawn[end] < events.ends[region]:
            end += 1
        total += _gather(events, drawn[begin:end], rows, r + region, s)
        begin = end
    return total


@compiled
def _gather(events, drawn, rows, r, s):
    """Put the drawn events of a region into a table behind the ones that are filled."""
    start, processes, curves = rows.begin[r], rows.y.shape[1], rows.first[r, rows.y.shape[1]]
    blocks = (len(drawn) + BLOCK - 1) // BLOCK
    rows.begin[r + 1] = start + blocks
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
