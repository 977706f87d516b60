"""The file of an estimator: HDF5, never a pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from needle_parsl.analysis import catalogue
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.estimators import wifi
from needle_parsl.nsbi.estimators.calibrations import CalibrationMap
from needle_parsl.nsbi.estimators.estimator import Crossed, Estimator
from needle_parsl.nsbi.training import networks
from needle_parsl.nsbi.transforms.transform import Transform


def write(path: Path, estimator: Estimator) -> None:
    """Write an estimator; no pickle, so that reading somebody's file runs nothing of theirs."""
    with h5py.File(path, "w") as file:
        put(file, estimator)


def put(group: h5py.Group, estimator: Estimator) -> None:
    """Write an estimator into a file that is open."""
    group.attrs["ratio"], group.attrs["combine"] = estimator.ratio, estimator.combine
    group.attrs["features"], group.attrs["shape"] = json.dumps(estimator.features), json.dumps(asdict(estimator.shape))
    group.attrs["log_norm"], group.attrs["fallback"] = estimator.log_norm, estimator.fallback
    group["transform"], group["weights"] = estimator.transform.to_json(), estimator.weights
    group["coefficients"] = estimator.coefficients
    group.attrs["slope"] = estimator.slope
    if estimator.shapes:
        group["shapes"] = json.dumps([asdict(shape) for shape in estimator.shapes])
    if estimator.crossed is not None:
        inner = group.create_group("crossed")
        inner.attrs["folds"], inner.attrs["salt"] = estimator.crossed.folds, np.uint64(estimator.crossed.salt)
        inner["fold"] = estimator.crossed.fold
    if estimator.calibration is not None:
        inner = group.create_group("calibration")
        inner.attrs["kind"] = estimator.calibration.kind
        inner["knots"], inner["values"] = estimator.calibration.knots, estimator.calibration.values
    if estimator.fitted is not None:
        _write_fitted(group.create_group("wifi"), estimator.fitted)


ARRAYS = ("values", "directions", "spread", "means", "sums")


def _write_fitted(group: h5py.Group, fitted: wifi.Weights) -> None:
    for name in ARRAYS:
        group[name] = getattr(fitted, name)
    group["dropped"] = np.array(fitted.dropped, np.int64)
    group.attrs["condition"], group.attrs["design_condition"] = fitted.condition, fitted.design_condition
    group.attrs["ridge"], group.attrs["freedom"], group.attrs["held_out"] = (
        fitted.ridge,
        fitted.freedom,
        fitted.held_out,
    )


def _read_fitted(group: h5py.Group) -> wifi.Weights:
    dropped = tuple(int(k) for k in group["dropped"][...])
    arrays: dict[str, Any] = {name: group[name][...] for name in ARRAYS}
    conditions: dict[str, Any] = {name: float(group.attrs[name]) for name in ("condition", "design_condition")}
    found = wifi.Weights(dropped=dropped, **arrays, **conditions)
    if "ridge" not in group.attrs:  # a file of an earlier version
        return replace(found, freedom=float(len(found.spread)))
    fitted, equal = (float(loss) for loss in group.attrs["held_out"])
    return replace(
        found, ridge=float(group.attrs["ridge"]), freedom=float(group.attrs["freedom"]), held_out=(fitted, equal)
    )


def _read_crossed(group: h5py.Group) -> Crossed:
    return Crossed(int(group.attrs["folds"]), int(group.attrs["salt"]), group["fold"][...])


def _read_shapes(text: str) -> tuple[networks.NetworkShape, ...]:
    return tuple(networks.described(json.dumps(shape)) for shape in json.loads(text))


def _read_calibration(group: h5py.Group) -> CalibrationMap:
    return CalibrationMap(str(group.attrs["kind"]), group["knots"][...], group["values"][...])


def read(path: Path) -> Estimator:
    """Read an estimator."""
    with hdf5.opened(path, "estimator") as file:
        return take(file)


def take(group: h5py.Group) -> Estimator:
    """Read an estimator from a file that is open.

    Raises:
        InputError: An earlier version of needle wrote it.
        ValueError: What is there does not belong together.
    """
    if "transform" not in group:
        raise InputError(
            f'{group.file.filename}: was written by an earlier version of needle; "needle run" makes it again'
        )
    found = _taken(group)
    members = found.weights.shape
    if found.shapes and len(found.shapes) != len(found.weights):
        raise ValueError("its members and their shapes do not belong together")
    known = found.combine in catalogue.COMBINERS or ":" in found.combine
    if not known or found.coefficients.shape != members[:1] or found.weights.dtype.kind != "f":
        raise ValueError("its members, their coefficients and their combination do not belong together")
    _judge_transform(found)
    return found


def _judge_transform(found: Estimator) -> None:
    """Insist on a transform that gives the network its features.

    Raises:
        ValueError: It is none, whatever goes wrong in it.
    """
    given = found.transform(np.zeros((1, found.transform.inputs), np.float32))
    if any(given.shape != (1, shape.features) for shape in (found.shape, *found.shapes)):
        raise ValueError("its network and what it is given do not belong together")


def _taken(group: h5py.Group) -> Estimator:
    return Estimator(
        ratio=str(group.attrs["ratio"]),
        features=tuple(json.loads(group.attrs["features"])),
        shape=networks.described(group.attrs["shape"]),
        transform=Transform.from_json(group["transform"].asstr()[()]),
        weights=group["weights"][...],
        combine=str(group.attrs["combine"]),
        log_norm=float(group.attrs["log_norm"]),
        coefficients=group["coefficients"][...],
        fitted=_read_fitted(group["wifi"]) if "wifi" in group else None,
        calibration=_read_calibration(group["calibration"]) if "calibration" in group else None,
        slope=float(group.attrs.get("slope", 1.0)),
        crossed=_read_crossed(group["crossed"]) if "crossed" in group else None,
        fallback=str(group.attrs.get("fallback", "")),
        shapes=_read_shapes(group["shapes"].asstr()[()]) if "shapes" in group else (),
    )
