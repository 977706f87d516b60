"""The figure and the table of what features go through, for all kinds and for what can hardly be drawn."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.transforms import fitting
from needle_parsl.nsbi.transforms.transform import Transform
from needle_parsl.nsbi.transforms.wanted import Wanted

figures = pytest.importorskip("needle_parsl.nsbi.report.figures.transforms")
pytest.importorskip("matplotlib")
N = 600


def facts(x: np.ndarray, wanted: Wanted, **others: Transform) -> Facts:
    """What the report has gathered, as far as the figure needs it."""
    names = [f"f{k}" for k in range(x.shape[1])]
    transform = fitting.fit([fitting.Portion(x, np.ones(N))], names, wanted)
    nothing = dict.fromkeys(field.name for field in fields(Facts))
    dataset = Dataset(
        x=x,
        weight=np.where(np.arange(N) % 9, 1.0, -1.0),
        sample=np.zeros(N, np.int64),
        samples=("s",),
        ratios={},
        yields={},
    )
    return Facts(**{**nothing, "dataset": dataset, "transforms": {"signal": transform, **others}})


def features() -> np.ndarray:
    rng = np.random.default_rng(7)
    columns = [
        rng.normal(size=N), rng.standard_cauchy(N), rng.lognormal(size=N), rng.uniform(-np.pi, np.pi, N), rng.integers(0, 4, N),
        np.full(N, -25.0), np.full(N, 3.0), np.where(np.arange(N) % 3, rng.exponential(size=N), -25), rng.standard_t(3, N),
    ]  # fmt: skip
    return np.column_stack(columns).astype(np.float32)


WANTED = Wanted.of((-25.0, "nan"), {"f4": "onehot", "f8": "quantile"})


def test_each_feature_is_drawn_before_and_after() -> None:
    found = facts(features(), WANTED)
    figure = figures.transforms(found)
    figure.canvas.draw()
    assert len(figure.axes) == 2 * 9
    titles = [axes.get_title() for axes in figure.axes[::2]]
    assert titles[:5] == ["f0: robust", "f1: arcsinh", "f2: log", "f3: cyclic", "f4: onehot"]
    assert titles[5:8] == ["f5: constant, 100.0 % missing", "f6: constant", "f7: robust, 33.3 % missing"]
    assert found.missing(7) == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.slow
def test_very_many_features_are_left_to_the_table() -> None:
    x = np.random.default_rng(1).normal(size=(N, 55)).astype(np.float32)
    figure = figures.transforms(facts(x, Wanted()))
    assert len(figure.axes) == 2 * figures.MOST


def test_ratios_with_other_kinds_are_named() -> None:
    x = features()
    other = facts(np.abs(x) + 1, Wanted.of((), {"f0": "standard"})).transforms["signal"]
    found = facts(x, WANTED, **{"signal.jes.up": other})
    assert found.otherwise("f0") == ["signal.jes.up: standard"]
    assert found.transform() == ("signal", found.transforms["signal"])
    assert replace(found, transforms={}).transform() is None


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("robust", "(x - "), ("none", "x"), ("arcsinh", ", y = arcsinh((x - "), ("log", ", y = ln x, its tangent below "),
        ("quantile", "to a Gaussian's quantiles, "), ("onehot", " columns, one a category"),
    ],
)  # fmt: skip
def test_formula_is_said_with_its_numbers(kind: str, said: str) -> None:
    x = (5 + np.random.default_rng(2).integers(0, 60, (N, 1))).astype(np.float32)
    (column,) = fitting.fit([fitting.Portion(x, np.ones(N))], ["x"], Wanted.of((), {"x": kind})).columns
    assert said in column.describe()
