"""How the log ratios of a dataset move with the fitted weights of wifi ensembles: ln r -> ln r + z . xi.

Beside the events of a dataset stand z of every ratio, and with the simulated ones the joint covariance of all xi.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import h5py
import numpy as np
import numpy.typing as npt
from scipy.linalg import block_diag

from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.estimators import joint
from needle_parsl.nsbi.statistics.dataset import Dataset

if TYPE_CHECKING:
    from needle_parsl.nsbi.estimators.estimator import Estimator  # brings torch, which fits do without

T = TypeVar("T")
Floats = npt.NDArray[np.float64]
CHUNK = 65_536
"""Events that are written at a time."""
GROUP, COVARIANCE = "directions", "covariance"


@dataclass(frozen=True)
class Directions:
    """z of the ratios, for the events of one dataset."""

    covariance: joint.Covariance
    """Of xi."""
    values: Mapping[str, npt.NDArray[np.float32]]
    """z by ratio, shape (N, K)."""

    def moved(self, dataset: Dataset, shift: Floats) -> Dataset:
        """Move the log ratios of the dataset.

        Args:
            dataset: With the same events.
            shift: xi of all ratios, shape (S,).
        """
        ratios = dict(dataset.ratios)
        for name, z in self.values.items():
            own = shift[self.covariance.place(name)]
            if own.any():
                ratios[name] = ratios[name] + z @ own
        return replace(dataset, ratios=ratios)


def write(
    path: Path, x: npt.NDArray[np.float32], ratios: Mapping[str, Estimator], covariance: joint.Covariance
) -> None:
    """Add directions to the file of a dataset.

    Args:
        path: The file, with its events.
        x: Their features.
        ratios: The estimators.
        covariance: Of the weights of these ratios.
    """
    with h5py.File(path, "a") as file:
        joint.put(file.create_group(COVARIANCE), covariance)
        for name, size in zip(covariance.ratios, covariance.sizes, strict=True):
            rows = file.create_dataset(f"{GROUP}/{name}", (len(x), size), np.float32)
            for start in range(0, len(x), CHUNK):
                rows[start : start + CHUNK] = ratios[name].coordinates(x[start : start + CHUNK])


def read(path: Path) -> Directions | None:
    """Read the directions of a dataset; None where none of its ratios is a wifi ensemble."""
    with hdf5.opened(path, "dataset of ratios") as file:
        if COVARIANCE not in file:
            return None
        covariance = joint.take(file[COVARIANCE])
        if not covariance.ratios:  # all have fallen back to a mean
            return None
        return Directions(covariance, {name: file[f"{GROUP}/{name}"][...] for name in covariance.ratios})


@dataclass(frozen=True)
class MovedRegion:
    """The events of an unbinned region, and how their log ratios move; None where they do not."""

    data: Dataset
    """The events that are fitted."""
    simulation: Dataset
    """The events behind Z_j."""
    directions: Directions | None
    """Of the data."""
    behind: Directions | None
    """Of the simulation."""

    @property
    def covariance(self) -> Floats:
        """Give that of xi, shape (S, S)."""
        return self.directions.covariance.values if self.directions else np.empty((0, 0))

    def moved(self, shift: Floats) -> tuple[Dataset, Dataset]:
        """Move data and simulation by xi, shape (S,)."""
        if self.directions is None or self.behind is None:
            return self.data, self.simulation
        return self.directions.moved(self.data, shift), self.behind.moved(self.simulation, shift)


def mover(
    build: Callable[[Mapping[str, tuple[Dataset, Dataset]]], T], regions: Mapping[str, MovedRegion]
) -> tuple[Floats, Callable[[Floats], T]]:
    """Give the covariance of xi of all regions, whose networks are independent, and what is built of the events as a function of xi.

    Args:
        build: Takes data and simulation of each region.
        regions: By name.
    """
    covariances = [own.covariance for own in regions.values()]
    borders = np.cumsum([len(own) for own in covariances])[:-1]

    def moved(shift: Floats) -> T:
        parts = zip(regions.items(), np.split(shift, borders), strict=True)
        return build({name: own.moved(part) for (name, own), part in parts})

    return block_diag(*covariances), moved
