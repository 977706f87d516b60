"""Records become JSON and come back: arrays, tuples, records in mappings, and what a file lacks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from needle_parsl.json_records import JsonRecord


@dataclass(frozen=True)
class Inner(JsonRecord):
    value: float
    names: tuple[str, ...] = ("a",)


@dataclass(frozen=True)
class Outer(JsonRecord):
    one: Inner | None
    several: Mapping[str, tuple[Inner, ...]]
    pairs: tuple[tuple[float, float | None], ...]
    rows: Sequence[Sequence[float]] = ()


WHOLE = Outer(
    Inner(1.0, ("b", "c")), {"x": (Inner(2.0),), "y": ()}, ((0.0, 1.0), (2.0, None)), [[1.0, 0.5], [0.5, 1.0]]
)


def test_a_record_comes_back_as_it_was() -> None:
    text = json.dumps(WHOLE.to_json())
    assert Outer.from_json(json.loads(text)) == WHOLE
    assert list(json.loads(text)) == ["one", "several", "pairs", "rows"]


def test_arrays_are_lists() -> None:
    assert Outer(None, {}, (), np.eye(2)).to_json()["rows"] == [[1.0, 0.0], [0.0, 1.0]]  # type: ignore[arg-type]


def test_what_is_missing_is_its_default_or_none() -> None:
    found = Outer.from_json({"several": {"x": [{"value": None}]}, "more": 1})
    assert found == Outer(None, {"x": (Inner(None),)}, None)  # type: ignore[arg-type]
