"""The row table against an independent likelihood: a problem with interference whose densities are all exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from problems import shifted
from problems.interference import BINS, CONSTRAINED, MULTIPLIERS, Problem

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model import Rates
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts


def poly6(up: np.ndarray, down: np.ndarray, alpha: float) -> np.ndarray:
    """METHOD 6 with its coefficients a_1 to a_6, written down for itself."""
    if abs(alpha) >= 1:
        return up**alpha if alpha > 0 else down**-alpha
    lu, ld = np.log(up), np.log(down)
    s0, a0 = (up + down) / 2, (up - down) / 2
    s1, a1 = (up * lu - down * ld) / 2, (up * lu + down * ld) / 2
    s2, a2 = (up * lu**2 + down * ld**2) / 2, (up * lu**2 - down * ld**2) / 2
    a = [(15 * a0 - 7 * s1 + a2) / 8, (-24 + 24 * s0 - 9 * a1 + s2) / 8, (-5 * a0 + 5 * s1 - a2) / 4,
         (12 - 12 * s0 + 7 * a1 - s2) / 4, (3 * a0 - 3 * s1 + a2) / 8, (-8 + 8 * s0 - 5 * a1 + s2) / 8]  # fmt: skip
    return 1 + sum(c * alpha ** (n + 1) for n, c in enumerate(a))


def reference(problem: Problem, weight: np.ndarray, observed: np.ndarray, mu: float, alpha: np.ndarray) -> float:
    """-ln L with Z_j from the same events, without any of the product's code."""
    s = np.sqrt(mu)
    f = np.array([mu - s, s, 1 - s]) if problem.mode == "interference" else np.array([mu, 1.0, 1.0])
    rates, nu, bins = problem.exact(None, 0.0)
    shape, gain, binned = np.ones_like(rates), np.ones(3), bins.copy()
    for k, a in enumerate(alpha):
        (up, nu_up, bins_up), (down, nu_down, bins_down) = problem.exact(k, 1.0), problem.exact(k, -1.0)
        density = rates / nu[:, None]
        shape *= poly6(up / nu_up[:, None] / density, down / nu_down[:, None] / density, a)
        gain *= poly6(nu_up / nu, nu_down / nu, a)
        binned *= poly6(bins_up / bins, bins_down / bins, a)
    importance = rates / nu[:, None] / problem.q
    z = (importance * shape).sum(axis=1) / importance.sum(axis=1)
    events = (f * gain / z) @ (rates * shape) / problem.q
    counts = f @ binned
    value = float((f * gain) @ nu - weight @ np.log(events)) + float(counts.sum() - observed @ np.log(counts))
    return value + 0.5 * float(alpha @ alpha)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MULTIPLIERS)
def test_likelihood_equals_an_independent_one_at_random_points(mode: str) -> None:
    problem, rng = Problem(mode), np.random.default_rng(3)
    weight, observed = rng.poisson(0.1, problem.size).astype(float), rng.poisson(200, BINS).astype(float)
    likelihood = problem.likelihood(weight, observed)
    for _ in range(10):
        mu, alpha = rng.uniform(0.05, 3), rng.normal(0, 1.2, problem.nuisances)
        ours = likelihood(likelihood.rates.at({"mu": mu, **{f"n{k}": a for k, a in enumerate(alpha)}}))[0]
        assert ours == pytest.approx(reference(problem, weight, observed, mu, alpha), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MULTIPLIERS)
def test_derivatives_agree_with_differences_at_random_points(mode: str) -> None:
    problem, rng = Problem(mode, size=4000), np.random.default_rng(4)
    likelihood = problem.likelihood(observed=rng.poisson(200, BINS).astype(float))
    for _ in range(4):
        theta = np.array([rng.uniform(0.4, 1.4), *rng.normal(0, 1.2, problem.nuisances)])
        steps = 1e-5 * np.eye(len(theta))
        slope = np.array([(likelihood(theta + h)[0] - likelihood(theta - h)[0]) / 2e-5 for h in steps])
        np.testing.assert_allclose(likelihood(theta)[1], slope, rtol=1e-6, atol=1e-4)
        bends = np.array([(likelihood(theta + h)[1] - likelihood(theta - h)[1]) / 2e-5 for h in steps])
        np.testing.assert_allclose(likelihood.hessian(theta), bends, rtol=1e-6, atol=1e-4)


def test_cross_terms_have_their_value_and_derivatives() -> None:
    """A surrogate with c alpha_0 alpha_1 in the exponent multiplies the densities by its exponential."""
    problem, rng = Problem("linear", nuisances=3, size=500), np.random.default_rng(5)
    plain = problem.likelihood()
    events, *rest = plain.tables
    cross = rng.normal(0, 0.1, (2, problem.size))
    crossed = replace(events.responses, pairs=np.array([[0, 0, 1], [1, 1, 2]]), cross=cross)
    simulation = tuple(replace(s, responses=replace(s.responses, pairs=crossed.pairs[crossed.pairs[:, 0] == s.process],
                                                    cross=cross[crossed.pairs[:, 0] == s.process]))
                       for s in events.simulation)  # fmt: skip
    likelihood = replace(plain, tables=(replace(events, responses=crossed, simulation=simulation), *rest))
    theta = np.array([1.2, 0.7, -1.3, 0.4])
    bare = replace(events, simulation=())
    before, after = (t.point(plain.rates.multiply(theta), theta[1:]) for t in (bare, replace(bare, responses=crossed)))
    np.testing.assert_allclose(after.components[0], before.components[0] * np.exp(-0.7 * 1.3 * cross[0]))
    steps = 1e-5 * np.eye(4)
    slope = np.array([(likelihood(theta + h)[0] - likelihood(theta - h)[0]) / 2e-5 for h in steps])
    np.testing.assert_allclose(likelihood(theta)[1], slope, rtol=1e-6, atol=1e-5)
    bends = np.array([(likelihood(theta + h)[1] - likelihood(theta - h)[1]) / 2e-5 for h in steps])
    np.testing.assert_allclose(likelihood.hessian(theta), bends, rtol=1e-6, atol=1e-5)


def expected_yields(nu: tuple[float, float]) -> float:
    """An exponent that is quadratic in both, with a cross term."""
    a, b = nu
    return float(900 * np.exp(0.1 * a - 0.05 * b + 0.02 * a**2 - 0.03 * b**2 + 0.08 * a * b))


def test_cross_terms_of_yields_and_bins_are_read_off_one_point() -> None:
    """Totals and bins at any nu are those that the same exponent gives, wherever the point is, and derivatives are those of the sum."""
    sides = {
        f"background.{n}.{s}": shifted.GRID[2 * k + j]
        for k, n in enumerate(shifted.NAMES)
        for j, s in enumerate(("up", "down"))
    }
    x = shifted.drawn(np.random.default_rng(6), (0.0, 0.0), 400)
    for corner in ((1.0, 1.0), (-1.0, 2.0)):
        cross = replace(shifted.CROSS, at=corner)
        points = {"background": (0, 0), **sides, cross.ratio: corner}
        ratios = {**shifted.ratios(x), cross.ratio: x @ shifted.mean(*corner)}
        yields = {"signal": 100.0, **{name: expected_yields(nu) for name, nu in points.items()}}
        simulation = Dataset.of(
            np.tile(x, (2, 1)),
            {n: np.tile(v, 2) for n, v in ratios.items()},
            samples={"signal": 400, "background": 400},
            yields=yields,
        )
        bins = {
            "signal": np.full(3, 10.0),
            **{name: np.array([0.2, 0.3, 0.5]) * expected_yields(nu) for name, nu in points.items()},
        }
        builder = Builder.of(shifted.MODEL, shifted.SHAPES, [cross])
        likelihood = builder.likelihood(Dataset.of(x, ratios), simulation, [Counts("low", bins)])
        nu = (1.2, -1.3)
        theta = np.array([1.5, *nu])
        np.testing.assert_allclose(likelihood.expected(theta), [150, expected_yields(nu)])
        np.testing.assert_allclose(likelihood.counts(theta)[0], 15 + np.array([0.2, 0.3, 0.5]) * expected_yields(nu))
        steps = 1e-5 * np.eye(3)
        slope = np.array([(likelihood(theta + h)[0] - likelihood(theta - h)[0]) / 2e-5 for h in steps])
        np.testing.assert_allclose(likelihood(theta)[1], slope, rtol=1e-6, atol=1e-4)
        bends = np.array([(likelihood(theta + h)[1] - likelihood(theta - h)[1]) / 2e-5 for h in steps])
        np.testing.assert_allclose(likelihood.hessian(theta), bends, rtol=1e-6, atol=1e-4)


def test_rows_without_positive_density_are_floored_and_counted() -> None:
    problem = Problem("interference", nuisances=1, size=2000)
    likelihood = problem.likelihood()
    assert likelihood.floored(likelihood.rates.start) == 0
    events, *rest = likelihood.tables
    negative = replace(events, y=np.where(np.arange(problem.size) < 7, -events.y, events.y))
    broken = replace(likelihood, tables=(negative, *rest))
    assert broken.floored(likelihood.rates.start) == 7
    assert np.isfinite(broken(likelihood.rates.start)[0])
    assert np.isfinite(broken(likelihood.rates.start)[1]).all()


@pytest.mark.parametrize("kind", CONSTRAINED)
def test_constraint_is_the_likelihood_of_its_auxiliary_measurement(kind: str) -> None:
    from scipy import stats

    from needle_parsl.nsbi.statistics.model.constraints import Constraints

    constraints = Constraints.build(Model({"mu": Parameter()}, {"s": "mu"}, {"n": CONSTRAINED[kind]}))
    seen = replace(constraints, auxiliary=np.array([{"gauss": 0.4, "poisson": 31.0}[kind]]))

    def exact(alpha: float) -> float:
        if kind == "poisson":
            return -float(stats.poisson.logpmf(31, 25 * (1 + alpha / 5)))
        return -float(stats.norm.logpdf(0.4, alpha, 1))

    values = [seen(np.array([a]))[0] for a in (0.5, 1.3)]
    assert values[0] - values[1] == pytest.approx(exact(0.5) - exact(1.3), abs=1e-9)
    value, first, second = seen(np.array([0.8]))
    assert value >= 0
    ends = [seen(np.array([0.8 + h])) for h in (1e-6, -1e-6)]
    assert first[0] == pytest.approx((ends[0][0] - ends[1][0]) / 2e-6, abs=1e-6)
    assert second[0] == pytest.approx((ends[0][1][0] - ends[1][1][0]) / 2e-6, abs=1e-5)
    nominal = constraints.nominal()
    assert constraints(nominal)[0] == pytest.approx(0, abs=1e-9)
    assert constraints(nominal)[1][0] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("kind", CONSTRAINED)
def test_auxiliary_measurements_are_thrown_around_the_truth(kind: str) -> None:
    from needle_parsl.nsbi.statistics.model.constraints import Constraints

    constraints = Constraints.build(Model({"mu": Parameter()}, {"s": "mu"}, {"n": CONSTRAINED[kind]}))
    alpha, rng = np.array([1.5]), np.random.default_rng(6)
    thrown = np.array([constraints.throw(alpha, rng).auxiliary[0] for _ in range(4000)])
    expected, width = constraints.expected(alpha)[0], {"gauss": 1.0, "poisson": np.sqrt(32.5)}[kind]
    assert abs(thrown.mean() - expected) < 5 * width / np.sqrt(4000)
    assert thrown.std() == pytest.approx(width, rel=0.06)


def test_lognormal_parameter_is_fitted_as_its_logarithm() -> None:
    """Nominal 1 is the nominal yield, exp(sigma) that of the variation, and the constraint is that of ln alpha around 0."""
    model = Model(
        {"mu": Parameter()},
        {"s": "mu"},
        {"n": Nuisance(rate={"s": (1.3, 0.8)}, constraint="lognormal", sigma=0.5, bounds=(0.0, 2.0))},
    )
    rates = Rates.build(model)
    assert rates.outward(rates.start).tolist() == [1.0, 1.0]
    assert rates.limits()[1] == pytest.approx((-5.0, np.log(2.0) / 0.5))
    assert rates.bounds[1] == pytest.approx((np.exp(-2.5), 2.0))
    likelihood = Builder.of(model, []).joint({}, [Counts("r", {"s": np.array([40.0])})])
    for alpha, gain in ((1.0, 1.0), (np.exp(0.5), 1.3), (np.exp(-0.5), 0.8)):
        theta = rates.at({"n": float(alpha)})
        assert rates.out("n", theta[1]) == pytest.approx(alpha)
        assert likelihood.counts(theta)[0][0] == pytest.approx(40 * gain)
        assert likelihood.constraints(theta[1:])[0] == pytest.approx(0.5 * (np.log(alpha) / 0.5) ** 2)
        step = rates.out("n", theta[1] + 1e-6) - rates.out("n", theta[1] - 1e-6)
        assert rates.stretch(theta)[1] == pytest.approx(step / 2e-6)
    assert not rates.is_wall("n", rates.limits()[1][1])
    assert rates.is_wall("n", -5.0)


def region(
    rng: np.random.Generator, means: tuple[float, float], yields: tuple[float, float]
) -> tuple[Dataset, Dataset]:
    """Gaussian events in a feature of this region alone; `scale` moves background and its rate. Exact ratios over the background."""
    s, b = means
    number = [rng.poisson(nu) for nu in yields]
    x = np.concatenate([rng.normal(mean, 1, n) for mean, n in zip(means, number, strict=True)])
    simulated = np.concatenate([rng.normal(mean, 1, 4000) for mean in means])

    def ratios(x: np.ndarray) -> dict[str, np.ndarray]:
        shifted = {side: 0.1 * sign * (x - b) - 0.005 for side, sign in (("up", 1), ("down", -1))}
        return {"s": (s - b) * x - (s**2 - b**2) / 2, **{f"b.scale.{side}": value for side, value in shifted.items()}}

    expected = {"s": yields[0], "b": yields[1], "b.scale.up": 1.03 * yields[1], "b.scale.down": 0.98 * yields[1]}
    return Dataset.of(x, ratios(x)), Dataset.of(
        simulated, ratios(simulated), samples={"s": 4000, "b": 4000}, yields=expected
    )


def test_regions_with_features_of_their_own_are_fitted_together() -> None:
    """-ln L is the sum of those of the regions, with the common constraint once; a toy of some events is that of these events."""
    rng = np.random.default_rng(3)
    model = Model({"mu": Parameter(1.0, (0.0, 5.0))}, {"s": "mu", "b": "1"}, {"scale": Nuisance()})
    builder = Builder.of(model, [Shape("b", "scale", "b.scale.up", "b.scale.down", "")])
    regions = {"ggf": region(rng, (1.0, 0.0), (200.0, 1000.0)), "vbf": region(rng, (0.0, -2.0), (60.0, 150.0))}
    both, alone = builder.joint(regions), [builder.likelihood(*events) for events in regions.values()]
    for theta in rng.normal([1.0, 0.0], [0.2, 1.0], (5, 2)):
        constraint, slope, bend = builder.constraints(theta[1:])
        found = [likelihood(theta) for likelihood in alone]
        assert both(theta)[0] == pytest.approx(found[0][0] + found[1][0] - constraint, rel=1e-12)
        assert both(theta)[1] == pytest.approx(found[0][1] + found[1][1] - [0, *slope], rel=1e-9)
        hessian = sum(likelihood.hessian(theta) for likelihood in alone) - np.diag([0, *bend])
        assert both.hessian(theta) == pytest.approx(hessian, rel=1e-9)
        assert both.expected(theta) == pytest.approx(sum(likelihood.expected(theta) for likelihood in alone))
    fits = [minimise(likelihood, likelihood.rates) for likelihood in (both, *alone)]
    assert all(fit.converged for fit in fits)
    assert fits[0].error("mu") < min(fit.error("mu") for fit in fits[1:])
    assert abs(fits[0].value("mu") - 1) < 3 * fits[0].error("mu")
    assert set(both.normalisations(theta)) == {"ggf: s", "ggf: b", "vbf: s", "vbf: b"}
    sizes = [len(data.weight) for data, _ in regions.values()]
    taken = both.take(np.array([0, 5, 5, sizes[0] - 1, sizes[0], sum(sizes) - 1]), builder.constraints)
    own = [likelihood.take(rows, builder.constraints) for likelihood, rows in zip(alone, (np.array([0, 5, 5, sizes[0] - 1]), np.array([0, sizes[1] - 1])), strict=True)]  # fmt: skip
    assert taken(theta)[0] == pytest.approx(own[0](theta)[0] + own[1](theta)[0] - builder.constraints(theta[1:])[0])
