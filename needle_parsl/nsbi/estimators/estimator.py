"""The estimator: one combined density ratio with its error, that anybody can evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import ensembles, wifi
from needle_parsl.nsbi.estimators.calibrations import CalibrationMap
from needle_parsl.nsbi.training import networks
from needle_parsl.nsbi.transforms.transform import Transform

Floats = npt.NDArray[np.float64]
CHUNK = 16_384
"""Events that are evaluated at a time, so that memory stays flat."""
Elsewhere = Callable[[npt.NDArray[np.float32]], Iterator[Floats]]
"""Evaluates all members of an estimator: features (N, F) to log ratios (M, n), part by part."""


@dataclass(frozen=True)
class Crossed:
    """Which member saw which events, where all events train: those of its own fold trained it not."""

    folds: int
    salt: int
    """Of the hash of an event's id that says in which fold it is."""
    fold: npt.NDArray[np.int64]
    """Of each member, shape (M,)."""

    def of(self, events: Events) -> npt.NDArray[np.int64]:
        """Give the fold of each event, shape (N,)."""
        return hashing.fold(events.id, self.folds, self.salt)


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """ln r(x) of one ratio."""

    ratio: str
    features: tuple[str, ...]
    """What x holds, in this order."""
    shape: networks.NetworkShape
    transform: Transform
    weights: npt.NDArray[np.float32]
    """Parameters of the members, shape (M, P)."""
    combine: str
    log_norm: float
    """What is taken away from ln r in the end: ln E_ref[r] of the combined members, minus an offset, or -w_0 of a wifi ensemble."""
    coefficients: Floats
    """Of the members, shape (M,)."""
    fitted: wifi.Weights | None = None
    """With their covariance, of a wifi ensemble."""
    calibration: CalibrationMap | None = None
    """Of ln r of the combined members."""
    slope: float = 1.0
    """What ln r of the combined members is multiplied with, before `log_norm` is taken away."""
    crossed: Crossed | None = None
    """Given where every event trained some of the members."""
    fallback: str = ""
    """Why this is not the wifi ensemble that was asked for; empty if it is what was asked for."""
    shapes: tuple[networks.NetworkShape, ...] = ()
    """Of each member's network, where they differ; then rows of `weights` are as long as the longest, and end with NaN."""
    elsewhere: Elsewhere | None = None
    """What evaluates the members in the place of these weights, such as a server; never in a file."""

    @property
    def wifi(self) -> wifi.Weights:
        """Give the fitted weights of a wifi ensemble."""
        assert self.fitted is not None
        return self.fitted

    def members(self, x: npt.NDArray[np.float32]) -> Floats:
        """Evaluate each member: `Events.inputs`, or without particles features (N, F), to log ratios (M, N), neither calibrated nor normalised."""
        if self.elsewhere is not None:
            return np.concatenate([np.empty((len(self.weights), 0)), *self.elsewhere(x)], axis=1)
        inputs = {shape: networks.separated(shape, self.transform, x) for shape in {self.shape, *self.shapes}}
        with torch.no_grad():
            return np.stack([network(*inputs[shape]).double().numpy() for shape, network in self.filled()])

    def parts(self, x: npt.NDArray[np.float32]) -> Iterator[Floats]:
        """Evaluate each member, some events at a time, so that memory stays flat; arguments as those of `members`."""
        if self.elsewhere is not None:
            return self.elsewhere(x)
        return (self.members(chunk) for chunk in chunks(x))

    def filled(self) -> Iterator[tuple[networks.NetworkShape, nn.Module]]:
        """Make each member's network; one of the same shape is the same object with other weights, so use it before the next."""
        made = {shape: networks.evaluator(shape) for shape in dict.fromkeys(self.shapes or (self.shape,))}
        for weights, shape in zip(self.weights, self.shapes or (self.shape,) * len(self.weights), strict=True):
            network = made[shape]
            own = weights[: len(networks.vector(network))] if self.shapes else weights
            networks.fill(network, torch.from_numpy(own))
            yield shape, network

    def log_ratio(self, x: npt.NDArray[np.float32]) -> Floats:
        """Evaluate ln r: features (N, F) to shape (N,)."""
        return np.concatenate([np.empty(0), *map(self._combined, self.parts(x))])

    def of(self, events: Events, *, seen: bool = False) -> Floats:
        """Evaluate ln r of simulated events, each by the members that it did not train; shape (N,).

        Args:
            events: Simulated ones, which may have trained members.
            seen: Whether to take as many that it did train instead, those of the next fold, to compare.
        """
        if self.crossed is None:
            return self.log_ratio(events.inputs)
        found, where = np.empty(len(events)), self.crossed.of(events)
        for fold in range(self.crossed.folds):
            rows = np.flatnonzero(where == fold)
            if len(rows):
                own = (fold + 1) % self.crossed.folds if seen else fold
                found[rows] = self.only(own).log_ratio(events.take(rows).inputs)
        return found

    def only(self, fold: int) -> Estimator:
        """Keep the members that the events of a fold did not train.

        Raises:
            TaskError: There is none.
        """
        assert self.crossed is not None
        kept = np.flatnonzero(self.crossed.fold == fold)
        if not len(kept):
            raise TaskError(
                f"ratio {self.ratio}: no member without the events of fold {fold} has trained, and nothing else may evaluate them"
            )
        coefficients = self.coefficients[kept] / self.coefficients[kept].sum()
        shapes = tuple(self.shapes[k] for k in kept) if self.shapes else ()
        elsewhere = None if self.elsewhere is None else partial(_rows, self.elsewhere, kept)
        return replace(
            self,
            weights=self.weights[kept],
            coefficients=coefficients,
            crossed=None,
            shapes=shapes,
            elsewhere=elsewhere,
        )

    def _combined(self, members: Floats) -> Floats:
        combined = ensembles.find(self.combine)(members, self.coefficients)
        return self.slope * (self.calibration(combined) if self.calibration else combined) - self.log_norm

    def at(self, x: npt.NDArray[np.float32], *parameters: float) -> Floats:
        """Evaluate ln r(x | theta) at one value of the parameters that are the last features: the others (N, F) to shape (N,)."""
        theta = np.broadcast_to(np.array(parameters, np.float32), (len(x), len(parameters)))
        return self.log_ratio(np.concatenate([x, theta], axis=1))

    def log_ratio_error(self, x: npt.NDArray[np.float32]) -> Floats:
        """Estimate sigma of ln r: features (N, F) to shape (N,).

        Of a wifi ensemble from the covariance of its weights (arXiv:2506.00113), for fixed members. Of other ensembles the
        spread of the members over sqrt(M): the noise of training alone, not the finite simulation that all of them saw;
        NaN for one member. It is that of ln r before a calibration. Errors of different events are correlated.
        """
        return np.concatenate([np.empty(0), *map(self._error, self.parts(x))])

    def combined_with_error(self, members: Floats) -> tuple[Floats, Floats]:
        """Give ln r and its error of members that have been evaluated, (M, N), each of shape (N,)."""
        return self._combined(members), self._error(members)

    def _error(self, members: Floats) -> Floats:
        if self.fitted is not None:
            return self.fitted.error(members)
        if len(members) == 1:
            return np.full(members.shape[1], np.nan)
        error: Floats = abs(self.slope) * members.std(axis=0, ddof=1) / np.sqrt(len(members))
        return error

    def coordinates(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Compute how ln r of a wifi ensemble moves with its weights: features (N, F) to shape (N, K)."""
        parts = [self.wifi.coordinates(part).astype(np.float32) for part in self.parts(x)]
        return np.concatenate([np.empty((0, len(self.wifi.spread)), np.float32), *parts])

    def influence(self, events: Events, side: int) -> Floats:
        """Compute what each event did to the weights of a wifi ensemble, shape (N, K); side 0 is the numerator."""
        return self.wifi.influence(self.members(events.inputs), events.weight, side)


def _rows(elsewhere: Elsewhere, kept: npt.NDArray[np.int64], x: npt.NDArray[np.float32]) -> Iterator[Floats]:
    """Keep some members of those that are evaluated elsewhere."""
    return (part[kept] for part in elsewhere(x))


def chunks(x: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    """Cut events into pieces, so that memory stays flat."""
    for start in range(0, len(x), CHUNK):
        yield x[start : start + CHUNK]


def normalisation(estimator: Estimator, denominator: Events) -> tuple[float, float]:
    """Estimate E_ref[r] and its statistical error from weighted events of the denominator."""
    r, w = np.exp(estimator.of(denominator)), denominator.weight
    mean = float(np.average(r, weights=w))
    error = float(np.sqrt((w**2 * (r - mean) ** 2).sum()) / w.sum())
    return mean, error
