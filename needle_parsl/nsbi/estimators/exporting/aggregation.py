"""What stands behind the networks of an estimator, as ONNX nodes in double precision: combiner, calibration, error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from needle_parsl import refs
from needle_parsl.analysis import catalogue
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.estimators.calibrations import CalibrationMap
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.estimators.exporting.graph import OnnxGraph

Floats = npt.NDArray[np.float64]
ROW = [1]
"""Members stand side by side: (N, M)."""


def combined(graph: OnnxGraph, estimator: Estimator, members: str) -> str:
    """Add ln r of the ensemble.

    Args:
        graph: What to add to.
        estimator: The ratio.
        members: Name of the log ratios of its members, (N, M), double.

    Returns:
        The name of a column (N, 1).
    """
    found = _adding(estimator)(graph, estimator.coefficients, members)
    if estimator.calibration:
        found = _calibrated(graph, estimator.calibration, found)
    if estimator.slope != 1.0:
        found = graph.add("Mul", found, graph.constant(estimator.slope))
    return graph.add("Sub", found, graph.constant(estimator.log_norm))


def error(graph: OnnxGraph, estimator: Estimator, members: str) -> str | None:
    """Add sigma of ln r, a column (N, 1); None where there is none, with one member."""
    count = len(estimator.weights)
    if estimator.fitted is not None:
        factor = estimator.fitted.factor
        moved = graph.add("MatMul", members, graph.constant(factor[1:]))
        return graph.add("ReduceL2", graph.add("Add", moved, graph.constant(factor[0])), axes=ROW)
    if count == 1:
        return None
    away = graph.add("Sub", members, graph.add("ReduceMean", members, axes=ROW))
    return graph.add(
        "Div",
        graph.add("ReduceL2", away, axes=ROW),
        graph.constant(np.sqrt(count * (count - 1)) / abs(estimator.slope)),
    )


def _adding(estimator: Estimator) -> Callable[[OnnxGraph, Floats, str], str]:
    """Find what adds its combiner.

    Raises:
        TaskError: It is the user's own.
    """
    reference = catalogue.combiner(estimator.combine).onnx
    if not reference:
        raise TaskError(
            f"its members are combined by {refs.own_name(estimator.combine)}, code of yours that ONNX cannot hold; estimator.h5 has it"
        )
    found: Callable[[OnnxGraph, Floats, str], str] = catalogue.found(reference)
    return found


def mean_ratio(graph: OnnxGraph, coefficients: Floats, members: str) -> str:
    """Add ln of the mean ratio."""
    shifted = graph.add("Add", members, graph.constant(np.log(coefficients)))
    return graph.add("ReduceLogSumExp", shifted, axes=ROW)


def mean_log(graph: OnnxGraph, coefficients: Floats, members: str) -> str:
    """Add the mean of the logarithms."""
    return graph.add("MatMul", members, graph.constant(coefficients[:, None]))


def mean_score(graph: OnnxGraph, coefficients: Floats, members: str) -> str:
    """Add ln of the odds of the mean score."""
    column = graph.constant(coefficients[:, None])
    sides = (members, graph.add("Neg", members))
    above, below = (
        graph.add("Log", graph.add("MatMul", graph.add("Sigmoid", side), column)) for side in sides
    )  # one minus s is summed, too
    return graph.add("Sub", above, below)


def median_ratio(graph: OnnxGraph, coefficients: Floats, members: str) -> str:
    """Add ln of the median ratio."""
    count = len(coefficients)
    places = graph.constant([(count - 1) // 2, count // 2], np.int64)
    middle = graph.add("Gather", graph.ordered(members, count), places, axis=1)
    return graph.add("Sub", graph.add("ReduceLogSumExp", middle, axes=ROW), graph.constant(np.log(2)))


def _calibrated(graph: OnnxGraph, calibration: CalibrationMap, log_ratio: str) -> str:
    """Add steps, or ramps that end where the next one begins."""
    knots, values = calibration.knots, calibration.values
    if len(values) == 1:
        return graph.add("Add", graph.add("Mul", log_ratio, graph.constant(0)), graph.constant(values))
    if catalogue.CALIBRATIONS[calibration.kind].straight:
        beyond = graph.add("Sub", log_ratio, graph.constant(knots[:-1]))
        within = graph.add("Max", graph.add("Min", beyond, graph.constant(np.diff(knots))), graph.constant(0))
        parts = graph.add("MatMul", within, graph.constant((np.diff(values) / np.diff(knots))[:, None]))
    else:
        reached = graph.add("GreaterOrEqual", log_ratio, graph.constant(knots))
        parts = graph.add("MatMul", graph.cast(reached, graph.DOUBLE), graph.constant(np.diff(values)[:, None]))
    return graph.add("Add", parts, graph.constant(values[0]))
