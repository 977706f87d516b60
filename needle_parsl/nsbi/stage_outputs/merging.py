"""Merges of outputs: sums that do not depend on the order of their terms, tables one below another, and the user's own, tried in two orders."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from needle_parsl.errors import InputError


def summed(values: Sequence[Any], said: str) -> Any:
    """Add numbers, arrays and histograms, also in tables and lists of them; each sum is rounded once, so that no order of the terms changes it.

    Args:
        values: At least one.
        said: Stage and output, for messages.

    Raises:
        InputError: They do not have the same shape or axes.
    """
    first = values[0]
    if isinstance(first, Mapping):
        _same([sorted(value) if isinstance(value, Mapping) else None for value in values], said, "keys")
        return {key: summed([value[key] for value in values], f"{said}.{key}") for key in first}
    if isinstance(first, list):
        _same([len(value) if isinstance(value, list) else None for value in values], said, "lengths")
        return [summed([value[place] for value in values], f"{said}[{place}]") for place in range(len(first))]
    if all(hasattr(value, "storage_type") for value in values):
        return _histograms(values, said)
    if any(isinstance(value, np.ndarray) for value in values):
        _same([np.shape(value) for value in values], said, "shapes")
        return _exactly([np.asarray(value) for value in values], said)
    return _numbers(values, said)


def _numbers(values: Sequence[Any], said: str) -> Any:
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return sum(values)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        try:
            return math.fsum(values)
        except (OverflowError, ValueError) as error:
            raise InputError(f"{said}: cannot be added: {error}") from error
    _same(list(values), said, "values, which are no numbers")
    return values[0]


def _histograms(values: Sequence[Any], said: str) -> Any:
    """Add the bins of histograms with the same axes, all fields of their storage."""
    _same([tuple(value.axes) for value in values], said, "axes")
    _same([value.storage_type for value in values], said, "storages")
    total = values[0].copy()
    views = [value.view(flow=True) for value in values]
    names = views[0].dtype.names
    if names and not set(names) <= {"value", "variance"}:
        raise InputError(f"{said}: histograms of means have no sum of this kind; name a function that merges them")
    for name in names or ():
        total.view(flow=True)[name] = _exactly([view[name] for view in views], said)
    if not names:
        total.view(flow=True)[...] = _exactly([np.asarray(view) for view in views], said)
    return total


def _exactly(arrays: Sequence[Any], said: str) -> Any:
    """Add arrays of the same shape, each element rounded once; the type is that which holds all of theirs."""
    kind = np.result_type(*arrays) if all(array.dtype.kind in "biufc" for array in arrays) else None
    if kind is None:
        _same([array.tolist() for array in arrays], said, "texts")
        return arrays[0]
    if kind.kind == "c":
        return _exactly([a.real for a in arrays], said) + 1j * _exactly([a.imag for a in arrays], said)
    columns = zip(*(array.ravel().tolist() for array in arrays), strict=True)
    try:
        if all(array.dtype.kind in "biu" for array in arrays):
            found = np.array([_whole(column) for column in columns], np.uint64 if kind.kind == "u" else np.int64)
        else:
            found = np.array([math.fsum(column) for column in columns], kind)
    except (OverflowError, ValueError) as error:
        raise InputError(f"{said}: cannot be added: {error}") from error
    return found.reshape(arrays[0].shape)


def _whole(column: Iterable[int]) -> int:
    """Add whole numbers; what 64 bits cannot hold is an OverflowError of NumPy's."""
    return sum(map(int, column))


def _same(facts: Sequence[Any], said: str, what: str) -> None:
    if any(fact != facts[0] for fact in facts[1:]):
        raise InputError(f"{said}: cannot be added, since the outputs do not have the same {what}")


def concatenated(values: Sequence[Any], said: str) -> Any:
    """Put tables, or arrays by name, one below another.

    Raises:
        InputError: They do not have the same columns.
    """
    import awkward  # noqa: PLC0415  slow to load, and only for tables

    if isinstance(values[0], Mapping):
        _same([list(value) for value in values], said, "arrays")
        return {name: np.concatenate([np.atleast_1d(value[name]) for value in values]) for name in values[0]}
    _same([value.fields for value in values], said, "columns")
    return awkward.concatenate(list(values))
