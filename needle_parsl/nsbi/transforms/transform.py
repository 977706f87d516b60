"""The transform of features: a record of what each column goes through, and its evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.transforms.formulas import FORMULAS, ColumnTable, Tables, evaluate

CHUNK = 4096
"""Events at a time, so that what is computed of them stays in a near cache."""
LINEAR = ("standard", "robust")


@dataclass(frozen=True, kw_only=True)
class Column:
    """What one feature goes through."""

    name: str
    kind: str
    """A word of `[features.transform]` but `auto`, or `constant` for a feature that is the same in all events."""
    shift: float = 0.0
    """Taken away from the feature, or from what the kind makes of it; the result is divided by the width."""
    width: float = 1.0
    centre: float = 0.0
    """Of `arcsinh`: ((x - centre) / unit) is its argument."""
    unit: float = 1.0
    floor: float = 1.0
    """Of `log`: where its tangent takes over."""
    period: float = 1.0
    """Of `cyclic`."""
    knots: tuple[float, ...] = ()
    """Of `quantile`: values of the feature; of `onehot`: its categories."""
    values: tuple[float, ...] = ()
    """Of `quantile`: what the knots become."""
    below: float = 1.0
    """Of `quantile`: slope below the first knot."""
    above: float = 1.0
    """Of `quantile`: slope above the last knot."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Name the columns that are made of it."""
        if self.kind == "cyclic":
            return f"cos({self.name})", f"sin({self.name})"
        if self.kind == "onehot":
            return tuple(f"{self.name} = {category:g}" for category in self.knots)
        return (self.name,)

    def describe(self) -> str:
        """Say the formula, with its numbers."""
        linear, scaled = (_scaled(letter, self.shift, self.width) for letter in "xy")
        return {
            "none": "x",
            "constant": "0",
            "standard": linear,
            "robust": linear,
            "arcsinh": f"{scaled}, y = arcsinh({_scaled('x', self.centre, self.unit)})",
            "log": f"{scaled}, y = ln x, its tangent below {self.floor:.4g}",
            "quantile": f"to a Gaussian's quantiles, {len(self.knots)} knots",
            "cyclic": f"cosine and sine, period {self.period:.4g}",
            "onehot": f"{len(self.knots)} columns, one a category",
        }[self.kind]


def _scaled(letter: str, shift: float, width: float) -> str:
    """Write (x - shift) / width; a shift that is nothing but rounding is left out."""
    if abs(shift) < 1e-9 * abs(width):
        return f"{letter} / {width:.4g}"
    return f"({letter} {'-' if shift > 0 else '+'} {abs(shift):.4g}) / {width:.4g}"


@dataclass(frozen=True)
class Transform:
    """What features go through before a network sees them."""

    columns: tuple[Column, ...]
    """In the order of the input."""
    groups: tuple[tuple[int, ...], ...] = ()
    """Columns that go missing together, by place; each group has an indicator behind the features."""
    missing: tuple[float, ...] = ()
    """Values, exact in float32, that stand for nothing measured."""
    nan: bool = False
    """Whether NaN does."""
    particles: Transform | None = None
    """That of the features of particles, if there are any."""

    @staticmethod
    def none(names: Sequence[str]) -> Transform:
        """Leave features as they are."""
        return Transform(tuple(Column(name=name, kind="none") for name in names))

    @property
    def inputs(self) -> int:
        """Count the features that go in."""
        return len(self.columns)

    @property
    def outputs(self) -> int:
        """Count the columns that come out."""
        return len(self.names)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Name the columns that come out."""
        features = [name for column in self.columns for name in column.outputs]
        return (*features, *(f"missing({', '.join(self.columns[k].name for k in group)})" for group in self.groups))

    def __call__(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Transform features of shape (N, F) to shape (N, F'), computed in double precision."""
        made = np.empty((len(x), self.outputs), np.float32)
        for start in range(0, len(x), CHUNK):
            with np.errstate(invalid="ignore"):  # NaN that nobody lists as missing stays NaN
                made[start : start + CHUNK] = evaluate(np, self.tables, x[start : start + CHUNK].astype(np.float64))
        return made

    def absent(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Say which values stand for nothing measured, shape (N, F)."""
        found = np.isnan(x) if self.nan else np.zeros(x.shape, bool)
        for value in self.missing:
            found |= x == np.float32(value)
        return found

    def unknown(self, x: npt.NDArray[np.float32]) -> dict[str, dict[float, int]]:
        """Count the values of categories that no training event has: by feature, events by value."""
        found: dict[str, dict[float, int]] = {}
        for k, column in enumerate(self.columns):
            if column.kind == "onehot":
                values, counts = np.unique(x[~self.absent(x[:, k]), k], return_counts=True)
                other = {float(v): int(n) for v, n in zip(values, counts, strict=True) if v not in column.knots}
                found |= {column.name: other} if other else {}
        return found

    @cached_property
    def tables(self) -> Tables:
        """Put columns of one kind side by side, for NumPy."""
        parts = list(_tables(self.columns))
        sources = np.concatenate([np.empty(0, np.int64), *(part.inputs for part in parts)])
        order = np.argsort(sources, kind="stable")
        groups = np.array([group[0] for group in self.groups], np.int64)
        return Tables(parts, order, sources[order], np.array(self.missing, np.float64), self.nan, groups)

    def to_json(self) -> str:
        """Write it as text, numbers exactly."""
        return json.dumps(_plain(self))

    @staticmethod
    def from_json(text: str) -> Transform:
        """Read what `to_json` wrote."""
        return _transform(json.loads(text))


DEFAULTS = Column(name="", kind="")


def trial(transform: Transform, generator: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    """Make events up that a transform may meet: around the middle of each feature, far away, categories, and missing ones.

    Returns:
        Shape (N, F).
    """
    x = np.empty((count, transform.inputs), np.float32)
    for k, column in enumerate(transform.columns):
        x[:, k] = _values(column, generator, count)
    return with_missing(transform, x, generator)


def with_missing(
    transform: Transform, x: npt.NDArray[np.float32], generator: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Let a tenth of all values stand for nothing measured, in each way that a transform knows; shape (N, F)."""
    values, absent = [*transform.missing, *([np.nan] if transform.nan else [])], generator.random(x.shape) < 0.1
    return np.where(absent, generator.choice(values, x.shape), x).astype(np.float32) if values else x


def _values(column: Column, generator: np.random.Generator, count: int) -> npt.NDArray[np.floating]:
    """Draw values of a column from twice the width that is usual."""
    draws = 2 * generator.normal(size=count)
    if column.kind == "onehot":
        return generator.choice(column.knots, count)
    if column.kind == "quantile":
        return np.interp(draws, column.values, column.knots)
    if column.kind == "cyclic":
        return draws * column.period
    linear = column.shift + column.width * draws
    if column.kind == "arcsinh":
        return column.centre + column.unit * np.sinh(linear)
    return np.exp(linear) if column.kind == "log" else linear


def _plain(transform: Transform) -> dict[str, Any]:
    columns = [{k: v for k, v in asdict(c).items() if v != getattr(DEFAULTS, k)} for c in transform.columns]
    own = {name: getattr(transform, name) for name in ("groups", "missing", "nan")}
    return {"columns": columns, **own, "particles": _plain(transform.particles) if transform.particles else None}


def _transform(plain: Mapping[str, Any]) -> Transform:
    columns = tuple(map(_column, plain["columns"]))
    groups, jets = tuple(map(tuple, plain["groups"])), plain["particles"]
    return Transform(columns, groups, tuple(plain["missing"]), plain["nan"], _transform(jets) if jets else None)


def _column(plain: Mapping[str, Any]) -> Column:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    return Column(**values)


def _tables(columns: Sequence[Column]) -> Iterator[ColumnTable]:
    """Put columns of one kind side by side; within a feature, columns of the output keep their order."""
    found: dict[str, list[tuple[int, Column, float]]] = {}
    for place, column in enumerate(columns):
        for kind, extra in _made(column):
            found.setdefault(kind, []).append((place, column, extra))
    for kind in (kind for kind in FORMULAS if kind in found):
        own = [column for _, column, _ in found[kind]]
        places = np.array([place for place, _, _ in found[kind]], np.int64)
        if kind == "onehot":
            yield ColumnTable(kind, places, (np.array([category for *_, category in found[kind]]),))
        elif kind == "quantile":
            yield ColumnTable(kind, places, _ramps(own))
        else:
            yield ColumnTable(
                kind, places, tuple(np.array([getattr(c, name) for c in own]) for name in PARAMETERS[kind])
            )


def _made(column: Column) -> list[tuple[str, float]]:
    """Name the formula of each output of a column, with the category of one."""
    if column.kind == "cyclic":
        return [("cos", 0.0), ("sin", 0.0)]
    if column.kind == "onehot":
        return [("onehot", category) for category in column.knots]
    return [("linear" if column.kind in LINEAR else column.kind, 0.0)]


PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "constant": (),
    "linear": ("shift", "width"),
    "arcsinh": ("centre", "unit", "shift", "width"),
    "log": ("floor", "shift", "width"),
    "cos": ("period",),
    "sin": ("period",),
}
"""What a formula takes of its columns."""


def _ramps(columns: Sequence[Column]) -> tuple[npt.NDArray[np.float64], ...]:
    """Give knots, spans and slopes of ramps, shape (Q, K) each, the first values, and the tails."""
    most = max(len(column.knots) for column in columns) - 1
    ramps = np.zeros((3, max(most, 1), len(columns)))
    for k, column in enumerate(columns):
        knots, values = np.array(column.knots), np.array(column.values)
        ramps[0, :, k] = knots[-1]
        ramps[:, : len(knots) - 1, k] = knots[:-1], np.diff(knots), np.diff(values) / np.diff(knots)
    tails = np.array([[c.knots[0], c.knots[-1], c.below, c.above] for c in columns]).T
    return (*ramps, np.array([column.values[0] for column in columns]), tails)
