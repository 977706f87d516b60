"""The joint covariance of several wifi ratios: they share simulated events, of the reference above all.

    Cov(xi_a, xi_b) = sum_e eta_ae eta_be^T

eta_ae is all that event e does to the weights of ratio a, in whatever classes it is. Events of different samples are
independent; those of a sample and of its variations are told apart by their ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.data.events import Events

if TYPE_CHECKING:
    from needle_parsl.nsbi.estimators.estimator import Estimator  # brings torch, which fits do without

Floats = npt.NDArray[np.float64]
ENTRIES = 2**23
"""Numbers of the stacked influences that are held at a time."""


@dataclass(frozen=True)
class Role:
    """Events of one sample that were one class of a ratio's weight fit, or a part of it."""

    ratio: str
    side: int
    """0 for the numerator, 1 for the denominator."""
    events: Events
    """With the weights of the fit."""


@dataclass(frozen=True)
class Covariance:
    """Of the coordinates xi of several ratios, in which their log ratios are linear."""

    ratios: tuple[str, ...]
    sizes: tuple[int, ...]
    """How many coordinates each has."""
    values: Floats
    """Shape (S, S), S the sum of the sizes."""

    def place(self, ratio: str) -> slice:
        """Locate the coordinates of a ratio."""
        return dict(zip(self.ratios, _slices(self.sizes), strict=True))[ratio]

    def between(self, one: str, other: str) -> Floats:
        """Give the covariance of the coordinates of two ratios."""
        return self.values[self.place(one), self.place(other)]


def _slices(sizes: Sequence[int]) -> list[slice]:
    return [slice(low, high) for low, high in pairwise(accumulate(sizes, initial=0))]


def covariance(estimators: Mapping[str, Estimator], samples: Iterator[Sequence[Role]]) -> Covariance:
    """Add up the influences of all events.

    Args:
        estimators: The wifi ratios.
        samples: For each sample, everything that its events, varied or not, have done.
    """
    sizes = tuple(estimator.wifi.spread.shape[0] for estimator in estimators.values())
    places = dict(zip(estimators, _slices(sizes), strict=True))
    total = np.zeros((sum(sizes), sum(sizes)))
    for roles in samples:
        names = [name for name in estimators if any(role.ratio == name for role in roles)]
        columns = np.concatenate([np.arange(places[n].start, places[n].stop) for n in names])
        for stacked in _stacked(estimators, names, roles):
            total[np.ix_(columns, columns)] += stacked.T @ stacked
    return Covariance(tuple(estimators), sizes, total)


def _stacked(estimators: Mapping[str, Estimator], names: Sequence[str], roles: Sequence[Role]) -> Iterator[Floats]:
    """Give the influences of each event on all ratios side by side, some events at a time."""
    sizes = [estimators[name].wifi.spread.shape[0] for name in names]
    places = dict(zip(names, _slices(sizes), strict=True))
    ids = np.unique(np.concatenate([role.events.id for role in roles]))
    orders = [np.argsort(role.events.id) for role in roles]
    step = max(ENTRIES // sum(sizes), 1)
    for some in (ids[start : start + step] for start in range(0, len(ids), step)):
        stacked = np.zeros((len(some), sum(sizes)))
        for role, order in zip(roles, orders, strict=True):
            low = np.searchsorted(role.events.id, some[0], "left", sorter=order)
            high = np.searchsorted(role.events.id, some[-1], "right", sorter=order)
            own = role.events.take(order[low:high])
            eta = estimators[role.ratio].influence(own, role.side)
            np.add.at(stacked[:, places[role.ratio]], np.searchsorted(some, own.id), eta)
        yield stacked


def write(path: Path, covariance: Covariance) -> None:
    """Write a covariance."""
    with h5py.File(path, "w") as file:
        put(file, covariance)


def put(group: h5py.Group, covariance: Covariance) -> None:
    """Write a covariance into a file that is open."""
    group.attrs["ratios"], group["sizes"] = json.dumps(covariance.ratios), np.array(covariance.sizes, np.int64)
    group["covariance"] = covariance.values


def read(path: Path) -> Covariance:
    """Read a covariance."""
    with h5py.File(path, "r") as file:
        return take(file)


def take(group: h5py.Group) -> Covariance:
    """Read a covariance from a file that is open."""
    sizes = tuple(int(size) for size in group["sizes"][...])
    return Covariance(tuple(json.loads(group.attrs["ratios"])), sizes, group["covariance"][...])
