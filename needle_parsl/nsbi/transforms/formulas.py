"""The formulas of all transforms, in double precision, for arrays of NumPy and for tensors of torch alike.

What they share: monotone, finite for every finite input, and linear up to `LIMIT` widths, logarithmic beyond:

    limited(z) = z for |z| <= L, sign(z) L (1 + ln(|z| / L)) else

so that an event far from all that a network has seen does not take it much farther than these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

LIMIT = 10.0
"""Widths up to which a transform is as linear as its kind."""


class ColumnTable(NamedTuple):
    """Columns of one kind, side by side."""

    kind: str
    """A name in `FORMULAS`."""
    inputs: Any
    """Which columns of the input each output is made from, shape (K,); whole numbers."""
    arrays: tuple[Any, ...]
    """Parameters, their last axis that of the outputs; see the formula."""


class Tables(NamedTuple):
    """A transform, ready to be evaluated."""

    parts: Sequence[ColumnTable]
    """Kind by kind."""
    order: Any
    """For each output its place behind each other, shape (F',)."""
    sources: Any
    """Which input each output is made from, shape (F',)."""
    missing: Any
    """Numbers that stand for nothing measured, shape (V,)."""
    nan: bool
    """Whether NaN does."""
    groups: Any
    """A column of each group that goes missing together, shape (G,)."""


def evaluate(xp: Any, tables: Tables, x: Any) -> Any:
    """Transform features.

    Args:
        xp: The library, `numpy` or `torch`.
        tables: The transform, with arrays of that library.
        x: Shape (N, F), double precision.

    Returns:
        Shape (N, F' + G), double precision: features, then an indicator for each group.
    """
    absent = None
    if len(tables.missing) or tables.nan:
        absent = missing(xp, tables, x)
        x = xp.where(absent, xp.zeros_like(x), x)
    made = [FORMULAS[part.kind](xp, x[:, part.inputs], *part.arrays) for part in tables.parts]
    y = xp.concatenate(made, 1)[:, tables.order]
    if absent is None:
        return y
    y = xp.where(absent[:, tables.sources], xp.zeros_like(y), y)
    if not len(tables.groups):
        return y
    return xp.concatenate([y, xp.where(absent[:, tables.groups], 1.0, 0.0)], 1)


def missing(xp: Any, tables: Tables, x: Any) -> Any:
    """Say which values stand for nothing measured, shape (N, F)."""
    absent = xp.isnan(x) if tables.nan else xp.zeros_like(x, dtype=xp.bool)
    for value in tables.missing:
        absent = absent | (x == value)
    return absent


def limited(xp: Any, z: Any) -> Any:
    """Bound values softly; NumPy works on the few that are far alone."""
    if xp is np:
        far = np.abs(z) > LIMIT
        if far.any():
            z[far] = np.sign(z[far]) * LIMIT * (1 + np.log(np.abs(z[far]) / LIMIT))
        return z
    size = xp.abs(z)
    beyond = xp.log(xp.clip(size / LIMIT, 1.0, None))
    return xp.sign(z) * (xp.clip(size, None, LIMIT) + LIMIT * beyond)


def _linear(xp: Any, x: Any, shift: Any, width: Any) -> Any:
    return limited(xp, (x - shift) / width)


def _arcsinh(xp: Any, x: Any, centre: Any, unit: Any, shift: Any, width: Any) -> Any:
    return _linear(xp, xp.arcsinh((x - centre) / unit), shift, width)


def _log(xp: Any, x: Any, floor: Any, shift: Any, width: Any) -> Any:
    """Take ln x, and below the floor its tangent there."""
    above = xp.log(xp.maximum(x, floor))
    return _linear(xp, above + xp.clip(x - floor, None, 0.0) / floor, shift, width)


def _quantile(xp: Any, x: Any, knots: Any, spans: Any, slopes: Any, first: Any, tails: Any) -> Any:
    """Add ramps between knots, and straight tails.

    Args:
        xp: The library.
        x: Shape (N, K).
        knots: Where ramps begin, shape (Q, K).
        spans: How long they are, shape (Q, K); 0 for one that only fills up the array.
        slopes: Of the ramps, shape (Q, K).
        first: Value at the first knot, shape (K,).
        tails: First and last knot, and the slopes below and above, shape (4, K).
    """
    low, high, below, above = tails
    found = first + xp.clip(x - low, None, 0.0) * below + xp.clip(x - high, 0.0, None) * above
    if xp is np:
        return limited(np, found + _interpolated(x, knots, spans, slopes))
    for knot, span, slope in zip(knots, spans, slopes, strict=True):
        found = found + xp.minimum(xp.clip(x - knot, 0.0, None), span) * slope
    return limited(xp, found)


def _interpolated(x: Any, knots: Any, spans: Any, slopes: Any) -> Any:
    """Add the ramps by a search among their knots, column by column: ten times as fast as all of them."""
    nothing = np.zeros((1, knots.shape[1]))
    ends, risen = np.concatenate([knots, knots[-1:] + spans[-1:]]), np.concatenate([nothing, spans * slopes]).cumsum(0)
    return np.stack([np.interp(*columns) for columns in zip(x.T, ends.T, risen.T, strict=True)], axis=1)


def _cosine(xp: Any, x: Any, period: Any) -> Any:
    return xp.cos(_phase(xp, x, period))


def _sine(xp: Any, x: Any, period: Any) -> Any:
    return xp.sin(_phase(xp, x, period))


def _phase(xp: Any, x: Any, period: Any) -> Any:
    turns = x / period
    return 2 * math.pi * (turns - xp.round(turns))


def _same(xp: Any, x: Any) -> Any:  # noqa: ARG001  all formulas take the library
    return x


def _zeros(xp: Any, x: Any) -> Any:
    return xp.zeros_like(x)


def _equal(xp: Any, x: Any, category: Any) -> Any:
    return xp.where(x == category, 1.0, 0.0)


FORMULAS: dict[str, Callable[..., Any]] = {
    "none": _same,
    "constant": _zeros,
    "linear": _linear,
    "arcsinh": _arcsinh,
    "log": _log,
    "quantile": _quantile,
    "cos": _cosine,
    "sin": _sine,
    "onehot": _equal,
}
"""Each takes the library, columns (N, K), and its parameters."""
