"""A ratio's training events, and each member's own view of them: fold, validation, bootstrap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.loading.batches import Batch

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scaler:
    """Standardisation of the features: (x - shift) / width."""

    shift: Floats
    """Mean of each feature, shape (F,)."""
    width: Floats
    """Standard deviation of each feature, shape (F,); 1 for a constant feature."""

    def __call__(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Standardise features of shape (N, F)."""
        return ((x - self.shift) / self.width).astype(np.float32)

    @staticmethod
    def fit(x: npt.NDArray[np.float32]) -> Scaler:
        """Take mean and width from events, in double precision."""
        width = x.std(axis=0, dtype=np.float64)
        return Scaler(x.mean(axis=0, dtype=np.float64), np.where(width > 0, width, 1.0))


@dataclass(frozen=True)
class RatioEvents:
    """Training events of one ratio, numerator and denominator together."""

    scaler: Scaler
    x: torch.Tensor
    """Standardised features, shape (N, F)."""
    label: npt.NDArray[np.bool_]
    """Whether an event is from the numerator, shape (N,)."""
    weight: Floats
    """Shape (N,)."""
    id: hashing.Hashes
    """Shape (N,)."""

    @staticmethod
    def build(numerator: Events, denominator: Events) -> RatioEvents:
        """Put the two samples together."""
        events = Events.join([numerator, denominator], numerator.names)
        scaler = Scaler.fit(events.x)
        label = np.arange(len(events)) < len(numerator)
        return RatioEvents(scaler, torch.from_numpy(scaler(events.x)), label, events.weight, events.id)


@dataclass(frozen=True)
class Batchable:
    """Events as a training loop wants them: tensors with the classes balanced."""

    x: torch.Tensor
    label: torch.Tensor
    weight: torch.Tensor

    def batch(self, rows: torch.Tensor) -> Batch:
        """Take some events."""
        return Batch(self.x.index_select(0, rows), self.label.index_select(0, rows), self.weight.index_select(0, rows))

    def batches(self, size: int) -> Iterator[Batch]:
        """Go through all events in their order."""
        return map(Batch, *(torch.split(part, size) for part in (self.x, self.label, self.weight)))


@dataclass(frozen=True)
class MemberView:
    """Which events a member trains on, and with what weights; all salts come from the analysis' seed."""

    fold: int
    folds: int
    fold_salt: int
    validation: float
    validation_salt: int
    bootstrap_salt: int | None
    """None without bootstrap; the same for a replica in every ratio."""


def look(events: RatioEvents, view: MemberView) -> tuple[Batchable, Batchable]:
    """Give a member its training and its validation events.

    The fold is left out of both. Validation events carry no bootstrap weight: they only decide when to stop.

    Raises:
        TaskError: The weights of a class do not add up to more than 0.
    """
    outside = np.ones(len(events.id), dtype=bool)
    if view.folds > 1:
        outside = hashing.fold(events.id, view.folds, view.fold_salt) != view.fold
    validation = hashing.uniform(events.id, view.validation_salt) < view.validation
    weight = events.weight
    if view.bootstrap_salt is not None:
        weight = weight * hashing.poisson(events.id, view.bootstrap_salt)
    return (
        _balanced(events, outside & ~validation & (weight != 0), weight),
        _balanced(events, outside & validation, events.weight),
    )


def _balanced(events: RatioEvents, keep: npt.NDArray[np.bool_], weight: Floats) -> Batchable:
    """Give both classes the same sum of weights, with mean weight 1, so that the logit is ln p_1 / p_0."""
    label, kept = events.label[keep], weight[keep].copy()
    for kind in (True, False):
        total = kept[label == kind].sum()
        if not total > 0:
            raise TaskError(f"the weights of its {'numerator' if kind else 'denominator'} add up to {total:g}")
        kept[label == kind] *= len(kept) / (2 * total)
    rows = torch.from_numpy(np.flatnonzero(keep))
    return Batchable(
        events.x.index_select(0, rows), torch.from_numpy(label.astype(np.float32)), torch.from_numpy(kept).float()
    )
