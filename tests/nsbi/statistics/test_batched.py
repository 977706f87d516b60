"""Compiled fits of toys against NumPy, differences, iminuit, and Feldman and Cousins."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from problems.compiled_fits import CLOSE, agree, pool
from problems.interference import CONSTRAINED, Problem
from problems.likelihoods import counting
from problems.poisson import BACKGROUND, LEVEL, TABLE, exact_p

pytest.importorskip("numba")
from scipy import stats

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.intervals import neyman, profile
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.toys import fitting
from needle_parsl.nsbi.statistics.toys import pool as toys
from needle_parsl.nsbi.statistics.toys.block import Block
from needle_parsl.nsbi.statistics.toys.compiled import compilation, newton, vectors
from needle_parsl.nsbi.statistics.toys.compiled.engine import CompiledFits
from needle_parsl.nsbi.statistics.toys.pool import Draw, ToyPool


def test_exponential_and_logarithm_are_those_of_numpy() -> None:
    rng = np.random.default_rng(1)
    x, n = np.concatenate([rng.normal(0, 3, 4000), [0.0, -0.0, 700.0, -700.0, 1e-300]]), 4005
    out, bits = np.empty(n), np.empty((2, n), np.int64)
    vectors.exponential(x, 1.0, out, bits[0], n)
    np.testing.assert_allclose(out, np.exp(x), rtol=5e-16)
    y = np.exp(rng.normal(0, 30, n))
    vectors.logarithm(y, out, bits, n)
    np.testing.assert_allclose(out, np.log(y), rtol=5e-16, atol=1e-16)


LN2 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)


@compilation.exactly
def remainder(value, whole):  # type: ignore[no-untyped-def]
    return (value - whole * LN2[0]) - whole * LN2[1]


@compilation.compiled
def twice(value, whole):  # type: ignore[no-untyped-def]
    return 2.0 * remainder(value, whole)


def test_order_of_operations_does_not_depend_on_who_is_compiled_first() -> None:
    """A function that a caller with free sums compiles keeps its own order."""
    twice(700.0, 1010.0)
    assert remainder(700.0, 1010.0) == (700.0 - 1010.0 * LN2[0]) - 1010.0 * LN2[1]


@pytest.fixture(scope="module")
def interference() -> tuple[ToyPool, np.ndarray]:
    return pool(Problem("interference"), 1.0)


def everything(interpolation: str) -> Likelihood:
    """One signal and one background with a shape, a yield and bins that respond, and a constraint of each kind."""
    rng, n = np.random.default_rng(5), 500
    from needle_parsl.densities import Shape
    from needle_parsl.nsbi.statistics.dataset import Dataset

    ratios = {"s": rng.normal(0, 0.5, n)} | {
        f"{p}.jes.{side}": rng.normal(0, 0.2, n) for p in "sb" for side in ("up", "down")
    }
    bins = {name: rng.uniform(20, 40, 3) for name in ("s", "b", *(name for name in ratios if "." in name))}
    yields = {"s": 80.0, "b": 400.0, "s.jes.up": 84.0, "s.jes.down": 77.0, "b.jes.up": 410.0, "b.jes.down": 391.0}
    table = Model(
        {"mu": Parameter(1.0, (0.0, 5.0)), "k": Parameter(1.0, (0.2, 3.0), role="free")},
        {"s": "mu * k + exp(0.1 * mu) - 1", "b": "k ** 2 / (1 + 0.1 * cos(k)) + sqrt(mu)"},
        {
            "jes": Nuisance(interpolation=interpolation),
            **CONSTRAINED,
            "lumi": Nuisance(rate={"s": (1.1, 0.9)}, constraint="lognormal", sigma=0.5),
        },
    )  # fmt: skip
    data = Dataset(
        x=np.zeros((n, 1), np.float32),
        weight=np.ones(n),
        sample=np.arange(n) % 2,
        samples=("s", "b"),
        ratios=ratios,
        yields=yields,
    )
    shapes = [Shape(name, "jes", f"{name}.jes.up", f"{name}.jes.down", "") for name in "sb"]
    return Builder.of(table, shapes).likelihood(data, data, [Counts("control", bins)])


@pytest.mark.parametrize("interpolation", ["poly6_exp", "code1", "code4p", "linear", "exp_quadratic"])
def test_compiled_likelihood_is_the_reference_with_everything(interpolation: str) -> None:
    events, rng = everything(interpolation), np.random.default_rng(6)
    engine = CompiledFits.of(events)
    for _ in range(5):
        alpha = np.array([rng.normal(0, 1.5), *rng.normal(size=3)])
        theta = np.array([rng.uniform(0.4, 1.5), rng.uniform(0.6, 1.6), *alpha])
        thrown = events.constraints.throw(np.clip(alpha, -4.0, None), rng)
        draw = Draw(rng.integers(0, 500, 300), thrown, [rng.poisson(60, 3).astype(float)])
        toy = events.take(*draw)
        value, gradient, hessian = engine.evaluate(draw, theta)
        reference, slope = toy(theta)
        assert value == pytest.approx(reference, rel=1e-11)
        np.testing.assert_allclose(gradient, slope, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(hessian, toy.hessian(theta), rtol=1e-8, atol=1e-8)


def below_zero(errors: bool) -> Likelihood:
    """Interference by morphing: at a large mu less than nothing is expected in the last bin, and with b large in the whole region."""
    rng, n = np.random.default_rng(7), 60
    from needle_parsl.densities import Shape
    from needle_parsl.nsbi.statistics.dataset import Dataset

    table = Model(
        {"mu": Parameter(1.0, (0.0, 9.0)), "k": Parameter(1.0, (0.2, 30.0), role="free")},
        {"s": "mu - sqrt(mu)", "sbi": "sqrt(mu)", "b": "k * (1 - sqrt(mu))"},
        {"jes": Nuisance()},
    )
    bins = {"s": np.array([3.0, 1.0, 0.5]), "sbi": np.array([9.0, 8.0, 4.0]), "b": np.array([5.0, 12.0, 16.0])}
    bins |= {
        f"b.jes.{side}": bins["b"] * (1 + sign * np.array([0.1, 0.2, 0.15])) for side, sign in (("up", 1), ("down", -1))
    }
    ratios = {p: rng.normal(0, 0.1, n) for p in ("s", "sbi", "b", "b.jes.up", "b.jes.down")}
    yields = {"s": 4.0, "sbi": 30.0, "b": 20.0, "b.jes.up": 21.0, "b.jes.down": 19.0}
    data = Dataset(
        x=np.zeros((n, 1), np.float32),
        weight=np.ones(n),
        sample=np.arange(n) % 3,
        samples=("s", "sbi", "b"),
        ratios=ratios,
        yields=yields,
    )
    spread = {p: 0.1 * y for p, y in bins.items() if "." not in p} if errors else {}
    shapes = [Shape("b", "jes", "b.jes.up", "b.jes.down", "")]
    return Builder.of(table, shapes).likelihood(data, data, [Counts("control", bins, errors=spread)])


@pytest.mark.parametrize("errors", [False, True], ids=["exact bins", "finite simulation"])
@pytest.mark.parametrize(("mu", "k"), [(1.0, 1.0), (5.0, 1.0), (8.5, 1.0), (5.0, 12.0)])
def test_compiled_wall_at_negative_expectations_is_the_references(mu: float, k: float, errors: bool) -> None:
    events = below_zero(errors)
    theta = events.rates.at({"mu": mu, "k": k, "jes": 0.7})
    thrown = events.constraints.throw(np.array([0.1]), np.random.default_rng(8))
    draw = Draw(np.arange(20), thrown, [np.array([4.0, 2.0, 0.0])])
    toy = events.take(*draw)
    value, gradient, hessian = CompiledFits.of(events).evaluate(draw, theta)
    assert (toy.floored(theta) > 0) is (mu > 1)
    # Where something was counted and less than nothing is expected, the compiled fit leaves gamma at 1.
    assert value == pytest.approx(toy(theta)[0], rel=1e-9 if errors else 1e-11)
    np.testing.assert_allclose(gradient, toy(theta)[1], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(hessian, toy.hessian(theta), rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_compiled_derivatives_are_differences(interference: tuple[ToyPool, np.ndarray]) -> None:
    made, truth = interference
    engine, (draw,) = CompiledFits.of(made.likelihood), toys.drawn(made, truth, [3])
    for scale in (0.5, 1.5):
        theta = np.concatenate([[0.8], np.random.default_rng(4).normal(0, scale, 6)])
        ends = [[engine.evaluate(draw, theta + side * h) for side in (1, -1)] for h in 1e-5 * np.eye(7)]
        slope = np.array([(up[0] - down[0]) / 2e-5 for up, down in ends])
        bends = np.array([(up[1] - down[1]) / 2e-5 for up, down in ends])
        _, gradient, hessian = engine.evaluate(draw, theta)
        np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-4)
        np.testing.assert_allclose(hessian, bends, rtol=1e-6, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["interference", "linear"])
def test_compiled_fits_agree_with_iminuit(mode: str) -> None:
    worst = agree(*pool(Problem(mode), 1.0), range(6))
    assert worst["failed"] == 0
    assert worst["nll"] < 1e-6
    assert worst["mu"] < CLOSE


@pytest.mark.slow
def test_compiled_fits_find_the_deepest_minimum_that_iminuit_finds() -> None:
    """At mu = 0.3 and below the end of the free fit depends on its start."""
    made, truth = pool(Problem("interference"), 0.2)
    block = Block.of(made.likelihood, toys.drawn(made, truth, range(12)), "mu", truth, (made.effective, 0.0))
    for place, draw in enumerate(toys.drawn(made, truth, range(12))):
        theirs = fitting.fit(made.likelihood.take(*draw), "mu", truth)
        assert block.converged[place]
        assert block.nll[place] < theirs.nll + 1e-6
        assert block.t[place] > theirs.t - 1e-5


@pytest.mark.slow
def test_fits_are_the_same_in_any_batch(interference: tuple[ToyPool, np.ndarray]) -> None:
    made, truth = interference
    draws, engine = list(toys.drawn(made, truth, range(6))), CompiledFits.of(made.likelihood)
    whole = engine.fit(draws, truth, "mu", [1.0, 0.5], np.empty((0, 7)))
    for place, draw in enumerate(draws):
        alone = engine.fit([draw], truth, "mu", [1.0, 0.5], np.empty((0, 7)))
        for name in whole._fields:
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(whole, name)[place])


@pytest.mark.slow
def test_a_toy_whose_compiled_fit_failed_is_done_again_by_iminuit(
    interference: tuple[ToyPool, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, truth = interference
    inner = CompiledFits.fit

    def sometimes(self: CompiledFits, *arguments: object) -> object:
        found = inner(self, *arguments)  # type: ignore[arg-type]
        found.code[1, 0] = newton.LIMIT
        return found

    good = Block.of(made.likelihood, toys.drawn(made, truth, range(3)), "mu", truth, (1.0, 0.0), [0.5])
    monkeypatch.setattr(CompiledFits, "fit", sometimes)
    again = Block.of(made.likelihood, toys.drawn(made, truth, range(3)), "mu", truth, (1.0, 0.0), [0.5])
    assert again.retried.tolist() == [False, True, False]
    assert [fitting.CODES[code] for code in again.code] == ["converged", "limit", "converged"]
    np.testing.assert_allclose(again.t, good.t, atol=1e-5)
    np.testing.assert_allclose(again.others, good.others, atol=1e-5)
    assert again.converged.all()


@pytest.mark.slow
def test_without_numba_toys_are_fitted_by_iminuit(
    interference: tuple[ToyPool, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, truth = interference
    good = Block.of(made.likelihood, toys.drawn(made, truth, range(2)), "mu", truth, (1.0, 0.0))
    monkeypatch.setattr(compilation, "AVAILABLE", False)
    with pytest.warns(UserWarning, match="some fifty times slower: numba is not installed, see the extra `toys`"):
        slow = Block.of(made.likelihood, toys.drawn(made, truth, range(2)), "mu", truth, (1.0, 0.0))
    np.testing.assert_allclose(slow.t, good.t, atol=1e-5)
    np.testing.assert_allclose(slow.values, good.values, atol=1e-3)


def test_what_compiled_fits_do_not_know_is_said() -> None:
    events, *rest = Problem("linear", nuisances=2, size=500).likelihood().tables
    crossed = replace(events.responses, pairs=np.array([[0, 0, 1]]), cross=np.zeros((1, 500)))
    likelihood = replace(Problem("linear", nuisances=2, size=500).likelihood(), tables=(replace(events, responses=crossed), *rest))  # fmt: skip
    assert "cross terms" in fitting.slow(likelihood)


@pytest.fixture(scope="module")
def construction() -> tuple[np.ndarray, list[Block]]:
    grid, made = np.arange(0.0, 15.01, 0.25), []
    for place, mu in enumerate(grid):
        events = counting(1, b=BACKGROUND, s=1.0, bounds=(0.0, 60.0))
        truth = events.rates.at({"mu": mu})
        thrown = toys.drawn(
            ToyPool(events, np.array([mu + BACKGROUND]), 0.0), truth, range(1000 * place, 1000 * place + 1000)
        )
        made.append(Block.of(events, thrown, "mu", truth, (math.inf, 0.0)))
    return grid, made


@pytest.mark.slow
def test_no_toy_of_the_counting_experiment_fails(construction: tuple[np.ndarray, list[Block]]) -> None:
    assert all(block.converged.all() for block in construction[1])
    assert sum(int(block.retried.sum()) for block in construction[1]) <= 10


@pytest.mark.slow
@pytest.mark.parametrize("n", TABLE)
def test_compiled_toys_reproduce_the_table_of_feldman_and_cousins(
    construction: tuple[np.ndarray, list[Block]], n: int
) -> None:
    """Interval ends are within two errors of the quantile."""
    grid, made = construction
    data = counting(n, b=BACKGROUND, s=1.0, bounds=(0.0, 60.0))
    observed = profile.statistic(data, minimise(data, data.rates), "mu", grid)
    found = neyman.belt("mu", grid, made, observed, [LEVEL], data.rates)
    step, error = grid[1] - grid[0], math.sqrt(LEVEL * (1 - LEVEL) / 1000)
    for end in (end for piece in found.intervals["0.9"] for end in piece if end > 0):
        around = [exact_p(mu, n) for mu in np.linspace(max(end - step, 0), end + step, 21)]
        assert min(around) - 2 * error <= 1 - LEVEL <= max(around) + 2 * error


@pytest.mark.slow
def test_t_of_compiled_gaussian_toys_follows_chi_squared() -> None:
    events = counting(1, b=5000.0, s=2000.0, sigma=0.05)
    truth = events.rates.at({"mu": 1.2})
    thrown = toys.drawn(ToyPool(events, np.array([7400.0]), 0.0), truth, range(2000))
    block = Block.of(events, thrown, "mu", truth, (1.0, 0.0))
    assert block.converged.all()
    assert stats.kstest(block.t, "chi2", (1,)).pvalue > 1e-3
