"""Events of one sample in memory, and which of them serve which purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.data import hashing, jagged
from needle_parsl.nsbi.data.jagged import Jagged

Part = Literal["train", "combine", "test", "all"]


@dataclass(frozen=True)
class Fractions:
    """How the events are split, and the salt of the hash that does it."""

    train: float
    combine: float
    test: float
    salt: int
    crossed: bool = False
    """Whether every event serves every purpose: it is evaluated by networks that did not see it."""

    def between(self, part: Part) -> tuple[float, float]:
        """Give the range [low, high) of an event's number that belongs to a purpose."""
        if self.crossed:
            return 0.0, 1.0
        edges = np.cumsum([0.0, self.train, self.combine, self.test])
        place = ("train", "combine", "test").index(part)
        return float(edges[place]), float(edges[place + 1])


@dataclass(frozen=True, kw_only=True)
class Events:
    """Events of one sample."""

    names: tuple[str, ...]
    """The F features."""
    x: npt.NDArray[np.float32]
    """Features of shape (N, F), in the units of the input files."""
    weight: npt.NDArray[np.float64]
    """Shape (N,)."""
    id: hashing.Hashes
    """Shape (N,)."""
    particles: Jagged | None = None
    """Features of the particles, (M, P) in all, where the analysis asks for them."""
    joint: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """By ratio, the joint score or joint ratio of each event, shape (N,), where the loss asks for them."""

    def __len__(self) -> int:
        """Count the events."""
        return len(self.x)

    @property
    def inputs(self) -> npt.NDArray[np.float32]:
        """Give all that networks see in one array: features, then the particles, padded, and how many there are.

        Returns:
            Shape (N, F + W P + 1) for at most W particles of P features; without particles the features, shape (N, F).
        """
        if self.particles is None:
            return self.x
        counts, values = self.particles.counts, self.particles.values
        mask = np.arange(counts.max(initial=0)) < counts[:, None]
        padded = np.zeros((*mask.shape, values.shape[1]), np.float32)
        padded[mask] = values
        return np.concatenate([self.x, padded.reshape(len(self), -1), counts[:, None]], axis=1, dtype=np.float32)

    def effective(self) -> float:
        """Count the effective events, (sum w)^2 / sum w^2."""
        square = float((self.weight**2).sum())
        return float(self.weight.sum()) ** 2 / square if square else 0.0

    def take(self, rows: npt.NDArray[np.intp] | slice | npt.NDArray[np.bool_]) -> Events:
        """Keep some rows."""
        if not isinstance(rows, slice) and rows.dtype == bool:
            rows = np.flatnonzero(rows)
        # ndarray.take is four times as fast as indexing with an array
        x = self.x[rows] if isinstance(rows, slice) else self.x.take(rows, axis=0)
        particles = None if self.particles is None else self.particles[rows]
        joint = {name: column[rows] for name, column in self.joint.items()}
        return Events(
            names=self.names, x=x, weight=self.weight[rows], id=self.id[rows], particles=particles, joint=joint
        )

    def resampled(self, salt: int) -> Events:
        """Give each event the Poisson weight that is its own in a replica, and leave out those that are not drawn."""
        drawn = hashing.poisson(self.id, salt)
        kept = self.take(drawn > 0)
        return replace(kept, weight=kept.weight * drawn[drawn > 0])

    def order(self, salt: int) -> npt.NDArray[np.intp] | None:
        """Sort by hash, which shuffles, makes every split a range of rows, and forgets how the files were cut.

        Returns:
            For each place the row that belongs there; None if all are in their place.
        """
        hashes = hashing.mix(self.id, salt)
        # Equal hashes are equal ids.
        return None if (hashes[:-1] <= hashes[1:]).all() else np.argsort(hashes)

    def ordered(self, salt: int) -> Events:
        """Put the events into their order."""
        order = self.order(salt)
        return self if order is None else self.take(order)

    def part(self, part: Part, fractions: Fractions) -> Events:
        """Keep the events of one purpose."""
        if part == "all":
            return self
        low, high = fractions.between(part)
        u = hashing.uniform(self.id, fractions.salt)
        return self.take((u >= low) & (u < high))

    @staticmethod
    def join(parts: Sequence[Events], names: tuple[str, ...]) -> Events:
        """Put events behind each other; of what is known jointly, that stays which all of them have."""
        if len(parts) == 1:
            return parts[0]
        packed = [part.particles for part in parts if part.particles is not None]
        if packed and any(part.particles is None and len(part) for part in parts):
            raise ValueError("some of the events have particles, and others have none")
        empty = Events(
            names=names, x=np.empty((0, len(names)), np.float32), weight=np.empty(0), id=np.empty(0, np.uint64)
        )
        every = [empty, *parts]
        filled = [p for p in parts if len(p)]
        known = [name for name in filled[0].joint if all(name in p.joint for p in filled)] if filled else []
        return Events(
            names=names,
            x=np.concatenate([p.x for p in every]),
            weight=np.concatenate([p.weight for p in every]),
            id=np.concatenate([p.id for p in every]),
            particles=jagged.join(packed) if packed else None,
            joint={name: np.concatenate([p.joint[name] for p in filled]) for name in known},
        )
