"""Numbers are not lost on the way in: nulls in logic, ids of 64 bits, features that float32 cannot hold."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from needle_parsl import expressions
from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.data import conversion, formulas, hashing, values
from needle_parsl.nsbi.data.jagged import Jagged
from needle_parsl.nsbi.data.particles import ParticleRecipe, gather
from needle_parsl.nsbi.data.recipes import FileRange, InputFile, Recipe
from needle_parsl.nsbi.report.checks import outside
from needle_parsl.nsbi.statistics import outside as beyond
from needle_parsl.nsbi.statistics.results import FitResult, OutsideEvents

T, F, U = 1.0, 0.0, np.nan
NULLS = pa.array([[True, False, None, None][k % 4] for k in range(400)], pa.bool_())


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("a and b", {(T, U): U, (U, T): U, (F, U): F, (U, F): F, (U, U): U, (T, T): T, (T, F): F}),
        ("a or b", {(T, U): T, (U, T): T, (F, U): U, (U, F): U, (U, U): U, (F, F): F, (T, F): T}),
        ("not a", {(T, F): F, (F, F): T, (U, F): U}),
        ("not not a", {(U, F): U, (T, F): T}),
        ("where(a, 5, 7)", {(T, F): 5, (F, F): 7, (U, F): 7}),
        ("where(a and b, 5, 7)", {(T, T): 5, (U, T): 7, (T, U): 7}),
        ("a > 0.5", {(T, F): T, (F, F): F, (U, F): F}),
        ("a != 0.5", {(U, F): T}),
        ("0 < a < 2", {(T, F): T, (U, F): F}),
        ("a and b or a", {(T, U): T, (F, U): F, (U, T): U}),
    ],
)
def test_truth_values_that_are_not_known(text: str, table: dict[tuple[float, float], float]) -> None:
    a, b = (np.array(column) for column in zip(*table, strict=True))
    np.testing.assert_array_equal(np.asarray(expressions.parse(text)({"a": a, "b": b}), float), list(table.values()))
    for (left, right), expected in table.items():  # numbers, as in multipliers
        np.testing.assert_equal(float(expressions.parse(text)({"a": left, "b": right})), expected)


def recipe(**changed: Any) -> Recipe:
    whole: dict[str, Any] = {"sample": "s", "features": ("x",), "weight": 1.0, "selections": (), "id": ()}
    return Recipe(**{**whole, **changed})


def written(path: Path, columns: dict[str, Any]) -> FileRange:
    (csv.write_csv if path.suffix == ".csv" else parquet.write_table)(pa.table(columns), path)
    return FileRange(InputFile(path=str(path), tree="", label="l"))


@pytest.mark.parametrize(
    ("selection", "kept"),
    [
        ("passed", 100), ("passed == 1", 100), ("passed and pt > 20", 100), ("passed or pt > 100", 100), ("where(passed, pt, 0) > 20", 100), ("not passed", 100),
        ("not (passed and pt > 20)", 100), ("passed or not passed", 200), ("pt > 20 and (passed or flag)", 100), ("isfinite(passed)", 200), ("soft and pt > 20", 100),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_nulls_in_selections(selection: str, kept: int, ending: str, tmp_path: Path) -> None:
    soft = np.where(np.arange(400) % 4 == 0, 1.0, np.where(np.arange(400) % 4 == 1, 0.0, np.nan))
    columns = {"passed": NULLS, "flag": NULLS, "soft": pa.array(soft), "pt": np.full(400, 50.0), "x": np.arange(400.0)}
    if ending == "csv":
        columns |= {name: NULLS.cast(pa.int8()) for name in ("passed", "flag")} | {
            "soft": pa.array(soft, from_pandas=True)
        }
    piece = written(tmp_path / f"a.{ending}", columns)
    assert len(conversion.convert(piece, recipe(selections=(selection,)))) == kept


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.decimal128(19, 0)])
def test_ids_survive_nulls_of_other_rows(kind: pa.DataType, ending: str, tmp_path: Path) -> None:
    if ending == "csv" and kind != pa.int64():
        pytest.skip("a CSV file has no types")
    whole = [2**59 + 1 + 4096 * k if pa.types.is_decimal(kind) else 2**60 + 1 + 4096 * k for k in range(300)]
    if pa.types.is_decimal(kind):
        kind, whole = (
            pa.decimal128(18, 0),
            [number for number in whole if number < 10**18] or [10**17 + 1 + k for k in range(300)],
        )
    holes: list[int | None] = list(whole)
    holes[5] = None
    ok = np.ones(len(whole))
    ok[5] = 0
    columns = {
        "event": pa.array([Decimal(n) if n and pa.types.is_decimal(kind) else n for n in holes], kind),
        "ok": ok,
        "x": np.arange(len(whole)) * 1.0,
    }
    piece = written(tmp_path / f"a.{ending}", columns)
    found = conversion.convert(piece, recipe(selections=("ok > 0",), id=("event",)))
    assert sorted(found.id.tolist()) == sorted(number for number in holes if number is not None)
    one = conversion.convert(piece, recipe(selections=(f"event == {whole[9]}",)))
    assert one.x[:, 0].tolist() == [9.0]
    with pytest.raises(InputError, match="is null in 1 of"):
        conversion.convert(piece, recipe(id=("event",)))


def test_floats_beyond_2_to_the_53_are_no_ids(tmp_path: Path) -> None:
    piece = written(tmp_path / "a.parquet", {"event": np.arange(300) + 2.0**60, "x": np.arange(300.0)})
    with pytest.raises(InputError, match=r"no longer tell whole numbers apart"):
        conversion.convert(piece, recipe(id=("event",)))


def test_literals_beyond_2_to_the_53() -> None:
    column = np.array([2**60, 2**60 + 1, 2**60 + 2])
    assert formulas.evaluate(f"c == {2**60 + 1}", {"c": column}, "f").tolist() == [False, True, False]
    assert formulas.evaluate(f"c - {2**60}", {"c": column}, "f").tolist() == [0, 1, 2]
    assert isinstance(expressions.parse("5")({}), float)


RNG = np.random.default_rng(5)
LOST = {
    "matrix element": np.exp(RNG.normal(size=3000)) * 1e-60,
    "unix time": 1.7e9 + RNG.normal(0, 5, 3000),
    "GPS time": 1.4e9 + RNG.uniform(0, 1, 3000),
    "float counter": 2.0**24 + np.arange(3000),
    "counter": 2**24 + np.arange(3000),
    "negative counter": -(2**24) - np.arange(3000),
    "unsigned": np.arange(3000, dtype=np.uint64) + 2**40,
    "few": np.array([1e9, 1e9 + 1, 1e9 + 2]),
    "subnormal": RNG.uniform(1, 2, 3000) * 1e-44,
}
KEPT = {
    "mass": 91.1876 + RNG.normal(0, 1.2, 3000),
    "uniform": RNG.uniform(size=3000),
    "small": RNG.normal(size=3000) * 1e-30,
    "large": np.exp(RNG.normal(size=3000)) * 1e30,
    "run number": np.repeat(RNG.integers(2e5, 4e5, 30), 100),
    "constant": np.full(3000, 1.7e9),
    "placeholders": np.where(RNG.random(3000) < 0.9, -999.0, RNG.normal(size=3000)),
    "heavy tail": np.exp(RNG.normal(0, 3, 3000)),
    "float32 in float64": RNG.normal(size=3000).astype(np.float32).astype(np.float64) * 2**30,
    "flag": RNG.integers(0, 2, 3000),
}


@pytest.mark.parametrize("name", LOST)
def test_what_float32_loses_is_refused(name: str) -> None:
    column = LOST[name]
    with pytest.raises(InputError, match=r"loses itself in float32|holds them exactly only up to|NaN or infinite"):
        values.fill([column], ["v"], np.empty((len(column), 1), np.float32), "file")


@pytest.mark.parametrize("name", KEPT)
def test_what_float32_holds_is_kept(name: str) -> None:
    x = np.empty((3000, 1), np.float32)
    values.fill([KEPT[name]], ["v"], x, "file")
    np.testing.assert_allclose(x[:, 0], KEPT[name], rtol=1e-6)


def test_particles_follow_the_same_rules() -> None:
    offsets = np.arange(0, 401, 4)
    flags = np.tile([1.0, 0.0, np.nan, np.nan], 100)
    columns = {
        "J_pt": Jagged(np.full(400, 50.0), offsets),
        "J_ok": Jagged(flags, offsets),
        "J_n": Jagged(np.full(400, 200, np.uint8), offsets),
    }
    for selection, kept in (("ok and pt > 20", 100), ("not ok", 100), ("n + n > 255", 400), ("n - 201 < 0", 400)):
        recipe_ = ParticleRecipe(("pt",), "J", 9, "", selection)
        assert len(gather(columns, recipe_, "file").values) == kept
    times = Jagged(1.7e9 + np.arange(400.0), offsets)
    with pytest.raises(InputError, match=r'"J_t" loses itself in float32|"J_t" has whole numbers'):
        gather({**columns, "J_t": times}, ParticleRecipe(("t",), "J", 9), "file")


def fit(outside: OutsideEvents) -> FitResult:
    """A fit with an error, as far as the check needs it."""
    return replace(FitResult.from_json({"parameters": {"mu": {"error": 0.2}}}), outside=outside)


def test_data_outside_of_the_simulation_is_counted_and_fitted_without() -> None:
    simulation = RNG.normal(size=(5000, 2)).astype(np.float32)
    data = RNG.uniform(-2, 2, size=(480, 2)).astype(np.float32)
    none = beyond.count(data, simulation, ("a", "b"), lambda _: {}, {"mu": 1.0})
    assert (none.events, none.shift) == (0, {})
    data[5, 0], data[7, 1] = -999, 1e6
    seen: list[int] = []
    found = beyond.count(
        data, simulation, ("a", "b"), lambda kept: seen.append(int(kept.sum())) or {"mu": 0.9}, {"mu": 1.0}
    )
    assert (found.events, found.share, seen) == (2, 2 / 480, [478])
    assert [event.row for event in found.first] == [5, 7]
    assert found.first[0].values["a"] == -999.0
    assert found.features["b"].events == 1
    np.testing.assert_allclose(found.shift["mu"], -0.1)

    class Facts:
        class dataset:  # noqa: N801  a field of the facts
            x = simulation

        class inference:  # noqa: N801  a field of the facts
            fits = {"observed": fit(found)}  # noqa: RUF012

    ((state, sentence),) = outside.look(Facts)  # type: ignore[arg-type]
    assert state == "fail"
    assert "mu by -0.1 (0.5 of its error)" in sentence
    assert "rows 5, 7" in sentence
    Facts.inference.fits = {"observed": fit(none)}
    assert list(outside.look(Facts)) == []  # type: ignore[arg-type]
    assert "within the range" in outside.good(Facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "mu", "state"),
    [([3.2], 0.99, "pass"), ([3.2], 0.9, "warning"), ([9.0], 0.9, "fail"), ([3.2] * 8, 0.9, "fail"), ([9.0], 0.99, "warning")],
)  # fmt: skip
def test_an_event_at_the_end_of_a_finite_simulation_is_no_failure(values: list[float], mu: float, state: str) -> None:
    """One of 500 events beyond the largest of 5,000 comes by chance; eight do not, nor does one that is far away."""
    simulation = np.linspace(-3, 3, 5_000, dtype=np.float32)[:, None]
    data = np.concatenate([np.zeros(500 - len(values)), values]).astype(np.float32)[:, None]
    found = beyond.count(data, simulation, ("a",), lambda _: {"mu": mu}, {"mu": 1.0})
    fits = {"observed": fit(found)}
    facts: Any = SimpleNamespace(dataset=SimpleNamespace(x=simulation), inference=SimpleNamespace(fits=fits))
    ((said, _),) = outside.look(facts)
    assert said == state


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3.5e28])
def test_a_ratio_that_is_no_number_stops_before_the_fits(bad: float) -> None:
    x, ratio = np.arange(6.0, dtype=np.float32).reshape(3, 2), np.array([0.1, bad, -900.0])
    with pytest.raises(TaskError, match=r"1 of 3 events of observed, first for event 1 \(a = 2, b = 3\)"):
        beyond.insist({"signal": ratio}, x, ("a", "b"), "observed")
    beyond.insist({"signal": np.array([0.0, -np.inf])}, x[:2], ("a", "b"), "observed")  # r = 0


@pytest.mark.parametrize(
    ("text", "a", "b", "value"),
    [
        ("a * a * a", 3_000_000, 0, 2.7e19),
        ("a + b", 2**62, 2**62, 2.0**63),
        ("a - b", -(2**63), 1, -(2.0**63)),
        ("a ** b", 10, 30, 1e30),
        ("a * b", 3_000_000_001, 3_000_000_003, 9_000_000_012_000_000_003),
        ("-a", -(2**63), 0, 2.0**63),
        ("abs(a)", -(2**63), 0, 2.0**63),
        ("abs(-a)", 2**63 - 1, 0, 2.0**63),
        ("-abs(a) - b", -(2**63), 5, -(2.0**63)),
        ("where(a == 9007199254740992, 1, 0)", 2**53 + 1, 0, 0),
        ("where(a > 9007199254740992, 1, 0)", 2**53 + 1, 0, 1),
    ],
)
def test_whole_numbers_do_not_wrap_around(text: str, a: int, b: int, value: float) -> None:
    found = formulas.evaluate(text, {"a": np.array([a]), "b": np.array([b])}, "w")
    assert found.tolist() == [value]


ID = 2**62 + 1
"""No float is this number."""


@pytest.mark.parametrize(
    "text",
    [
        "where(x > 0, id, -1)", "where(x > 0, id, -1.0)", "where(x < 0, 0, id)", "where(x > 0, id, n)", "where(x > 0, id, where(n > 0, 1, 2))",
        "where(x > 0, id, n > 0)", "where(x > 0, where(n > 0, id, 3), id)", "min(id, n)", "max(id, -1)", "max(0, n, id)", "max(id, where(n > 0, 1, -2))",
        "where(x > 0, -id, 0)", "where(x > 0, abs(id), 9007199254740993)", "where(nothing > 0, id, -1)", "where(x > 0, id, some)",
    ],
)  # fmt: skip
def test_choosing_among_whole_numbers_keeps_them_exact(text: str) -> None:
    """It gives what Python, whose whole numbers are exact, chooses in each row."""
    rows = [(1.0, ID, 3, np.nan, 2), (0.0, -ID - 1, -7, 1.0, 0), (-1.0, ID + 2, 0, -1.0, 1)]
    x, ids, n, nothing, some = (np.array(column) for column in zip(*rows, strict=True))
    found = formulas.evaluate(text, {"x": x, "id": ids, "n": n, "nothing": nothing, "some": some}, "w")
    assert found.dtype.kind in "iu"
    functions = {"where": lambda condition, a, b: a if condition else b, "min": min, "max": max, "abs": abs}
    for value, row in zip(found.tolist(), rows, strict=True):
        names = dict(zip(("x", "id", "n", "nothing", "some"), row, strict=True))
        assert value == eval(text, functions | names)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("where(x > 0, n, 0.5)", [3, 0.5]),
        ("where(x > 0, n, x)", [3, 0.0]),
        ("min(n, 0.5)", [0.5, -7]),
        ("n ** n", [27.0, -(7.0**-7)]),
        ("n ** where(x > 0, n, -1)", [27.0, -1 / 7]),
        ("where(x > 0, 1, -1) ** where(x > 0, 1, -1)", [1.0, -1.0]),
        ("1 / where(x > 0, 2, 4)", [0.5, 0.25]),
        ("where(x > 0, n, 1e300)", [3, 1e300]),
    ],
)
def test_choosing_among_whole_numbers_and_others_gives_floats(text: str, values: list[float]) -> None:
    found = formulas.evaluate(text, {"x": np.array([1.0, 0.0]), "n": np.array([3, -7])}, "w")
    assert found.dtype.kind == "f"
    np.testing.assert_allclose(found, values)


def test_a_whole_number_beside_a_null_of_another_column_is_exact_or_a_float() -> None:
    """A row with a null is computed with floats, which must not pass for whole numbers beyond 2^53."""
    other = np.ma.MaskedArray(np.array([1, 1, 1]), [True, False, False])
    found = formulas.evaluate("where(x > 0, id, other)", {"x": np.ones(3), "id": np.full(3, ID), "other": other}, "w")
    assert found.dtype.kind == "f"
    with pytest.raises(ValueError, match="holds floats beyond"):
        hashing.identify([found])
