"""A ratio's training events, and each member's own view of them: fold, validation, bootstrap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.jagged import Jagged
from needle_parsl.nsbi.data.loading.batches import Batch, ParticleBatch
from needle_parsl.nsbi.data.loading.particles import Packed
from needle_parsl.nsbi.training.pairing import Groups

Floats = npt.NDArray[np.float64]
Places = torch.Tensor | range
"""Which events come next: indices, or for events that stay in their stores places in the order in which they are read."""


BELOW: Mapping[float, str] = {0.0: "denominator"}
BOTH: Mapping[float, str] = {1.0: "numerator", **BELOW}
"""What labels mean."""


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

    def beside(self, other: Scaler) -> Scaler:
        """Put the columns of another one behind its own."""
        return Scaler(np.concatenate([self.shift, other.shift]), np.concatenate([self.width, other.width]))

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
    label: npt.NDArray[np.generic]
    """Whether an event is from the numerator, or the number of its class, shape (N,)."""
    weight: Floats
    """Shape (N,)."""
    id: hashing.Hashes
    """Shape (N,)."""
    particle_scaler: Scaler | None = None
    """Of the features of the particles, if there are any."""
    particles: Jagged | None = None
    """Standardised features of the particles."""
    known: npt.NDArray[np.float32] | None = None
    """What is known jointly of each event, and learned instead of the label; shape (N,)."""
    kinds: Mapping[float, str] = field(default_factory=lambda: BOTH)
    """What each label means; there must be events of all."""

    @staticmethod
    def build(numerator: Events | None, denominator: Events, joint: str = "") -> RatioEvents:
        """Put the two samples together.

        Args:
            numerator: None where events of the denominator alone are learned from.
            denominator: Each sample of it counts by its yield.
            joint: The ratio of which what is known jointly is learned; empty for the labels.
        """
        above = 0 if numerator is None else len(numerator)
        events = Events.join([denominator] if numerator is None else [numerator, denominator], denominator.names)
        label, known = np.arange(len(events)) < above, events.joint[joint] if joint else None
        return replace(_standardised(events, label), known=known, kinds=BELOW if numerator is None else BOTH)

    @staticmethod
    def of_classes(samples: Mapping[str, Events]) -> RatioEvents:
        """Put many samples together, each a class; the first has label 0."""
        events = Events.join(list(samples.values()), next(iter(samples.values())).names)
        label = np.repeat(np.arange(len(samples)), [len(sample) for sample in samples.values()])
        return replace(_standardised(events, label), kinds=dict(enumerate(samples)))

    @property
    def features(self) -> int:
        """Count the features."""
        return self.x.shape[1]

    @cached_property
    def shared(self) -> bool:
        """Whether there are several versions of an event."""
        return len(np.unique(self.id)) < len(self.id)

    def look(self, view: MemberView) -> tuple[Batchable, Batchable]:
        """Give a member its training and its validation events.

        The fold is left out of both. Validation events carry no bootstrap weight, but in a replica: they only decide when to stop.

        Raises:
            TaskError: The weights of a class do not add up to more than 0.
        """
        training, validation = chosen(self.id, view)
        weight = self.weight
        if view.bootstrap_salt is not None:
            weight = weight * hashing.poisson(self.id, view.bootstrap_salt)
        if view.replica:
            return _balanced(self, training, weight), _balanced(self, validation, weight)
        return _balanced(self, training & (weight != 0), weight), _balanced(self, validation, self.weight)


def _standardised(events: Events, label: npt.NDArray[np.generic]) -> RatioEvents:
    scaler, jets = Scaler.fit(events.x), events.particles
    found = RatioEvents(scaler, torch.from_numpy(scaler(events.x)), label, events.weight, events.id)
    if jets is None:
        return found
    widths = Scaler.fit(jets.values)
    return replace(found, particle_scaler=widths, particles=Jagged(widths(jets.values), jets.offsets))


@dataclass(frozen=True)
class Batchable:
    """Events as a training loop wants them: tensors with the classes balanced."""

    x: torch.Tensor
    label: torch.Tensor
    weight: torch.Tensor
    particles: Jagged | None = None
    id: hashing.Hashes | None = None
    """Shape (N,); versions of an event have the same, and stay together. None if all differ."""

    def __len__(self) -> int:
        """Count the events."""
        return len(self.label)

    @cached_property
    def groups(self) -> Groups | None:
        """Versions of the same event; None if there are none."""
        return None if self.id is None else Groups.of(self.id)

    def order(self, generator: torch.Generator) -> Places:
        """Begin an epoch: shuffle the events, versions of one behind each other; slices of the order are for `batch`."""
        if self.groups is None:
            return torch.randperm(len(self), generator=generator)
        return self.groups.shuffled(generator)

    def batch(self, places: Places) -> Batch | ParticleBatch:
        """Take some events."""
        rows = torch.arange(places.start, places.stop) if isinstance(places, range) else places
        columns = (self.x.index_select(0, rows), self.label.index_select(0, rows), self.weight.index_select(0, rows))
        if self.particles is None:
            return Batch(*columns)
        return ParticleBatch(*columns, Packed.of(self.particles[rows.numpy()]))

    def batches(self, size: int) -> Iterator[Batch | ParticleBatch]:
        """Go through all events in their order."""
        return (self.batch(range(start, min(start + size, len(self)))) for start in range(0, len(self), size))


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
    replica: bool = False
    """Whether it is that of a replica: events that are not drawn stay, with weight 0, so that there are as many steps as without,
    and validation events are drawn, too. With fewer steps networks would follow their events less, and scatter less."""


def chosen(ids: hashing.Hashes, view: MemberView) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Say which events a member is trained on, and on which it is validated."""
    outside = np.ones(len(ids), dtype=bool)
    if view.folds > 1:
        outside = hashing.fold(ids, view.folds, view.fold_salt) != view.fold
    validation = hashing.uniform(ids, view.validation_salt) < view.validation
    return outside & ~validation, outside & validation


def balance(events: int, totals: Mapping[float, float], kinds: Mapping[float, str]) -> dict[float, float]:
    """Give all classes the same sum of weights, with mean weight 1, so that the logit is ln p_1 / p_0.

    Args:
        events: Of all classes.
        totals: The sum of the weights of each class, by label.
        kinds: What each label means.

    Returns:
        What the weights of each are multiplied with.

    Raises:
        TaskError: A sum is not more than 0.
    """
    for kind, total in totals.items():
        if not total > 0:
            raise TaskError(f"the weights of its {kinds[kind]} add up to {total:g}")
    return {kind: events / (len(totals) * total) for kind, total in totals.items()}


def _balanced(events: RatioEvents, keep: npt.NDArray[np.bool_], weight: Floats) -> Batchable:
    label, kept = events.label[keep], weight[keep]
    factors = balance(len(kept), {kind: float(kept[label == kind].sum()) for kind in events.kinds}, events.kinds)
    for kind, factor in factors.items():
        kept[label == kind] *= factor
    learned = label if events.known is None else events.known[keep]
    rows = np.flatnonzero(keep)
    return Batchable(
        events.x.index_select(0, torch.from_numpy(rows)),
        torch.from_numpy(learned.astype(np.float32)),
        torch.from_numpy(kept).float(),
        None if events.particles is None else events.particles[rows],
        events.id[keep] if events.shared else None,
    )
