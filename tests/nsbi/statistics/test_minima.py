"""The deepest minimum is found: EFT polynomials, products, same-side systematics, kinks; against analytic densities and scipy."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from problems.random_likelihoods import KINDS
from problems.random_likelihoods import drawn as drawn_model
from scipy import stats
from scipy.optimize import brentq

from needle_parsl.analysis import Model, Nuisance, Parameter, Scan
from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits import fitting
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.intervals import limits, profile
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.toys.block import Block
from needle_parsl.nsbi.statistics.toys.fitting import fit as fit_toy
from needle_parsl.nsbi.statistics.toys.fitting import fitted
from needle_parsl.nsbi.statistics.toys.pool import drawn, model_pool, no_pool

X = np.linspace(-9, 9, 8001)
BASIS = {"sm": 0.0, "p": 1.0, "m": -1.0}


def density(x: np.ndarray, c: float) -> np.ndarray:
    """A resonance whose amplitude is linear in c, over a background: nu p(x | c)."""
    a, b = stats.norm.pdf(x, 1, 0.8), stats.norm.pdf(x, 1.5, 0.8)
    return 400 * stats.norm.pdf(x, 0, 1.5) + 60 * (a + c * np.sqrt(a * b) + 0.5 * c * c * b)


TOTAL = {c: float(np.trapezoid(density(X, c), X)) for c in BASIS.values()}


def draw(c: float, n: int, seed: int) -> np.ndarray:
    rng, p = np.random.default_rng(seed), density(X, c)
    return rng.choice(X, n, p=p / p.sum()) + rng.uniform(-0.5, 0.5, n) * (X[1] - X[0])


def ratios(x: np.ndarray) -> dict[str, np.ndarray]:
    own = {name: np.log(density(x, c) / TOTAL[c]) for name, c in BASIS.items()}
    return {name: own[name] - own["sm"] for name in ("p", "m")}


MODEL = Model({"c": Parameter(0.0, (-6.0, 6.0))}, {"sm": "1 - c**2", "p": "(c**2 + c)/2", "m": "(c**2 - c)/2"}, {})


def simulated(size: int = 500) -> Dataset:
    x = np.concatenate([draw(c, size, 10 + k) for k, c in enumerate(BASIS.values())])
    yields = {name: TOTAL[c] for name, c in BASIS.items()}
    return Dataset.of(x, ratios(x), samples=dict.fromkeys(BASIS, size), yields=yields)


def morphed(seed: int, truth: float = -3.5) -> tuple[Likelihood, np.ndarray]:
    n = np.random.default_rng(900 + seed).poisson(np.trapezoid(density(X, truth), X))
    data = draw(truth, n, 500 + seed)
    return Builder.of(MODEL, []).likelihood(Dataset.of(data, ratios(data)), simulated()), data


@pytest.mark.parametrize("seed", range(2))
def test_polynomial_multipliers_end_in_the_deepest_minimum_of_the_exact_density(seed: int) -> None:
    likelihood, data = morphed(seed)
    best = minimise(likelihood, likelihood.rates, minos=["c"])
    grid = np.linspace(-6, 6, 481)
    exact = np.array([np.trapezoid(density(X, c), X) - np.log(density(data, c)).sum() for c in grid])
    deepest = grid[int(np.argmin(exact))]
    assert best.converged
    assert best.value("c") == pytest.approx(deepest, abs=0.05)
    assert len(best.minima) >= 2
    assert best.record(0, {}).minima == len(best.minima)
    t = 2 * (exact - exact.min())
    scan = profile.scan(likelihood, best, "c", None, [0.68, 0.95])
    for level in (0.68, 0.95):
        inside = t < stats.chi2.ppf(level, 1)
        pieces = scan.intervals[f"{level:g}"]
        assert len(pieces) == int((np.diff(inside.astype(int)) == 1).sum())
        assert pieces[0][0] == pytest.approx(grid[inside][0], abs=0.05)
        assert pieces[-1][1] == pytest.approx(grid[inside][-1], abs=0.05)
    assert best.minos["c"] == pytest.approx(scan.intervals["0.68"][0], abs=0.02)


def test_toys_look_for_the_deepest_minimum_with_numpy_and_compiled() -> None:
    """A toy's t is that of the exact scan, wherever its own minimum is; both engines agree."""
    likelihood, _ = morphed(0)
    x = draw(0.0, 3000, 3)
    base = Dataset.of(x, ratios(x), weight=np.full(3000, TOTAL[0.0] / 3000))
    events = Builder.of(MODEL, []).likelihood(base, simulated())
    truth = likelihood.rates.at({"c": -2.0})
    pool = model_pool(events, base.weight, truth)
    draws = list(drawn(pool, truth, seeds=range(5)))
    block = Block.of(pool.likelihood, draws, "c", truth, (pool.effective, pool.vetoed))
    for place, toy in enumerate(draws):
        own = pool.likelihood.take(*toy)
        slow = fit_toy(own, "c", truth)
        lowest = min(own(np.array([c]))[0] for c in np.linspace(-6, 6, 121))
        assert block.t[place] == pytest.approx(slow.t, abs=2e-3)
        assert slow.nll <= lowest + 1e-6
        assert slow.nll > lowest - 0.6


def counting(processes: dict[str, str], parameters: dict[str, Parameter], expected: dict[str, list[float]], seen: list[float], nuisances=None) -> Likelihood:  # fmt: skip
    model = Model(parameters, processes, nuisances or {})
    region = Counts("r", {name: np.array(y) for name, y in expected.items()}, np.array(seen))
    return Builder.of(model, []).joint({}, [region])


def lowest(likelihood: Likelihood, seed: int = 0, starts: int = 25) -> float:
    """Give the deepest -ln L that many starts of scipy find."""
    from scipy.optimize import minimize

    rng, box = np.random.default_rng(seed), np.array(likelihood.rates.limits())
    found = [
        minimize(
            likelihood,
            np.clip(rng.uniform(*box.T) if k else likelihood.rates.start, *box.T),
            jac=True, bounds=box, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8},
        ).fun
        for k in range(starts)
    ]  # fmt: skip
    return float(np.min(found))


HARD = {
    "square": counting({"s": "c**2", "b": "1"}, {"c": Parameter(1.0, (-3.0, 4.0))}, {"s": [20.0], "b": [30.0]}, [60.0]),
    "interference": counting({"s": "c**2 - c", "b": "1"}, {"c": Parameter(0.2, (-3.0, 4.0))}, {"s": [20.0, 5.0], "b": [50.0, 9.0]}, [120.0, 30.0]),
    "product": counting({"s": "c*k", "t": "k**2", "b": "1"}, {"c": Parameter(1.0, (-3.0, 3.0)), "k": Parameter(1.0, (-3.0, 3.0), role="free")}, {"s": [20.0, 5.0], "t": [4.0, 9.0], "b": [80.0, 60.0]}, [44.0, 79.0]),
    "sine": counting({"s": "1 + sin(3*c)", "b": "1"}, {"c": Parameter(0.0, (-3.0, 3.0))}, {"s": [40.0, 9.0], "b": [10.0, 10.0]}, [70.0, 22.0]),
    "root of a multiple": counting({"s": "4*mu - sqrt(4*mu)", "b": "1"}, {"mu": Parameter(1.0, (0.0, 5.0))}, {"s": [10.0, 3.0], "b": [40.0, 20.0]}, [39.0, 19.0]),
    "same side": counting({"s": "mu", "b": "1"}, {"mu": Parameter(1.0, (-2.0, 5.0))}, {"s": [30.0, 0.0], "b": [100.0, 300.0]}, [110.0, 260.0], {"r": Nuisance(rate={"b": (0.9, 0.9)})}),
    "opposite processes": counting({"s": "mu", "b": "1", "c": "1"}, {"mu": Parameter(1.0, (-2.0, 5.0))}, {"s": [30.0, 0.0], "b": [90.0, 190.0], "c": [80.0, 200.0]}, [210.0, 470.0], {"r": Nuisance(rate={"b": (1.4, 0.7), "c": (0.72, 1.38)})}),
    "same side, unequal": counting({"s": "mu", "b": "1"}, {"mu": Parameter(1.0, (-2.0, 5.0))}, {"s": [30.0, 0.0], "b": [100.0, 300.0]}, [110.0, 250.0], {"r": Nuisance(rate={"b": (0.95, 0.8)}, bounds=(-3.0, 3.0))}),
}  # fmt: skip


@pytest.mark.parametrize("name", HARD)
def test_fit_is_as_deep_as_many_starts_of_scipy(name: str) -> None:
    likelihood = HARD[name]
    best = minimise(likelihood, likelihood.rates)
    assert best.nll <= lowest(likelihood) + 1e-4


def test_structure_says_where_several_minima_may_be() -> None:
    bent = {name: likelihood.bent.tolist() for name, likelihood in HARD.items()}
    assert bent["product"] == [True, True]
    assert bent["same side"] == [False, True]
    straight = counting({"s": "mu", "b": "2*k"}, {"mu": Parameter(), "k": Parameter()}, {"s": [9.0], "b": [9.0]}, [20.0],
                        {"r": Nuisance(rate={"b": (1.1, 0.93)})})  # fmt: skip
    assert straight.bent.tolist() == [False, False, False]


def test_processes_that_move_to_opposite_sides_bend_what_their_sum_bends() -> None:
    """1 % up and 1 % down is a straight line; 40 % up and 28 % down comes back up on either side."""
    assert HARD["opposite processes"].bent.tolist() == [False, True]
    small = counting({"s": "mu", "b": "1"}, {"mu": Parameter()}, {"s": [90.0], "b": [80.0]}, [20.0],
                     {"r": Nuisance(rate={"s": (1.01, 0.99), "b": (0.99, 1.01)})})  # fmt: skip
    assert small.bent.tolist() == [False, False]


@pytest.mark.parametrize("kind", KINDS)
def test_likelihood_along_one_coordinate_is_the_likelihood(kind: str) -> None:
    likelihood, rng = drawn_model(kind, 2).likelihood(), np.random.default_rng(2)
    box = np.clip(np.array(likelihood.rates.limits()), -2, 2)
    theta = rng.uniform(*box.T)
    line = likelihood.along(theta)
    for k in range(len(theta)):
        point = theta.copy()
        point[k] = rng.uniform(*box[k])
        (value, slopes), (whole, gradient) = line(k)(point), likelihood(point)
        assert value == pytest.approx(whole, rel=1e-10)
        assert slopes[k] == pytest.approx(gradient[k], rel=1e-8, abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["code1", "linear"])
@pytest.mark.parametrize("rate", [(1.1, 1.1), (1.1, 1.05)])
def test_on_a_kink_the_error_is_that_of_the_profile(kind: str, rate: tuple[float, float]) -> None:
    """Down both sides of alpha = 0 the likelihood falls: there the parameter has no error, and mu that of a fixed one."""
    nuisances = {"r": Nuisance(interpolation=kind, rate={"b": rate})}
    likelihood = counting({"s": "mu", "b": "1"}, {"mu": Parameter(1.0, (-2.0, 5.0))}, {"s": [60.0, 40.0], "b": [100.0, 400.0]}, [163.0, 432.0], nuisances)  # fmt: skip
    best = minimise(likelihood, likelihood.rates, minos=["mu"])
    assert best.converged
    assert best.on_kink == ("r",)
    assert best.record(0, {}).parameters["r"].error is None

    def excess(mu: float) -> float:
        return min(minimise(likelihood, likelihood.rates, fixed={"mu": mu, "r": r}, errors=False).nll
                   for r in np.linspace(-0.4, 0.4, 21)) - best.nll - 0.5  # fmt: skip

    low, high = (brentq(excess, best.value("mu"), best.value("mu") + side, xtol=1e-3) for side in (-0.5, 0.5))
    assert best.minos["mu"] == pytest.approx((low, high), abs=4e-3)
    assert best.error("mu") == pytest.approx((high - low) / 2, rel=0.06)  # 0.24 where a Hessian of one side is taken


def two_sided(seen: tuple[float, float] | None, kind: str = "code1") -> Likelihood:
    """One bin asks for alpha above 0 and one for alpha below, each of which moves to its side: there may be a minimum on both."""
    model = Model({"mu": Parameter(1.0, (0.0, 5.0))}, {"s": "mu", "b": "1"}, {"n": Nuisance(interpolation=kind)})
    expected = {"s": [20.0, 20.0], "b": [100.0, 100.0], "b.up": [130.0, 102.0], "b.down": [95.0, 70.0]}
    region = Counts("r", {name: np.array(y) for name, y in expected.items()}, None if seen is None else np.array(seen))
    return Builder.of(model, [Shape("b", "n", "b.up", "b.down", "")]).counting([region])


@pytest.mark.parametrize("kind", ["code1", "linear"])
@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("seen", [(125.0, 85.0), (135.0, 95.0)])
def test_fits_with_a_parameter_held_cross_kinks(kind: str, side: float, seen: tuple[float, float]) -> None:
    likelihood = two_sided(seen, kind)
    values = [likelihood(np.array([0.5, x]))[0] for x in np.linspace(-2, 2, 801)]
    start = likelihood.rates.at({"mu": 0.4, "n": side})
    held = minimise(likelihood, likelihood.rates, start=start, fixed={"mu": 0.5}, errors=False)
    assert held.nll == pytest.approx(min(values), abs=1e-4)
    assert len(held.minima) == 2


@pytest.mark.slow
def test_compiled_toys_cross_kinks() -> None:
    """t of every toy is that of a search over both sides, freely and with mu held."""
    pool = no_pool(two_sided(None))
    truth = pool.likelihood.rates.at({"mu": 1.0})
    draws = list(drawn(pool, truth, range(25)))
    for draw, toy in zip(draws, fitted(pool.likelihood, draws, "mu", truth), strict=True):
        own = pool.likelihood.take(*draw)
        held = min(own(np.array([1.0, x]))[0] for x in np.linspace(-3, 3, 1201))
        assert toy.nll <= lowest(own, starts=6) + 1e-4
        assert toy.nll + toy.t / 2 == pytest.approx(held, abs=2e-4)


def test_saddle_is_left() -> None:
    """With equal variations to one side alpha = 0 is a saddle by symmetry, where a fit from the nominal value would stay."""
    likelihood = HARD["same side"]
    best = minimise(likelihood, likelihood.rates)
    assert best.converged
    assert not best.degenerate
    assert abs(best.value("r")) > 0.3
    assert best.error("mu") > 0


def test_a_scan_below_the_best_fit_starts_it_again() -> None:
    likelihood, _ = morphed(1)
    right = minimise(likelihood, likelihood.rates)
    wrong = minimise(likelihood, likelihood.rates, fixed={"c": right.minima[1][0]})
    planted = replace(right, nll=wrong.nll, theta=wrong.theta, minima=(wrong.theta,))
    for where in (None, Scan(-5.0, 5.0, 31)):
        found = profile.scan(likelihood, planted, "c", where, [0.68])
        assert found.best == pytest.approx(right.value("c"), abs=1e-3)
        assert found.intervals["0.68"][0][0] < right.value("c") < found.intervals["0.68"][0][1]


def test_a_limit_below_the_best_fit_starts_it_again() -> None:
    likelihood, _ = morphed(1)
    right = minimise(likelihood, likelihood.rates)
    wrong = minimise(likelihood, likelihood.rates, fixed={"c": right.minima[1][0]})
    test = limits.Test(likelihood, replace(right, nll=wrong.nll, theta=wrong.theta, minima=(wrong.theta,)), "c")
    assert test.t(right.value("c")) == pytest.approx(0.0, abs=1e-6)
    assert test.best.value("c") == pytest.approx(right.value("c"), abs=1e-3)


def test_intervals_of_one_scan_are_nested_and_without_slivers() -> None:
    """At random rough curves every piece of a lower level lies in one of a higher level, and holds a point of the scan."""
    rng = np.random.default_rng(4)
    for _ in range(200):
        grid = np.sort(rng.uniform(-3, 3, rng.integers(6, 30)))
        t = np.maximum(3 * grid**2 + rng.normal(0, 2, len(grid)), 0.0)
        cuts = [profile.below(grid, t, height) for height in (0.5, 1.0, 3.84, 6.6)]
        for lower, higher in pairwise(cuts):
            for low, high in lower:
                assert any(a <= low and high <= b for a, b in higher)
        for height, pieces in zip((0.5, 1.0, 3.84, 6.6), cuts, strict=True):
            for low, high in pieces:
                assert ((grid >= low) & (grid <= high) & (t < height)).any()


def test_no_interval_comes_from_a_fit_that_did_not_converge() -> None:
    likelihood = HARD["square"]
    best = replace(minimise(likelihood, likelihood.rates), converged=False)
    found = profile.scan(likelihood, best, "c", None, [0.68, 0.95])
    assert found.intervals == {"0.68": (), "0.95": ()}
    assert not found.converged


def test_minos_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    likelihood = HARD["interference"]
    monkeypatch.setattr(fitting, "_minos", lambda *_: {})
    monkeypatch.setattr(fitting, "_by_profile", lambda *_: (None, None))
    record = minimise(likelihood, likelihood.rates, minos=["c"]).record(0, {})
    assert record.minos_failed == ("c",)
    assert record.parameters["c"].minos is None


@pytest.mark.parametrize("high", [5.0, 1e6])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
def test_starts_do_not_depend_on_how_wide_the_bounds_are(scale: float, high: float) -> None:
    """Only a start on a bound is moved, and by little."""
    made = counting({"s": f"mu / {scale:g}", "b": "1"}, {"mu": Parameter(scale, (0.0, high * scale))}, {"s": [40.0], "b": [60.0]}, [130.0])  # fmt: skip
    for start in (None, np.zeros(1)):
        best = minimise(made, made.rates, start=start)
        assert best.converged
        assert best.value("mu") == pytest.approx(1.75 * scale, rel=1e-3)
