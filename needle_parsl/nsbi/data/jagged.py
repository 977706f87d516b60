"""Events with any number of values each, packed behind each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Jagged:
    """Any number of values per event, or of particles with P features each."""

    values: npt.NDArray[Any]
    """The values of all events, one after the other, shape (M,) or (M, P)."""
    offsets: npt.NDArray[np.int64]
    """Event i has `values[offsets[i] : offsets[i + 1]]`; shape (N + 1,), from 0."""

    def __len__(self) -> int:
        """Count the events."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Values of each event, shape (N,)."""
        return np.diff(self.offsets)

    def __getitem__(self, rows: Any) -> Jagged:
        """Keep some events, by index, mask or slice."""
        counts, starts = self.counts[rows], self.offsets[:-1][rows]
        offsets = ends(counts)
        return Jagged(self.values[within(starts, offsets)], offsets)


def ends(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Turn counts of shape (N,) into offsets of shape (N + 1,)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def within(starts: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """List the places of the values of events that begin at `starts` and are packed to `offsets`."""
    return np.arange(offsets[-1], dtype=np.int64) + np.repeat(starts - offsets[:-1], np.diff(offsets))


def join(parts: Sequence[Jagged]) -> Jagged:
    """Put events behind each other."""
    return Jagged(np.concatenate([p.values for p in parts]), ends(np.concatenate([p.counts for p in parts])))
