"""What the operators and functions of an expression compute, with numbers and with arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np

from needle_parsl.expressions.functions import ONE_ARGUMENT

Value = Any
"""A float, a string or an array of shape (N,)."""

LARGEST = 2.0**63 - 2.0**20
"""Up to here whole numbers of 64 bits hold a result, whatever a float beside it has lost by rounding."""


def _unknown(value: Value) -> Value:
    """Say where a truth value is not known: a null, which is NaN."""
    found = np.asarray(value)
    return np.isnan(found) if found.dtype.kind == "f" else np.zeros(found.shape, bool)


def _logical(*, deciding: bool) -> Callable[..., Value]:
    """Make `and` and `or` as in SQL: a truth value that decides does so beside an unknown one, else the result is unknown."""

    def call(a: Value, b: Value) -> Value:
        plain = np.logical_or(a, b) if deciding else np.logical_and(a, b)
        unknown = _unknown(a), _unknown(b)
        if not (unknown[0].any() or unknown[1].any()):
            return plain
        decided = [
            (np.asarray(value).astype(bool) == deciding) & ~null for value, null in zip((a, b), unknown, strict=True)
        ]
        open_ = (unknown[0] | unknown[1]) & ~decided[0] & ~decided[1]
        return np.where(open_, np.nan, np.where(decided[0] | decided[1], float(deciding), float(not deciding)))

    return call


def _negated(a: Value) -> Value:
    """Negate a truth value; one that is unknown stays so."""
    unknown = _unknown(a)
    return np.where(unknown, np.nan, np.logical_not(a)) if unknown.any() else np.logical_not(a)


def _where(condition: Value, a: Value, b: Value) -> Value:
    """Give a where a condition holds, else b: also where it is unknown."""
    return np.where(np.asarray(condition).astype(bool) & ~_unknown(condition), *_whole(a, b))


def _whole(*values: Value) -> tuple[Value, ...]:
    """Give values among which is chosen. Literals are floats; where all are whole they become whole numbers, so that columns of such stay exact."""
    if not all(map(_is_whole, values)):
        return values
    return tuple(int(value) if isinstance(value, float) else value for value in values)


def _is_whole(value: Value) -> bool:
    """Whether a column holds whole numbers, or a literal is one that 64 bits hold; -0.0 has a sign, and is none."""
    if isinstance(value, float):
        return value.is_integer() and abs(value) <= LARGEST and str(value) != "-0.0"
    return np.asarray(value).dtype.kind in "biu"


def _unbounded(operation: Callable[..., Value]) -> Callable[..., Value]:
    """Compute with whole numbers as long as 64 bits hold what comes out, else with floats: nothing wraps around."""

    def call(*operands: Value) -> Value:
        plain = operation(*operands)
        if getattr(plain, "dtype", None) is None or plain.dtype.kind != "i":
            return plain
        floats = operation(*(np.asarray(operand, np.float64) for operand in operands))
        return floats if (np.abs(floats) > LARGEST).any() else plain

    return call


def _power(a: Value, b: Value) -> Value:
    """Raise to a power; that of a whole number to a negative one is a fraction, and Python's own whole numbers would grow without end."""
    if isinstance(b, int) or (not isinstance(b, float) and _is_whole(b) and np.any(np.less(b, 0))):
        b = np.asarray(b, np.float64)
    return a**b


def _pairwise(function: Callable[..., Value], *arguments: Value) -> Value:
    return reduce(function, _whole(*arguments))


OPERATORS: dict[str, Callable[..., Value]] = {
    "or": _logical(deciding=True), "and": _logical(deciding=False), "not": _negated,
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
    "+": _unbounded(lambda a, b: a + b), "-": _unbounded(lambda a, b: a - b), "*": _unbounded(lambda a, b: a * b),
    "/": lambda a, b: a / b, "**": _unbounded(_power), "negative": _unbounded(lambda a: -a),
    **{name: getattr(np, name) for name in ONE_ARGUMENT},
    "abs": _unbounded(np.abs), "arctan2": np.arctan2, "atan2": np.arctan2, "hypot": np.hypot,
    "min": partial(_pairwise, np.minimum), "max": partial(_pairwise, np.maximum), "where": _where,
}  # fmt: skip
"""By the name of each operator and function."""
