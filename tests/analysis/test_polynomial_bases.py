"""Polynomial bases: multipliers, the choice of samples, weight columns, and what an analysis becomes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from needle_parsl import expressions
from needle_parsl.analysis import (
    Analysis,
    Model,
    Nuisance,
    Parameter,
    Ratios,
    Sample,
    Source,
    Variation,
    morphing,
    polynomials,
    rules,
)
from needle_parsl.analysis.tables import Binning, Morphing, Region

POINTS = {"sm": {}, "a": {"x": 1.0}, "b": {"x": -0.3}, "c": {"y": 0.7}, "d": {"y": -1.0}, "e": {"x": 1.0, "y": 1.0}}
PARAMETERS = {"x": Parameter(0.0, (-2.0, 1.0)), "y": Parameter(0.0, (-1.0, 3.0), role="free")}


def analysis(table: Morphing, *names: str, **given: object) -> Analysis:
    samples = {name: Sample(files=("x.root",)) for name in (*names, "background")}
    model = Model(PARAMETERS, {"background": "1"}, morphing=table)
    ratios = Ratios(reference=("background",), targets=("background",))
    return replace(Analysis(name="eft", samples=samples, ratios=ratios, model=model), **given)


def refuse(key: str, message: str) -> None:
    raise AssertionError(f"{key}: {message}")


def expanded(table: Morphing, *names: str, **given: object) -> Analysis:
    return morphing.expanded(analysis(table, *names, **given), refuse)


def test_multipliers_give_every_polynomial_back() -> None:
    made = expanded(Morphing(parameters=("x", "y"), basis=POINTS), *POINTS)
    rng = np.random.default_rng(1)
    terms = polynomials.monomials(2, 2)
    coefficients = rng.normal(size=len(terms))

    def rate(x: float, y: float) -> float:
        return sum(c * x**p * y**q for c, (p, q) in zip(coefficients, terms, strict=True))

    for x, y in rng.uniform(-3, 3, (10, 2)):
        m = {name: float(expressions.parse(str(made.model.processes[name]))({"x": x, "y": y})) for name in POINTS}
        found = sum(m[name] * rate(point.get("x", 0.0), point.get("y", 0.0)) for name, point in POINTS.items())
        assert found == pytest.approx(rate(x, y), rel=1e-9, abs=1e-9)
    assert made.model.processes["background"] == "1"
    assert made.ratios.targets == ("background", *POINTS)
    assert made.model.morphing is None


def test_condition_number_is_that_of_numpy() -> None:
    made = expanded(Morphing(parameters=("x", "y"), basis=POINTS), *POINTS)
    assert made.basis is not None
    matrix = np.array(
        [[1, x, y, x * x, x * y, y * y] for x, y in ((p.get("x", 0), p.get("y", 0)) for p in POINTS.values())]
    )
    assert made.basis.condition == pytest.approx(np.linalg.cond(matrix, np.inf))  # the largest values are 1
    moments = np.array(polynomials.moments([p.bounds for p in PARAMETERS.values()], polynomials.monomials(2, 2)))
    inverse = np.linalg.inv(matrix)
    assert made.basis.spread == pytest.approx(np.trace(inverse.T @ moments @ inverse))
    x, y = np.random.default_rng(2).uniform(*np.array([p.bounds for p in PARAMETERS.values()]).T, (400_000, 2)).T
    squares = ((np.array([1 + 0 * x, x, y, x * x, x * y, y * y]).T @ inverse) ** 2).sum(axis=1)
    assert made.basis.spread == pytest.approx(squares.mean(), abs=4 * squares.std() / np.sqrt(400_000))


@pytest.mark.parametrize("seed", range(8))
def test_best_basis_is_that_of_all_choices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    terms = polynomials.monomials(2, 2)
    exact = [[Fraction(str(round(v, 2))) for v in row] for row in rng.uniform(-1, 1, (9, 2))]
    rows = [polynomials.values(point, terms) for point in exact]
    over = polynomials.moments([(-1.0, 1.0)] * 2, terms)

    def cost(chosen: tuple[int, ...] | list[int]) -> float:
        inverse = np.linalg.inv(np.array([[float(v) for v in rows[k]] for k in chosen]))
        return float(np.trace(inverse.T @ np.array(over) @ inverse))

    least = min(cost(chosen) for chosen in combinations(range(9), 6))
    assert cost(polynomials.best(rows, over)) == pytest.approx(least)
    kept = min(cost(chosen) for chosen in combinations(range(9), 6) if 3 in chosen)
    assert cost(polynomials.best(rows, over, [3])) == pytest.approx(kept)


def test_samples_that_the_basis_does_without_are_left_out() -> None:
    points = {**POINTS, "near": {"x": 0.01}, "nearer": {"y": 0.001}}
    made = expanded(Morphing(parameters=("x", "y"), basis=points, linear=True), *points)
    assert made.basis is not None
    assert made.basis.left_out == ("near", "nearer")
    assert set(made.samples) == {*POINTS, "background"}
    assert "; without near, nearer; condition number" in morphing.notes(made)[0]
    full = expressions.parse(str(made.model.processes["a"])).derivative("x")({"x": 0.0, "y": 0.0})
    slope = expressions.parse(made.basis.linear["a"]).derivative("x")
    assert float(slope({"x": 5.0, "y": 7.0})) == pytest.approx(float(full))


def test_weight_columns_become_samples_of_the_same_files() -> None:
    columns = {f"w_{name}": point for name, point in POINTS.items()}
    variations = {"jes": Variation(up=Source(files=("up.root",)), down=Source(weight="lumi * down"))}
    common = Sample(files=("vh.root",), weight="lumi", variations=variations)
    table = Morphing(parameters=("x", "y"), sample="vh", weight_columns=columns)
    samples = {"vh": common, "background": Sample(files=("b.root",))}
    rates = Nuisance(rate={"vh": (1.1, 0.9), "background": (1.0, 1.0)})
    plain = Model(PARAMETERS, {"background": "1"}, nuisances={"lumi": rates}, morphing=table)
    made = expanded(table, samples=samples, model=plain)
    names = [f"vh-w_{name}" for name in POINTS]
    assert list(made.samples) == ["background", *names]
    own = made.samples["vh-w_a"]
    assert own.weight == "(lumi) * w_a"
    assert own.files == ("vh.root",)
    assert own.variations["jes"].up == Source(files=("up.root",))
    assert own.variations["jes"].down == Source(weight="(lumi * down) * w_a")
    assert made.model.nuisances["lumi"].rate == {"background": (1.0, 1.0), **dict.fromkeys(names, (1.1, 0.9))}
    assert made.keys_of("vh-w_a") == ("samples.vh", "model.morphing.weight_columns.w_a")
    kept = expanded(table, samples=samples, model=plain, ratios=Ratios(reference=("vh",)))
    assert kept.ratios.targets == tuple(names)
    assert kept.samples["vh"] == common


def test_a_large_condition_number_is_warned_of() -> None:
    close = {"sm": {}, "a": {"x": 1.0}, "b": {"x": 1.0001}}
    made = expanded(Morphing(parameters=("x",), basis=close), *close)
    ((key, message),) = morphing.doubts(made)
    assert key == "model.morphing"
    assert "condition number" in message


def test_without_morphing_nothing_changes() -> None:
    plain = replace(analysis(Morphing(parameters=("x",)), "a"), model=Model(PARAMETERS, {"background": "1"}))
    assert morphing.expanded(plain, refuse) is plain
    assert morphing.notes(plain) == []


@pytest.mark.parametrize(
    ("table", "key", "said"),
    [
        ({"basis": {"sm": {}, "a": {"x": 1e-300}, "b": {"x": 2e-300}}}, "basis", "use another unit"),
        ({"basis": {"sm": {}, "a": {"x": 1.0}, "b": {"x": 1.0}}}, "basis", "is singular: -x + x**2 is 0 at all points"),
        ({"basis": {}}, "basis", "is empty"),
        ({"basis": POINTS, "sample": "sm"}, "basis", "leave one of them out"),
        ({"sample": "sm", "weight_columns": {"w[1]": {}}}, "weight_columns.w[1]", "features.derived"),
        ({"basis": {"sm": {}}, "parameters": ("x", "x")}, "parameters[1]", "more than once"),
    ],
)  # fmt: skip
def test_what_makes_no_basis_is_refused(table: dict[str, Any], key: str, said: str) -> None:
    found: list[tuple[str, str]] = []
    given = {"parameters": ("x",), **table}
    made = morphing.expanded(analysis(Morphing(**given), *POINTS), lambda *told: found.append(told))
    assert found[0][0] == f"model.morphing.{key}"
    assert said in found[0][1]
    assert made.basis is None
    assert "background" in made.model.processes


def test_multipliers_of_many_parameters_are_refused_where_they_are_too_long() -> None:
    names = tuple(f"c{k}" for k in range(11))
    alone = [{name: sign} for name in names for sign in (1.0, -1.0)]
    points = {
        f"p{k}": dict(point)
        for k, point in enumerate([{}, *alone, *(dict.fromkeys(pair, 1.0) for pair in combinations(names, 2))])
    }
    parameters = {name: Parameter(0.0, (-1.0, 1.0)) for name in names}
    found: list[tuple[str, str]] = []
    table = Morphing(parameters=names, basis=points)
    given = analysis(table, *points, model=Model(parameters, {"background": "1"}, morphing=table))
    morphing.expanded(given, lambda *told: found.append(told))
    ((key, message),) = found
    assert key == "model.morphing.parameters"
    assert "more than 256" in message


def test_what_is_said_of_the_sample_is_of_the_points_that_the_basis_uses() -> None:
    """With more weight columns than monomials, rates and factors of bins are of those that become processes."""
    columns = {**POINTS, "spare": {"x": 0.5}}
    given = analysis(Morphing(parameters=("x", "y"), sample="vh", weight_columns=columns), "vh")
    region = Region(selection="z > 1", binning=Binning("z", (1.0, 2.0)), shapesys=("vh",))
    nuisance = Nuisance(rate={"vh": (1.1, 0.9)})
    model = replace(given.model, nuisances={"lumi": nuisance}, regions={"side": region})
    made = morphing.expanded(replace(given, model=model), refuse).model
    vh = {name for name in made.processes if name != "background"}
    assert len(vh) == len(POINTS)
    assert made.nuisances["lumi"].rate == dict.fromkeys(vh, (1.1, 0.9))
    assert set(made.regions["side"].shapesys) == vh
    found = list[str]()
    rules.regions.check(replace(given, model=model), lambda key, _: found.append(key))
    assert not found
