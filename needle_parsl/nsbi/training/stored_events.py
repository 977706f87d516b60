"""A ratio's training events that stay in their stores: what `ratio_events` gives, for samples larger than memory.

A member's events are chosen by the hash of their ids as in `ratio_events.look`, window by window. An epoch's order is that of
`nsbi.data.loading.windows`, and follows from the member's generator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.data.loading import stretches
from needle_parsl.nsbi.data.loading.batches import Batch, ParticleBatch, Streamed, cut, tensors
from needle_parsl.nsbi.data.loading.stretches import Stretch
from needle_parsl.nsbi.data.loading.transforming import fitted_to_stores
from needle_parsl.nsbi.data.loading.windows import Loading, WindowRows, joined
from needle_parsl.nsbi.data.store import Store
from needle_parsl.nsbi.training.ratio_events import BOTH, MemberView, Places, balance, chosen
from needle_parsl.nsbi.transforms.transform import Transform

SCAN = 1_000_000
"""Events whose weights are added up at a time."""


@dataclass(frozen=True)
class StoredEvents:
    """Training events of one ratio, in the stores of its samples."""

    transform: Transform
    """Of the features, and of those of particles if there are any."""
    found: tuple[Stretch, ...]
    """Where they are; the label is 1 for the numerator, and the factor what its store's weights are multiplied with."""
    kinds: Mapping[float, str] = field(default_factory=lambda: BOTH)
    """What each label means; there must be events of all."""
    shares: Mapping[float, float] | None = None
    """What part of the weight of validation events each label has; None for equal parts."""

    @staticmethod
    def of(
        found: Sequence[Stretch], kinds: Mapping[float, str] = BOTH, transform: Transform | None = None
    ) -> StoredEvents:
        """Take the transform, or fit it to the first events of each stretch."""
        return StoredEvents(transform or fitted_to_stores(found), tuple(found), kinds)

    @property
    def features(self) -> int:
        """Count the columns that a network gets."""
        return self.transform.outputs

    def counts(self) -> dict[float, int]:
        """Count the events of each label."""
        return {kind: sum(s.stop - s.start for s in self.found if s.label == kind) for kind in self.kinds}

    @cached_property
    def shared(self) -> bool:
        """Whether there are several versions of an event, which stay together as `nsbi.data.loading.windows` says."""
        return stretches.shared(self.found)

    def look(self, view: MemberView) -> tuple[StoredView, StoredView]:
        """Give a member its training and its validation events.

        Raises:
            TaskError: The weights of a class do not add up to more than 0.
        """
        return self._view(Chosen(view, validation=False)), self._view(Chosen(view, validation=True))

    def _view(self, keep: Chosen) -> StoredView:
        counts, totals = dict.fromkeys(self.kinds, 0), dict.fromkeys(self.kinds, 0.0)
        for stretch in self.found:
            for ids, weight in _scanned(stretch):
                kept = keep(ids)
                counts[stretch.label] += int(kept.sum())
                totals[stretch.label] += float(keep.weights(ids[kept], weight[kept]).sum()) * stretch.factor
        shares = self.shares if keep.validation else None
        factors = balance(sum(counts.values()), totals, self.kinds, shares)
        found = [replace(s, factor=s.factor * factors[s.label]) for s in self.found]
        loading = Loading(transform=self.transform, bootstrap=keep.salt, paired=self.shared, keep=keep)
        return StoredView(found, sum(counts.values()), loading)


def _scanned(stretch: Stretch) -> Iterator[tuple[hashing.Hashes, npt.NDArray[np.float64]]]:
    """Read ids and weights."""
    with Store(stretch.path) as store:
        for start in range(stretch.start, stretch.stop, SCAN):
            stop = min(start + SCAN, stretch.stop)
            yield store.raw("id", start, stop), store.raw("weight", start, stop)


@dataclass(frozen=True)
class Chosen:
    """Whether a member trains, or is validated, on an event."""

    view: MemberView
    validation: bool

    @property
    def salt(self) -> int | None:
        """Of the bootstrap; validation events have none, but in a replica."""
        return None if self.validation and not self.view.replica else self.view.bootstrap_salt

    def __call__(self, ids: hashing.Hashes) -> npt.NDArray[np.bool_]:
        """Judge events; one that the bootstrap never draws is left out, but in a replica."""
        kept = chosen(ids, self.view)[int(self.validation)]
        return kept if self.salt is None or self.view.replica else kept & (hashing.poisson(ids, self.salt) > 0)

    def weights(self, ids: hashing.Hashes, weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Give the weights, with those of the bootstrap."""
        return weight if self.salt is None else weight * hashing.poisson(ids, self.salt)


class StoredView:
    """The events of a member, in the order in which they are read; asked for like `ratio_events.Batchable`."""

    def __init__(self, found: Sequence[Stretch], rows: int, loading: Loading) -> None:
        self.shuffled = Streamed(found, 1, loading)
        self.still = Streamed(found, 1, replace(loading, shuffle=False))
        self.rows = rows
        self.left: _Left | None = None

    def __len__(self) -> int:
        """Count the events."""
        return self.rows

    def order(self, generator: torch.Generator) -> Places:
        """Begin an epoch.

        Args:
            generator: Its state decides on the order.

        Returns:
            The places of the epoch's events; slices of it are for `batch`, one after the other.
        """
        self.shuffled.number = int(torch.randint(2**62, (), generator=generator))
        self.left = _Left(self.shuffled.pieces())
        return range(self.rows)

    def batch(self, places: Places) -> Batch | ParticleBatch:
        """Read the events at some places of the epoch; those before them are skipped."""
        assert self.left is not None
        return self.left.take(int(places[0]), int(places[-1]) + 1)

    def batches(self, size: int) -> Iterator[Batch | ParticleBatch]:
        """Go through all events in the order of the stores."""
        return cut(self.still.pieces(), size)


class _Left:
    """What is left of an epoch."""

    def __init__(self, pieces: Iterator[WindowRows]) -> None:
        self.pieces = pieces
        self.rows: WindowRows | None = None
        self.first = 0
        """Place of the first of the rows."""

    def take(self, start: int, stop: int) -> Batch | ParticleBatch:
        parts = []
        while start < stop:
            while self.rows is None or start >= self.first + len(self.rows):
                self.first += 0 if self.rows is None else len(self.rows)
                self.rows = None  # before the next piece comes
                self.rows = next(self.pieces)
            end = min(stop, self.first + len(self.rows))
            parts.append(self.rows[start - self.first : end - self.first])
            start = end
        rows = parts[0] if len(parts) == 1 else joined(parts)
        return next(tensors(rows, len(rows)))
