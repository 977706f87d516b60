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
from needle_parsl.nsbi.data.loading.transforming import fitted
from needle_parsl.nsbi.training.pairs import Groups
from needle_parsl.nsbi.transforms.transform import Transform

Floats = npt.NDArray[np.float64]
Places = torch.Tensor | range
"""Which events come next: indices, or for events that stay in their stores places in the order in which they are read."""


BELOW: Mapping[float, str] = {0.0: "denominator"}
BOTH: Mapping[float, str] = {1.0: "numerator", **BELOW}
"""What labels mean."""


@dataclass(frozen=True, kw_only=True)
class RatioEvents:
    """Training events of one ratio, numerator and denominator together."""

    transform: Transform
    """Of the features, and of those of particles if there are any."""
    x: torch.Tensor
    """Transformed features, shape (N, F)."""
    label: npt.NDArray[np.generic]
    """Whether an event is from the numerator, or the number of its class, shape (N,)."""
    weight: Floats
    """Shape (N,)."""
    id: hashing.Hashes
    """Shape (N,)."""
    particles: Jagged | None = None
    """Transformed features of the particles."""
    known: npt.NDArray[np.float32] | None = None
    """What is known jointly of each event, and learned instead of the label; shape (N,)."""
    kinds: Mapping[float, str] = field(default_factory=lambda: BOTH)
    """What each label means; there must be events of all."""
    shares: Mapping[float, float] | None = None
    """What part of the weight of validation events each label has; None for equal parts."""

    @staticmethod
    def build(
        numerator: Events | None, denominator: Events, joint: str = "", transform: Transform | None = None
    ) -> RatioEvents:
        """Put the two samples together.

        Args:
            numerator: None where events of the denominator alone are learned from.
            denominator: Each sample of it counts by its yield.
            joint: The ratio of which what is known jointly is learned; empty for the labels.
            transform: Of the features; by default it is fitted to both samples.
        """
        above = 0 if numerator is None else len(numerator)
        events = Events.join([denominator] if numerator is None else [numerator, denominator], denominator.names)
        label, known = np.arange(len(events)) < above, events.joint[joint] if joint else None
        found = _transformed(events, label, transform or fitted([denominator, *([numerator] if numerator else [])]))
        return replace(found, known=known, kinds=BELOW if numerator is None else BOTH)

    @staticmethod
    def of_classes(samples: Mapping[str, Events], transform: Transform | None = None) -> RatioEvents:
        """Put many samples together, each a class; the first has label 0."""
        events = Events.join(list(samples.values()), next(iter(samples.values())).names)
        label = np.repeat(np.arange(len(samples)), [len(sample) for sample in samples.values()])
        found = _transformed(events, label, transform or fitted(list(samples.values())))
        return replace(found, kinds=dict(enumerate(samples)))

    @property
    def features(self) -> int:
        """Count the columns that a network gets."""
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
            return _balanced(self, training, weight), _balanced(self, validation, weight, self.shares)
        return _balanced(self, training & (weight != 0), weight), _balanced(self, validation, self.weight, self.shares)

    def counts(self) -> dict[float, int]:
        """Count the events of each label."""
        return {kind: int((self.label == kind).sum()) for kind in self.kinds}


def _transformed(events: Events, label: npt.NDArray[np.generic], transform: Transform) -> RatioEvents:
    found = RatioEvents(
        transform=transform, x=torch.from_numpy(transform(events.x)), label=label, weight=events.weight, id=events.id
    )
    if events.particles is None or transform.particles is None:
        return found
    return replace(found, particles=Jagged(transform.particles(events.particles.values), events.particles.offsets))


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


@dataclass(frozen=True, kw_only=True)
class MemberView:
    """Which events a member trains on, and with what weights; all salts come from the analysis' seed."""

    fold: int
    folds: int
    fold_salt: int
    validation: float
    """Fraction of the training events by which it is validated, unless `own` says otherwise."""
    validation_salt: int
    bootstrap_salt: int | None
    """None without bootstrap; the same for a replica in every ratio."""
    replica: bool = False
    """Whether it is that of a replica: events that are not drawn stay, with weight 0, so that there are as many steps as without,
    and validation events are drawn, too. With fewer steps networks would follow their events less, and scatter less."""
    own: float = 0.0
    """Part of the events of its fold by which it is validated instead; it trains on all others."""


def chosen(ids: hashing.Hashes, view: MemberView) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Say which events a member is trained on, and on which it is validated."""
    outside = np.ones(len(ids), dtype=bool)
    if view.folds > 1:
        outside = hashing.fold(ids, view.folds, view.fold_salt) != view.fold
    number = hashing.uniform(ids, view.validation_salt)
    if view.own:
        return outside, ~outside & (number < view.own)
    validation = number < view.validation
    return outside & ~validation, outside & validation


def balance(
    events: int,
    totals: Mapping[float, float],
    kinds: Mapping[float, str],
    shares: Mapping[float, float] | None = None,
) -> dict[float, float]:
    """Give all classes the same sum of weights, with mean weight 1, so that the logit is ln p_1 / p_0.

    Args:
        events: Of all classes.
        totals: The sum of the weights of each class, by label.
        kinds: What each label means.
        shares: What part of all weights a class has instead.

    Returns:
        What the weights of each are multiplied with.

    Raises:
        TaskError: A sum is not more than 0.
    """
    for kind, total in totals.items():
        if not total > 0:
            raise TaskError(f"the weights of its {kinds[kind]} add up to {total:g}")
    equal = 1 / len(totals)
    return {kind: events * (shares[kind] if shares else equal) / total for kind, total in totals.items()}


def _balanced(
    events: RatioEvents, keep: npt.NDArray[np.bool_], weight: Floats, shares: Mapping[float, float] | None = None
) -> Batchable:
    label, kept = events.label[keep], weight[keep]
    totals = {kind: float(kept[label == kind].sum()) for kind in events.kinds}
    factors = balance(len(kept), totals, events.kinds, shares)
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
