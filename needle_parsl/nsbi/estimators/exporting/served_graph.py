"""The graph of a model that is served: all ratios of a run at once, with the spread of their members, and the members themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from needle_parsl import __version__
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.estimators.exporting import aggregation, onnx_file, runtime
from needle_parsl.nsbi.estimators.exporting.graph import OnnxGraph
from needle_parsl.nsbi.estimators.protocol import Features
from needle_parsl.nsbi.transforms.transform import trial, with_missing

ROWS = 1024
"""Fixed events on which the graph is compared with the estimators."""


def build(estimators: Mapping[str, Estimator]) -> onnx.ModelProto:
    """Make the graph: features (N, F) to `log_ratio` and `log_ratio_std`, (N, R), and `members`, (N, K), those of all ratios side by side.

    Raises:
        TaskError: A network cannot be exported.
    """
    graph = OnnxGraph()
    columns: dict[str, list[str]] = {"log_ratio": [], "log_ratio_std": [], "members": []}
    for estimator in estimators.values():
        members = onnx_file.members_of(graph, estimator)
        doubles = graph.cast(members, graph.DOUBLE)
        log_ratio = aggregation.combined(graph, estimator, doubles)
        error = aggregation.error(graph, estimator, doubles)
        if error is None:
            nothing = graph.add("Mul", log_ratio, graph.constant(0.0))
            error = graph.add("Add", nothing, graph.constant(np.nan))
        for name, value in zip(columns, (log_ratio, error, members), strict=True):
            columns[name].append(value)
    counts: dict[str, int | str] = {"log_ratio": len(estimators), "log_ratio_std": len(estimators), "members": "K"}
    outputs = []
    for name, values in columns.items():
        graph.add("Concat", *values, axis=1, output=name)
        kind = graph.FLOAT if name == "members" else graph.DOUBLE
        outputs.append(helper.make_tensor_value_info(name, kind, ["N", counts[name]]))
    given = helper.make_tensor_value_info(onnx_file.INPUT, graph.FLOAT, ["N", len(features(estimators))])
    body = helper.make_graph(graph.nodes, "needle", [given], outputs, list(graph.constants.values()))
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", onnx_file.OPSET)], ir_version=onnx_file.IR)
    model.producer_name, model.producer_version = "needle", __version__
    return model


def features(estimators: Mapping[str, Estimator]) -> tuple[str, ...]:
    """Name what x holds: the features of the ratio that takes most of them, which begin with those of the others."""
    return max((one.features for one in estimators.values()), key=len)


def write(path: Path, estimators: Mapping[str, Estimator], units: Mapping[str, str]) -> dict[str, Any]:
    """Write the graph if ONNX Runtime gives with it what needle gives; say what it is.

    Args:
        path: An ONNX file.
        estimators: By ratio.
        units: Of features, where they are known.

    Returns:
        `features` in their order, `units`, `ratios` with their number of members, whether a missing value is `nan`, `transforms`, and the
        `parity`: on how many fixed events it was compared, and by how much ln r or its error differed at most.

    Raises:
        TaskError: A network cannot be exported, the file would be too large, or the difference is.
    """
    onnx_file.refuse_particles(estimators)
    model = build(estimators)
    if model.ByteSize() > onnx_file.LARGEST:
        raise TaskError(f"{model.ByteSize() / 1e9:.1f} GB of networks are more than an ONNX file can hold")
    content = model.SerializeToString()
    x = fixed(estimators)
    away = difference(content, estimators, x)
    if not away <= onnx_file.TOLERANCE:
        raise TaskError(
            f"ONNX Runtime differs from needle by {away:.2g} in ln r; more than {onnx_file.TOLERANCE:g} is not exported"
        )
    path.write_bytes(content)
    return {
        "features": list(features(estimators)),
        "units": {name: units.get(name, "") for name in features(estimators)},
        "ratios": {name: len(one.weights) for name, one in estimators.items()},
        "nan": any(one.transform.nan for one in estimators.values()),
        "parity": {"rows": len(x), "largest_difference": away},
        "transforms": {name: json.loads(one.transform.to_json()) for name, one in estimators.items()},
    }


def fixed(estimators: Mapping[str, Estimator]) -> Features:
    """Make the events of the comparison: in the range of the features, some of them missing where that may be."""
    transform = max((one.transform for one in estimators.values()), key=lambda one: one.inputs)
    x = trial(transform, np.random.default_rng(0), ROWS)
    if transform.missing or transform.nan:
        x = np.concatenate([x, with_missing(transform, x, np.random.default_rng(0))])
    return x


def difference(content: bytes, estimators: Mapping[str, Estimator], x: Features) -> float:
    """Compare a graph with the estimators; give the largest difference of ln r or its error."""
    session, away = runtime.opened(content, "the model"), 0.0
    found = session.run(["log_ratio", "log_ratio_std"], {onnx_file.INPUT: x})
    for k, estimator in enumerate(estimators.values()):
        ours = estimator.combined_with_error(estimator.members(x))
        clear = onnx_file.clear_of_steps(estimator, x)
        for theirs, own in zip(found, ours, strict=True):
            if np.isfinite(own).any():
                away = max(away, float(np.abs(theirs[:, k] - own)[clear].max(initial=0.0)))
    return away
