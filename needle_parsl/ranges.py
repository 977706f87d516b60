"""How the rows of a file are cut into ranges."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def ranges(borders: Sequence[int], rows: int) -> list[tuple[int, int]]:
    """Cut a file.

    Args:
        borders: Rows at which reading may start without unpacking anything twice, from 0 to the number of rows.
        rows: Rows of a range, at most; a stretch without borders that is longer is cut anywhere.

    Returns:
        Starts and ends; one empty range for an empty file.
    """
    starts = [0]
    for start, stop in pairwise(borders):
        if stop - starts[-1] > rows and start > starts[-1]:
            starts.append(start)
        first, count = starts[-1], -(-(stop - starts[-1]) // rows)
        starts += [first + (stop - first) * i // count for i in range(1, count)]
    return list(pairwise([*starts, borders[-1]]))
