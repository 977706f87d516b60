"""The estimator: one combined, renormalised density ratio, and its file."""

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
from needle_parsl.nsbi.estimators.ensembles import COMBINERS
from needle_parsl.nsbi.training import networks
from needle_parsl.nsbi.training.packs import Pack
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
    """ln E_ref[r] of the combined members, which is taken away."""

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
        combined = [COMBINERS[self.combine](self.members(chunk)) for chunk in _chunks(x)]
        return np.concatenate([np.empty(0), *combined]) - self.log_norm


def _chunks(x: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(0, len(x), CHUNK):
        yield x[start : start + CHUNK]


def compose(ratio: str, pack: Pack, denominator: Events, combine: str, quorum: float) -> Estimator:
    """Combine the members of a ratio and renormalise: r <- r / E_ref[r] on events that trained nothing.

    Args:
        ratio: Its name.
        pack: All members.
        denominator: Events of the reference from the `combine` part.
        combine: A name in `COMBINERS`.
        quorum: Fraction of the members that must have trained.

    Raises:
        TaskError: Too few members have trained; the message counts the reasons.
    """
    trained = [m for m in pack.members if not m.reason]
    if len(trained) < quorum * len(pack.members):
        reasons = sorted({m.reason for m in pack.members if m.reason})
        raise TaskError(
            f"ratio {ratio}: {len(trained)} of {len(pack.members)} members have trained, the quorum is {quorum:g}; "
            f"the others: {'; '.join(reasons)}"
        )
    weights = np.stack([m.weights for m in trained])
    raw = Estimator(ratio, denominator.names, pack.shape, pack.scaler, weights, combine, 0.0)
    mean, _ = normalisation(raw, denominator)
    if not (mean > 0 and np.isfinite(mean)):
        raise TaskError(f"ratio {ratio}: its mean over the reference is {mean:g}; it cannot be renormalised")
    return replace(raw, log_norm=float(np.log(mean)))


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
        )
