"""The estimator: one combined density ratio with its error, and its file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import wifi
from needle_parsl.nsbi.estimators.ensembles import COMBINERS, equal, inverse_loss
from needle_parsl.nsbi.training import networks
from needle_parsl.nsbi.training.packs import Pack, Trained
from needle_parsl.nsbi.training.views import Scaler

Floats = npt.NDArray[np.float64]
CHUNK = 16_384
"""Events that are evaluated at a time, so that memory stays flat."""


@dataclass(frozen=True)
class Estimator:
    """ln r(x) of one ratio."""

    ratio: str
    features: tuple[str, ...]
    """What x holds, in this order."""
    shape: networks.Shape
    scaler: Scaler
    weights: npt.NDArray[np.float32]
    """Parameters of the members, shape (M, P)."""
    combine: str
    log_norm: float
    """What is taken away from ln r: ln E_ref[r] of the combined members, or -w_0 of a wifi ensemble."""
    coefficients: Floats
    """Of the members, shape (M,)."""
    fitted: wifi.Weights | None = None
    """With their covariance, of a wifi ensemble."""

    def members(self, x: npt.NDArray[np.float32]) -> Floats:
        """Evaluate each member: features (N, F) to log ratios (M, N)."""
        network = networks.empty(self.shape)
        inputs = torch.from_numpy(self.scaler(x))
        rows = []
        with torch.no_grad():
            for weights in self.weights:
                nn.utils.vector_to_parameters(torch.from_numpy(weights), network.parameters())
                rows.append(network(inputs).double().numpy())
        return np.stack(rows)

    def log_ratio(self, x: npt.NDArray[np.float32]) -> Floats:
        """Evaluate ln r: features (N, F) to shape (N,)."""
        combined = [COMBINERS[self.combine](self.members(chunk), self.coefficients) for chunk in _chunks(x)]
        return np.concatenate([np.empty(0), *combined]) - self.log_norm

    def log_ratio_error(self, x: npt.NDArray[np.float32]) -> Floats:
        """Estimate sigma of ln r: features (N, F) to shape (N,).

        Of a wifi ensemble from the covariance of its weights (arXiv:2506.00113), for fixed members. Of other ensembles the
        spread of the members over sqrt(M): the noise of training alone, not the finite simulation that all of them saw;
        NaN for one member. Errors of different events are correlated.
        """
        return np.concatenate([np.empty(0), *(self._error(self.members(chunk)) for chunk in _chunks(x))])

    def _error(self, members: Floats) -> Floats:
        if self.fitted is not None:
            return self.fitted.error(members)
        if len(members) == 1:
            return np.full(members.shape[1], np.nan)
        error: Floats = members.std(axis=0, ddof=1) / np.sqrt(len(members))
        return error


def _chunks(x: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(0, len(x), CHUNK):
        yield x[start : start + CHUNK]


def compose(ratio: str, pack: Pack, samples: tuple[Events, Events], combine: str, quorum: float) -> Estimator:
    """Combine the members of a ratio, on events that trained nothing.

    All but wifi are renormalised: r <- r / E_ref[r]. The fitted weights of wifi have a covariance, which that would break.

    Args:
        ratio: Its name.
        pack: All members.
        samples: Numerator and denominator from the `combine` part; an id that is in both is one event.
        combine: A name in `COMBINERS`.
        quorum: Fraction of the members that must have trained.

    Raises:
        TaskError: Too few members have trained; the message counts the reasons. Or the weights cannot be found.
    """
    trained = _trained(ratio, pack, quorum)
    weights, names = np.stack([m.weights for m in trained]), samples[1].names
    raw = Estimator(ratio, names, pack.shape, pack.scaler, weights, combine, 0.0, equal(len(trained)))
    if combine == "wifi":
        return _fitted(raw, samples)
    if combine == "weighted":
        raw = replace(raw, coefficients=_by_loss(ratio, trained))
    mean, _ = normalisation(raw, samples[1])
    if not (mean > 0 and np.isfinite(mean)):
        raise TaskError(f"ratio {ratio}: its mean over the reference is {mean:g}; it cannot be renormalised")
    return replace(raw, log_norm=float(np.log(mean)))


def _trained(ratio: str, pack: Pack, quorum: float) -> list[Trained]:
    trained = [m for m in pack.members if not m.reason]
    if len(trained) < quorum * len(pack.members):
        reasons = sorted({m.reason for m in pack.members if m.reason})
        raise TaskError(
            f"ratio {ratio}: {len(trained)} of {len(pack.members)} members have trained, the quorum is {quorum:g}; "
            f"the others: {'; '.join(reasons)}"
        )
    return trained


def _by_loss(ratio: str, trained: list[Trained]) -> Floats:
    try:
        return inverse_loss(np.array([m.history[m.best_epoch, 1] for m in trained]))
    except ValueError as error:
        raise TaskError(f"ratio {ratio}: {error}") from error


def _fitted(raw: Estimator, samples: tuple[Events, Events]) -> Estimator:
    try:
        found = wifi.fit(*(wifi.Sample(_design(raw, some.x), some.weight, some.id) for some in samples))
    except TaskError as error:
        raise TaskError(f"ratio {raw.ratio}: {error}") from error
    return replace(raw, coefficients=found.values[1:], log_norm=-float(found.values[0]), fitted=found)


def _design(raw: Estimator, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Evaluate all members on all events; networks give float32, so that nothing is lost."""
    design = np.empty((len(raw.weights), len(x)), np.float32)
    for start, chunk in zip(range(0, len(x), CHUNK), _chunks(x), strict=True):
        design[:, start : start + CHUNK] = raw.members(chunk)
    return design


def normalisation(estimator: Estimator, denominator: Events) -> tuple[float, float]:
    """Estimate E_ref[r] and its statistical error from weighted events of the denominator."""
    r, w = np.exp(estimator.log_ratio(denominator.x)), denominator.weight
    mean = float(np.average(r, weights=w))
    error = float(np.sqrt((w**2 * (r - mean) ** 2).sum()) / w.sum())
    return mean, error


def write(path: Path, estimator: Estimator) -> None:
    """Write an estimator; no pickle, so that reading somebody's file runs nothing of theirs."""
    with h5py.File(path, "w") as file:
        file.attrs["ratio"], file.attrs["combine"] = estimator.ratio, estimator.combine
        file.attrs["features"], file.attrs["shape"] = (
            json.dumps(estimator.features),
            json.dumps(asdict(estimator.shape)),
        )
        file.attrs["log_norm"] = estimator.log_norm
        file["shift"], file["width"], file["weights"] = (
            estimator.scaler.shift,
            estimator.scaler.width,
            estimator.weights,
        )
        file["coefficients"] = estimator.coefficients
        if estimator.fitted is not None:
            _write_fitted(file.create_group("wifi"), estimator.fitted)


def _write_fitted(group: h5py.Group, fitted: wifi.Weights) -> None:
    group["values"], group["factor"] = fitted.values, fitted.factor
    group["dropped"] = np.array(fitted.dropped, np.int64)
    group.attrs["condition"], group.attrs["design_condition"] = fitted.condition, fitted.design_condition


def _read_fitted(group: h5py.Group) -> wifi.Weights:
    dropped = tuple(int(k) for k in group["dropped"][...])
    conditions = float(group.attrs["condition"]), float(group.attrs["design_condition"])
    return wifi.Weights(group["values"][...], group["factor"][...], dropped, *conditions)


def read(path: Path) -> Estimator:
    """Read an estimator."""
    with h5py.File(path, "r") as file:
        return Estimator(
            str(file.attrs["ratio"]),
            tuple(json.loads(file.attrs["features"])),
            networks.Shape(**json.loads(file.attrs["shape"])),
            Scaler(file["shift"][...], file["width"][...]),
            file["weights"][...],
            str(file.attrs["combine"]),
            float(file.attrs["log_norm"]),
            file["coefficients"][...],
            _read_fitted(file["wifi"]) if "wifi" in file else None,
        )
