"""The file of an estimator: HDF5, never a pickle."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np

from needle_parsl.nsbi.estimators import wifi
from needle_parsl.nsbi.estimators.calibrations import Calibration
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.training import networks
from needle_parsl.nsbi.training.views import Scaler


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
        if estimator.calibration is not None:
            group = file.create_group("calibration")
            group.attrs["kind"] = estimator.calibration.kind
            group["knots"], group["values"] = estimator.calibration.knots, estimator.calibration.values
        if estimator.fitted is not None:
            _write_fitted(file.create_group("wifi"), estimator.fitted)


ARRAYS = ("values", "directions", "spread", "means", "sums")


def _write_fitted(group: h5py.Group, fitted: wifi.Weights) -> None:
    for name in ARRAYS:
        group[name] = getattr(fitted, name)
    group["dropped"] = np.array(fitted.dropped, np.int64)
    group.attrs["condition"], group.attrs["design_condition"] = fitted.condition, fitted.design_condition


def _read_fitted(group: h5py.Group) -> wifi.Weights:
    dropped = tuple(int(k) for k in group["dropped"][...])
    conditions = float(group.attrs["condition"]), float(group.attrs["design_condition"])
    values, directions, spread, means, sums = (group[name][...] for name in ARRAYS)
    return wifi.Weights(values, directions, spread, means, sums, dropped, *conditions)


def _read_calibration(group: h5py.Group) -> Calibration:
    return Calibration(str(group.attrs["kind"]), group["knots"][...], group["values"][...])


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
            _read_calibration(file["calibration"]) if "calibration" in file else None,
        )
