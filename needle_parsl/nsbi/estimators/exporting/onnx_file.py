"""One ONNX file of one or several estimators: raw features in, ln r and its error out. Checked against needle itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper

from needle_parsl import __version__
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.estimators.exporting import aggregation, layers, runtime, transform_nodes
from needle_parsl.nsbi.estimators.exporting.graph import OnnxGraph
from needle_parsl.nsbi.training.networks import NetworkShape
from needle_parsl.nsbi.transforms.transform import with_missing

OPSET, IR = 17, 8
"""Old enough for ONNX Runtime 1.13 and Triton of the year 2023."""
TOLERANCE = 1e-5
"""Largest difference of ln r and of its error from needle's own."""
LARGEST = 2_000_000_000
"""Bytes of an ONNX file; the format ends at 2 GiB."""
INPUT = runtime.INPUT


@dataclass(frozen=True)
class FileFacts:
    """What the file says about itself."""

    name: str
    """Of the analysis."""
    units: Mapping[str, str]
    """Of features, where they are known."""


def build(estimators: Mapping[str, Estimator], facts: FileFacts) -> onnx.ModelProto:
    """Make the graph: for each ratio a chain of Gemms per member, transform before and aggregation behind.

    Args:
        estimators: By ratio; they take the same features.
        facts: What the file says about itself.

    Raises:
        TaskError: A network cannot be exported.
    """
    graph, outputs = OnnxGraph(), []
    one = len(estimators) == 1
    for name, estimator in estimators.items():
        members = graph.cast(members_of(graph, estimator), graph.DOUBLE)
        made = {
            "log_ratio": aggregation.combined(graph, estimator, members),
            "log_ratio_error": aggregation.error(graph, estimator, members),
        }
        for kind, value in made.items():
            if value is not None:
                output = kind if one else f"{name}.{kind}"
                graph.add("Squeeze", value, graph.constant([1], np.int64), output=output)
                outputs.append(helper.make_tensor_value_info(output, OnnxGraph.DOUBLE, ["N"]))
    features = next(iter(estimators.values())).features
    given = helper.make_tensor_value_info(INPUT, OnnxGraph.FLOAT, ["N", len(features)])
    body = helper.make_graph(graph.nodes, "needle", [given], outputs, list(graph.constants.values()))
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    model.producer_name, model.producer_version = "needle", __version__
    helper.set_model_props(model, _properties(estimators, features, facts))
    return model


def members_of(graph: OnnxGraph, estimator: Estimator) -> str:
    """Add all members; give the name of their log ratios, (N, M), in single precision."""
    made = transform_nodes.transformed(graph, estimator.transform, INPUT)
    traced: dict[NetworkShape, Any] = {}
    columns = []
    for shape, network in estimator.filled():  # a trace shares the layers of its network
        if shape not in traced:
            traced[shape] = layers.traced(network)
        columns.append(layers.emit(graph, traced[shape], made))
    return graph.add("Concat", *columns, axis=1)


def refuse_particles(ratios: Mapping[str, Estimator]) -> None:
    """Refuse networks that see particles.

    Raises:
        TaskError: Some do.
    """
    for name, ratio in ratios.items():
        if any(shape.particles for shape in (ratio.shape, *ratio.shapes)):
            raise TaskError(f"the networks of {name} see particles, for which exported files have no input")


def _properties(estimators: Mapping[str, Estimator], features: tuple[str, ...], facts: FileFacts) -> dict[str, str]:
    ratios = {
        name: {
            "members": len(e.weights),
            "combine": e.combine,
            "calibration": e.calibration.kind if e.calibration else "none",
        }
        for name, e in estimators.items()
    }
    return {
        "analysis": facts.name,
        "features": json.dumps(features),
        "units": json.dumps({name: facts.units.get(name, "") for name in features}),
        "ratios": json.dumps(ratios),
        "transforms": json.dumps({name: e.transform.to_json() for name, e in estimators.items()}),
        "needle": __version__,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
    }


def write(path: Path, estimators: Mapping[str, Estimator], x: npt.NDArray[np.float32], facts: FileFacts) -> float:
    """Write the file if ONNX Runtime gives with it what needle gives.

    Args:
        path: Where to.
        estimators: By ratio.
        x: Events on which both are compared, shape (N, F).
        facts: What the file says about itself.

    Returns:
        The largest difference of ln r or of its error, which the file says, too.

    Raises:
        TaskError: A network cannot be exported, the file would be too large, or the difference is.
    """
    model = build(estimators, facts)
    if model.ByteSize() > LARGEST:
        raise TaskError(f"{model.ByteSize() / 1e9:.1f} GB of networks are more than an ONNX file can hold")
    away = _difference(model.SerializeToString(), estimators, x)
    if not away <= TOLERANCE:
        raise TaskError(
            f"ONNX Runtime differs from needle by {away:.2g} in ln r; more than {TOLERANCE:g} is not exported"
        )
    entry = model.metadata_props.add()
    entry.key, entry.value = "largest_difference", f"{away:.3g}"
    path.write_bytes(model.SerializeToString())
    return away


def _difference(model: bytes, estimators: Mapping[str, Estimator], x: npt.NDArray[np.float32]) -> float:
    session, away = runtime.Session(model), 0.0
    transform = max((one.transform for one in estimators.values()), key=lambda one: one.inputs)
    if transform.missing or transform.nan:
        x = np.concatenate([x, with_missing(transform, x, np.random.default_rng(0))])
    found = session.evaluate(x)
    for name, estimator in estimators.items():
        ours = {"log_ratio": estimator.log_ratio(x), "log_ratio_error": estimator.log_ratio_error(x)}
        clear = clear_of_steps(estimator, x)
        for kind, values in found[name].items():
            away = max(away, float(np.abs(values - ours[kind])[clear].max(initial=0.0)))
    return away


def clear_of_steps(estimator: Estimator, x: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Leave out events where a calibration jumps, or rises so steeply that it enlarges rounding."""
    if estimator.calibration is None:
        return np.ones(len(x), dtype=bool)
    log_ratio = replace(estimator, calibration=None, slope=1.0, log_norm=0.0).log_ratio(x)
    below, above = (estimator.calibration(log_ratio + side * TOLERANCE) for side in (-1, 1))
    return np.abs(above - below) <= 4 * TOLERANCE
