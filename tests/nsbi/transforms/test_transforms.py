"""Transforms of features: which kind columns get, and what all kinds share; over a zoo of columns."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from needle_parsl.analysis.tables.data import KINDS
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import store
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.jagged import Jagged
from needle_parsl.nsbi.data.loading import transforming
from needle_parsl.nsbi.data.loading.stretches import Stretch
from needle_parsl.nsbi.estimators.exporting.transformed import Transformed
from needle_parsl.nsbi.transforms import fitting, formulas
from needle_parsl.nsbi.transforms.fitting import Portion
from needle_parsl.nsbi.transforms.kinds import FITTED
from needle_parsl.nsbi.transforms.quantiles import Sorted
from needle_parsl.nsbi.transforms.transform import Transform, trial
from needle_parsl.nsbi.transforms.wanted import Wanted

N = 20_000
RANDOM = np.random.default_rng(11)
HALF = np.arange(N) % 2 == 0
ZOO = {
    "gauss": RANDOM.normal(3, 7, N),
    "uniform": RANDOM.uniform(0, 1, N),
    "exponential": 20 + RANDOM.exponential(30, N),
    "student": RANDOM.standard_t(3, N),
    "cauchy": RANDOM.standard_cauchy(N),
    "lognormal": RANDOM.lognormal(0, 1, N),
    "pareto": 1 + RANDOM.pareto(1, N),
    "peak": np.where(HALF, RANDOM.normal(50, 0.01, N), RANDOM.uniform(0, 100, N)),
    "zeros": np.where(RANDOM.random(N) < 0.6, 0, RANDOM.exponential(30, N)),
    "angle": RANDOM.uniform(-math.pi, math.pi, N),
    "turned": RANDOM.vonmises(0, 1, N) % (2 * math.pi),
    "half": np.abs(RANDOM.uniform(-math.pi, math.pi, N)),
    "eta": np.clip(RANDOM.normal(0, 1, N), -math.pi, math.pi),
    "count": RANDOM.poisson(3, N).astype(float),
    "flag": (RANDOM.random(N) < 0.03).astype(float),
    "far": 1e6 + RANDOM.normal(0, 20, N),
    "tiny": 1e-30 * RANDOM.normal(size=N),
}
CHOSEN = {
    "gauss": "robust", "uniform": "robust", "exponential": "robust", "student": "arcsinh", "cauchy": "arcsinh", "lognormal": "log",
    "pareto": "log", "peak": "arcsinh", "zeros": "robust", "angle": "cyclic", "turned": "cyclic", "half": "robust", "eta": "robust",
    "count": "standard", "flag": "standard", "far": "robust", "tiny": "robust",
}  # fmt: skip
EXTREME = np.array([-3.4e38, -1e30, -1e3, -1.0, -1e-38, 0.0, 1e-45, 1e-38, 0.5, 1.0, 1e3, 1e30, 3.4e38], np.float32)
SCALARS = ("none", "standard", "robust", "arcsinh", "quantile")


def columns(*names: str) -> np.ndarray:
    return np.column_stack([ZOO[name] for name in names]).astype(np.float32)


def fitted(x: np.ndarray, weight: np.ndarray | None = None, wanted: Wanted | None = None, names: str = "") -> Transform:
    known = list(names) or [f"x{k}" for k in range(x.shape[1])]
    return fitting.fit([Portion(x, np.ones(len(x)) if weight is None else weight)], known, wanted or Wanted())


def everything() -> Transform:
    """All kinds at once, with placeholders and NaN."""
    x = columns("gauss", "student", "lognormal", "cauchy", "angle", "count", "zeros", "exponential", "peak", "uniform")
    x[::3, 7:9] = -25
    x[::4, 0] = np.nan
    kinds = {"x3": "quantile", "x5": "onehot", "x6": "none", "x9": "standard"}
    return fitted(x, wanted=Wanted.of((-25.0, "nan"), kinds))


@pytest.mark.parametrize(("name", "kind"), CHOSEN.items())
@pytest.mark.parametrize("events", [2_000, N])
def test_kind_follows_from_the_tails(name: str, kind: str, events: int) -> None:
    (column,) = fitted(columns(name)[:events]).columns
    assert column.kind == kind


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("kind", ["auto", *SCALARS, "log"])
def test_scalar_transform_is_monotone_finite_and_of_order_one(name: str, kind: str) -> None:
    x = columns(name)
    if kind == "log" and x.min() <= 0:
        x = np.exp(x / 1e6 if name == "far" else np.clip(x, -50, 50))
    made = fitted(x, wanted=Wanted.of((), {"x0": kind}))
    if made.columns[0].kind == "cyclic":
        np.testing.assert_allclose((made(x) ** 2).sum(axis=1), 1, rtol=1e-6)
        return
    ordered = np.sort(np.concatenate([x[:, 0], EXTREME, x[:, 0].mean() + EXTREME[3:-3]]))[:, None]
    y = made(ordered)[:, 0]
    assert np.isfinite(y).all()
    assert (np.diff(y) >= 0).all()
    if kind == "none":
        return
    assert np.abs(y).max() < 1e4  # float32's largest number, of a column of width 1e-30
    # Events keep apart what float32 keeps apart, up to its resolution of the result; the last per mille of log is a tangent.
    assert len(np.unique(made(x))) > (0.9 * len(np.unique(x)) if name not in ("peak", "cauchy", "pareto") else 2000)
    if kind == "auto":
        assert 0.5 < np.diff(np.quantile(made(x), [0.025, 0.975]))[0] < 9 or name == "flag"


@pytest.mark.parametrize("name", ["gauss", "student", "lognormal", "pareto", "exponential"])
@pytest.mark.parametrize("kind", ["robust", "arcsinh", "log", "quantile"])
def test_transform_is_smooth_beyond_the_data(name: str, kind: str) -> None:
    """Beyond the last event the slope changes by little from one step to the next: no jump, no kink."""
    x = np.abs(columns(name)) + 1
    made, high, width = fitted(x, wanted=Wanted.of((), {"x0": kind})), x.max(), float(x.std())
    grid = (high + width * np.linspace(0.1, 30, 3000)).astype(np.float32)[:, None].astype(np.float64)
    slope = np.diff(exact(made, grid)) / np.diff(grid[:, 0])
    assert (slope > 0).all()
    assert np.abs(np.diff(np.log(slope))).max() < 0.05


def exact(made: Transform, x: np.ndarray) -> np.ndarray:
    return formulas.evaluate(np, made.tables, x)[:, 0]


def test_an_angle_has_no_seam() -> None:
    made = fitted(columns("angle"))
    near = np.array([[-math.pi + 1e-4], [math.pi - 1e-4]], np.float32)
    np.testing.assert_allclose(*made(near), atol=1e-3)
    assert made.names == ("cos(x0)", "sin(x0)")
    assert (made.inputs, made.outputs) == (1, 2)


@pytest.mark.parametrize("degrees", [(-180, 180), (0, 360)])
def test_degrees_are_an_angle_where_it_is_asked_for(degrees: tuple[int, int]) -> None:
    x = RANDOM.uniform(*degrees, (500, 1)).astype(np.float32)
    (column,) = fitted(x, wanted=Wanted.of((), {"x0": "cyclic"})).columns
    assert column.period == 360
    assert fitted(x).columns[0].kind == "robust"


def test_columns_that_go_missing_together_share_an_indicator() -> None:
    x = columns("gauss", "exponential", "student", "uniform")
    first, second = RANDOM.random(N) < 0.3, RANDOM.random(N) < 0.1
    x[np.ix_(first, [0, 2])] = -25
    x[second, 1] = np.nan
    made = fitted(x, wanted=Wanted.of((-25.0, -999.0, "nan")))
    assert made.groups == ((0, 2), (1,))
    assert made.names == ("x0", "x1", "x2", "x3", "missing(x0, x2)", "missing(x1)")
    y = made(x)
    np.testing.assert_array_equal(y[:, 4], first)
    np.testing.assert_array_equal(y[:, 5], second)
    assert not y[first][:, [0, 2]].any()
    assert not y[second, 1].any()
    np.testing.assert_array_equal(
        made(np.array([[-999, np.nan, 1, -25]], np.float32))[0, [0, 1, 3, 4, 5]], [0, 0, 0, 1, 1]
    )
    # what is there is scaled by what is there
    assert made.columns[1].shift == pytest.approx(20 + 30 * math.log(2), rel=0.05)


def test_what_is_missing_in_all_events_and_what_never_varies_is_zero() -> None:
    x = np.column_stack([np.full(100, -25), np.full(100, 3.7), np.arange(100)]).astype(np.float32)
    made = fitted(x, wanted=Wanted.of((-25.0,)))
    assert [column.kind for column in made.columns[:2]] == ["constant", "constant"]
    y = made(np.array([[4, 5, 6]], np.float32))
    np.testing.assert_array_equal(y[0, [0, 1, 3]], [0, 0, 0])
    assert made.names[3] == "missing(x0)"


def test_nan_that_nobody_lists_stays_nan() -> None:
    made = fitted(columns("gauss", "lognormal", "student"))
    found = made(np.array([[np.nan, 1, 2]], np.float32))[0]
    assert np.isnan(found[0])
    assert np.isfinite(found[1:]).all()


def test_categories_become_columns_and_unknown_ones_none() -> None:
    x = RANDOM.choice([0.0, 2.0, 5.0], (N, 1)).astype(np.float32)
    made = fitted(x, wanted=Wanted.of((), {"x0": "onehot"}))
    assert made.names == ("x0 = 0", "x0 = 2", "x0 = 5")
    some = np.array([[2], [7], [7], [0]], np.float32)
    np.testing.assert_array_equal(made(some), [[0, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]])
    assert made.unknown(some) == {"x0": {7.0: 2}}
    rare = fitting.with_categories(made, [x, np.array([[9.0]], np.float32)])
    assert rare.names[-1] == "x0 = 9"


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("log", [1.0, 2.0, -3.0], 'feature "x0" has values down to -3, 0 or less in 1 of 3 events, which have no logarithm'),
        ("log", [1.0, 2.0, 0.0], "values down to 0"),
        ("onehot", [1.0, 2.5], 'feature "x0" has the value 2.5, and categories are whole numbers'),
        ("onehot", list(range(65)), "has 65 categories, and at most 64"),
        ("cyclic", [-1.0, 7.0], "which is no angle of one turn"),
        ("auto", [1.0, np.inf], 'feature "x0" is NaN or infinite in 1 training events'),
        ("auto", [1.0, np.nan], 'list "nan" in features.missing'),
    ],
)  # fmt: skip
def test_what_a_column_cannot_bear_is_a_sentence(kind: str, values: list[float], message: str) -> None:
    with pytest.raises(InputError) as caught:
        fitted(np.array(values, np.float32)[:, None], wanted=Wanted.of((), {"x0": kind}))
    assert message in str(caught.value)


def test_every_word_has_its_fit() -> None:
    assert set(KINDS) == set(FITTED)


def test_transform_survives_its_text_bit_by_bit() -> None:
    made = replace(everything(), particles=fitted(columns("exponential", "angle")))
    found = Transform.from_json(made.to_json())
    assert found == made
    x = trial(made, np.random.default_rng(1), 500)
    np.testing.assert_array_equal(found(x), made(x))


@pytest.mark.filterwarnings("error")
def test_torch_evaluates_the_same() -> None:
    made = everything()
    x = np.concatenate([trial(made, np.random.default_rng(2), 1000), np.tile(EXTREME[:, None], made.inputs)])
    np.testing.assert_allclose(Transformed(made)(torch.from_numpy(x)).numpy(), made(x), rtol=1e-6, atol=1e-7)


def test_a_small_sample_counts_as_much_as_a_large_one() -> None:
    large, small = RANDOM.normal(0, 1, (50_000, 1)), RANDOM.normal(100, 1, (500, 1))
    portions = [Portion(x.astype(np.float32), np.full(len(x), w)) for x, w in ((large, 3.0), (small, 0.01))]
    made = fitting.fit(portions, ["x"], Wanted())
    assert made.columns[0].kind == "quantile"  # two peaks far apart
    for portion in portions:
        assert made(portion.x).std() > 0.3


@pytest.mark.parametrize("negative", [0.03, 0.15])
def test_negative_weights_move_little(negative: float) -> None:
    x = columns("gauss", "student", "lognormal", "exponential")
    weight = np.where(RANDOM.random(N) < negative, -1.0, 1.0) * RANDOM.uniform(0.5, 2, N)
    plain, signed = fitted(x), fitted(x, weight)
    assert [c.kind for c in plain.columns] == [c.kind for c in signed.columns]
    for a, b in zip(plain.columns, signed.columns, strict=True):
        assert abs(a.shift - b.shift) < 0.05 * a.width
        assert b.width == pytest.approx(a.width, rel=0.05)


@pytest.mark.parametrize("weight", [-1.0, 0.0])
def test_weights_that_are_all_negative_or_zero_still_give_a_transform(weight: float) -> None:
    x = columns("gauss", "student")
    assert fitted(x, np.full(N, weight)) == fitted(x)


def test_ten_events_are_enough_for_something_finite() -> None:
    x = columns(*ZOO)[:10]
    for kind in ("auto", "standard", "robust", "arcsinh", "quantile"):
        made = fitted(x, wanted=Wanted.of((), {f"x{k}": kind for k in range(x.shape[1])}))
        assert np.isfinite(made(columns(*ZOO))).all()


def test_weighted_quantiles_are_those_of_repeated_events() -> None:
    values, weight = RANDOM.normal(size=200), RANDOM.integers(1, 5, 200)
    found = Sorted.of(values, weight.astype(float)).quantiles([0.1, 0.5, 0.9])
    repeated = np.quantile(np.repeat(values, weight), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(found, repeated, atol=0.05)


def test_events_in_memory_and_in_stores_are_read_alike(tmp_path: Path) -> None:
    found, samples = [], []
    for k in range(2):
        ids = np.arange(k * N, k * N + N, dtype=np.uint64)
        jets = Jagged(columns("exponential", "angle")[: N - 1], np.minimum(np.arange(N + 1), N - 1).astype(np.int64))
        samples.append(
            Events(names=("a", "b"), x=columns("student", "count"), weight=1 + np.arange(N) / N, id=ids, particles=jets)
        )
        store.write(tmp_path / f"{k}.h5", samples[-1], store.Schema(("a", "b"), ("pt", "phi"), 3))
        found.append(Stretch(path=str(tmp_path / f"{k}.h5"), start=0, stop=N, label=float(k), factor=1.0))
    wanted = Wanted.of((), {"b": "onehot"})
    ours, theirs = transforming.fitted(samples, wanted), transforming.fitted_to_stores(found, wanted)
    assert ours.names == theirs.names
    assert ours.particles is not None
    assert theirs.particles is not None
    assert theirs.particles.names == ("pt", "cos(phi)", "sin(phi)")
    for one, other in ((ours, theirs), (ours.particles, theirs.particles)):
        np.testing.assert_allclose([c.width for c in one.columns], [c.width for c in other.columns], rtol=1e-9)
