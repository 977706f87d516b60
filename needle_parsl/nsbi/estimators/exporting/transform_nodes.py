"""What stands before the networks of an estimator, the transform of features, as ONNX nodes in double precision.

The same formulas as `nsbi.transforms.formulas`, of operators that ONNX Runtime has in double precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from needle_parsl.nsbi.estimators.exporting.graph import OnnxGraph
from needle_parsl.nsbi.transforms.formulas import LIMIT, Tables
from needle_parsl.nsbi.transforms.transform import Transform

COLUMN = 1
"""The axis of features."""


def transformed(graph: OnnxGraph, transform: Transform, features: str) -> str:
    """Add the transform.

    Args:
        graph: What to add to.
        transform: Of the features.
        features: Name of the raw features, (N, F), single precision.

    Returns:
        The name of what networks get, (N, F'), single precision.
    """
    tables, x = transform.tables, graph.cast(features, OnnxGraph.DOUBLE)
    absent = _missing(graph, tables, features, x) if transform.missing or transform.nan else ""
    if absent:
        x = graph.add("Where", absent, graph.constant(0.0), x)
    parts = [MADE[part.kind](graph, _columns(graph, x, part.inputs), *part.arrays) for part in tables.parts]
    y = _columns(graph, graph.add("Concat", *parts, axis=COLUMN), tables.order)
    if absent:
        y = graph.add("Where", _columns(graph, absent, tables.sources), graph.constant(0.0), y)
    if transform.groups:
        y = graph.add("Concat", y, graph.cast(_columns(graph, absent, tables.groups), OnnxGraph.DOUBLE), axis=COLUMN)
    return graph.cast(y, OnnxGraph.FLOAT)


def _columns(graph: OnnxGraph, x: str, places: Any) -> str:
    return graph.add("Gather", x, graph.constant(places, np.int64), axis=COLUMN)


def _missing(graph: OnnxGraph, tables: Tables, features: str, x: str) -> str:
    """Add which values stand for nothing measured, (N, F)."""
    found = [graph.add("Equal", x, graph.constant(value)) for value in tables.missing]
    found += [graph.add("IsNaN", features)] if tables.nan else []
    first, *others = found
    for other in others:
        first = graph.add("Or", first, other)
    return first


def _limited(graph: OnnxGraph, z: str) -> str:
    size, limit = graph.add("Abs", z), graph.constant(LIMIT)
    beyond = graph.add("Log", graph.add("Max", graph.add("Div", size, limit), graph.constant(1.0)))
    total = graph.add("Add", graph.add("Min", size, limit), graph.add("Mul", beyond, limit))
    return graph.add("Mul", graph.add("Sign", z), total)


def _linear(graph: OnnxGraph, x: str, shift: Any, width: Any) -> str:
    return _limited(graph, _scaled(graph, x, shift, width))


def _scaled(graph: OnnxGraph, x: str, shift: Any, width: Any) -> str:
    return graph.add("Div", graph.add("Sub", x, graph.constant(shift)), graph.constant(width))


def _arcsinh(graph: OnnxGraph, x: str, centre: Any, unit: Any, shift: Any, width: Any) -> str:
    """Arcsinh u = sign(u) ln(|u| + sqrt(u^2 + 1))."""
    u = _scaled(graph, x, centre, unit)
    root = graph.add("Sqrt", graph.add("Add", graph.add("Mul", u, u), graph.constant(1.0)))
    size = graph.add("Log", graph.add("Add", graph.add("Abs", u), root))
    return _linear(graph, graph.add("Mul", graph.add("Sign", u), size), shift, width)


def _log(graph: OnnxGraph, x: str, floor: Any, shift: Any, width: Any) -> str:
    low = graph.constant(floor)
    below = graph.add("Min", graph.add("Sub", x, low), graph.constant(0.0))
    above = graph.add("Log", graph.add("Max", x, low))
    return _linear(graph, graph.add("Add", above, graph.add("Div", below, low)), shift, width)


def _quantile(graph: OnnxGraph, x: str, knots: Any, spans: Any, slopes: Any, first: Any, tails: Any) -> str:
    """Add ramps side by side, (N, K, Q), and straight tails."""
    low, high, below, above = tails
    zero = graph.constant(0.0)
    apart = graph.add("Unsqueeze", x, graph.constant([2], np.int64))
    risen = graph.add("Max", graph.add("Sub", apart, graph.constant(knots.T)), zero)
    ramps = graph.add("Mul", graph.add("Min", risen, graph.constant(spans.T)), graph.constant(slopes.T))
    parts = [
        graph.add("ReduceSum", ramps, graph.constant([2], np.int64), keepdims=0),
        graph.add("Mul", graph.add("Min", graph.add("Sub", x, graph.constant(low)), zero), graph.constant(below)),
        graph.add("Mul", graph.add("Max", graph.add("Sub", x, graph.constant(high)), zero), graph.constant(above)),
    ]
    total = graph.constant(first)
    for part in parts:
        total = graph.add("Add", total, part)
    return _limited(graph, total)


def _wave(name: str) -> Callable[..., str]:
    def made(graph: OnnxGraph, x: str, period: Any) -> str:
        turns = graph.add("Div", x, graph.constant(period))
        rest = graph.add("Sub", turns, graph.add("Round", turns))
        return graph.add(name, graph.add("Mul", rest, graph.constant(2 * math.pi)))

    return made


def _same(_: OnnxGraph, x: str) -> str:
    return x


def _zeros(graph: OnnxGraph, x: str) -> str:
    return graph.add(
        "Where", graph.add("IsNaN", graph.cast(x, OnnxGraph.FLOAT)), graph.constant(0.0), graph.constant(0.0)
    )


def _equal(graph: OnnxGraph, x: str, category: Any) -> str:
    return graph.cast(graph.add("Equal", x, graph.constant(category)), OnnxGraph.DOUBLE)


MADE: dict[str, Callable[..., str]] = {
    "none": _same,
    "constant": _zeros,
    "linear": _linear,
    "arcsinh": _arcsinh,
    "log": _log,
    "quantile": _quantile,
    "cos": _wave("Cos"),
    "sin": _wave("Sin"),
    "onehot": _equal,
}
"""The same names as `FORMULAS`."""
