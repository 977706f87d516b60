"""The training store: events as plain arrays in one HDF5 file per sample, ordered by the hash of their ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.data import hashing

SCHEMA = 1
Part = Literal["train", "combine", "test", "all"]


@dataclass(frozen=True)
class Fractions:
    """How the events are split, and the salt of the hash that does it."""

    train: float
    combine: float
    test: float
    salt: int


@dataclass(frozen=True)
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

    def __len__(self) -> int:
        """Count the events."""
        return len(self.x)

    def effective(self) -> float:
        """Count the effective events, (sum w)^2 / sum w^2."""
        square = float((self.weight**2).sum())
        return float(self.weight.sum()) ** 2 / square if square else 0.0

    def take(self, rows: npt.NDArray[np.intp] | slice | npt.NDArray[np.bool_]) -> Events:
        """Keep some rows."""
        return Events(self.names, self.x[rows], self.weight[rows], self.id[rows])

    def ordered(self, salt: int) -> Events:
        """Sort by hash, which shuffles, makes every split a range of rows, and forgets how the files were cut."""
        return self.take(np.lexsort((self.id, hashing.mix(self.id, salt))))

    def part(self, part: Part, fractions: Fractions) -> Events:
        """Keep the events of one purpose."""
        if part == "all":
            return self
        u = hashing.uniform(self.id, fractions.salt)
        edges = np.cumsum([0.0, fractions.train, fractions.combine, fractions.test])
        place = ("train", "combine", "test").index(part)
        return self.take((u >= edges[place]) & (u < edges[place + 1]))

    @staticmethod
    def join(parts: Sequence[Events], names: tuple[str, ...]) -> Events:
        """Put events behind each other."""
        empty = Events(names, np.empty((0, len(names)), np.float32), np.empty(0), np.empty(0, np.uint64))
        every = [empty, *parts]
        return Events(
            names,
            np.concatenate([p.x for p in every]),
            np.concatenate([p.weight for p in every]),
            np.concatenate([p.id for p in every]),
        )


def write(path: Path, events: Events, salt: int) -> None:
    """Write a store: contiguous `x`, `weight`, `id` in hash order, sums and column statistics as attributes."""
    events = events.ordered(salt)
    with h5py.File(path, "w") as file:
        for name in ("x", "weight", "id"):
            file.create_dataset(name, data=getattr(events, name), track_times=False)
        file.attrs["schema"] = SCHEMA
        file.attrs["features"] = json.dumps(events.names)
        file.attrs["salt"] = np.uint64(salt)
        file.attrs["sum_of_weights"] = float(events.weight.sum())
        file.attrs["effective_events"] = events.effective()
        file.attrs["negative_weights"] = int((events.weight < 0).sum())


def read(path: Path) -> Events:
    """Read a store whole."""
    with h5py.File(path, "r") as file:
        names = tuple(json.loads(file.attrs["features"]))
        return Events(names, file["x"][...], file["weight"][...], file["id"][...])


def sum_of_weights(path: Path) -> float:
    """Read the sum of the weights of a store."""
    with h5py.File(path, "r") as file:
        return float(file.attrs["sum_of_weights"])
