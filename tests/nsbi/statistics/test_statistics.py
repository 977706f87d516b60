"""Likelihood, fits and intervals, against pyhf, differences and analytic answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from problems.likelihoods import SHAPES, TABLE, YIELDS, build, counting, simulated
from scipy import optimize, stats

from needle_parsl.analysis import WALL, Model, Nuisance, Parameter, Scan
from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics import dataset
from needle_parsl.nsbi.statistics.fits import descent, fitting
from needle_parsl.nsbi.statistics.fits.ensemble_error import simulation_errors
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.intervals import profile
from needle_parsl.nsbi.statistics.model import Rates
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.model.interpolation import FLOOR, INTERPOLATIONS, Curve
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood

RNG = np.random.default_rng(7)
UP, DOWN = RNG.uniform(0.3, 3, 50), RNG.uniform(0.3, 3, 50)


def curve(name: str, alpha: float, up: np.ndarray = UP, down: np.ndarray = DOWN) -> Curve:
    logs = (np.log(np.maximum(side, FLOOR))[None] for side in (up, down))
    return Curve(*(part[0] for part in INTERPOLATIONS[name](np.array([[alpha]]), *logs)))


@pytest.mark.parametrize(("name", "theirs"), [("poly6_exp", "code4"), ("code4", "code4"), ("code1", "code1")])
@pytest.mark.parametrize("alpha", [-3.0, -1.0, -0.7, 0.0, 0.2, 1.0, 2.5])
def test_interpolation_equals_that_of_pyhf(name: str, theirs: str, alpha: float) -> None:
    import pyhf.interpolators

    histograms = [[[list(DOWN), [1.0] * 50, list(UP)]]]
    expected = np.asarray(getattr(pyhf.interpolators, theirs)(histograms)(np.array([[alpha]]))).ravel()
    np.testing.assert_allclose(curve(name, alpha).value, expected, rtol=1e-12)


@pytest.mark.parametrize(("name", "theirs"), [("linear", "code0"), ("code4p", "code4p")])
@pytest.mark.parametrize("alpha", [-3.0, -1.0, -0.7, 0.0, 0.2, 1.0, 2.5])
def test_additive_interpolation_is_that_of_pyhf_until_it_is_floored(name: str, theirs: str, alpha: float) -> None:
    import pyhf.interpolators

    histograms = [[[list(DOWN), [1.0] * 50, list(UP)]]]
    added = np.asarray(getattr(pyhf.interpolators, theirs)(histograms)(np.array([[alpha]]))).ravel()
    np.testing.assert_allclose(curve(name, alpha).value, np.maximum(1 + added, FLOOR), rtol=1e-12)


@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_interpolation_meets_its_variations_and_has_its_derivatives(name: str) -> None:
    h = 1e-6
    np.testing.assert_allclose(curve(name, 0.0).value, 1)
    np.testing.assert_allclose(curve(name, 1.0).value, UP)
    np.testing.assert_allclose(curve(name, -1.0).value, DOWN)
    for alpha in (-2.0, -0.3, 0.4, 1.7):
        ends = [curve(name, alpha + side) for side in (h, -h)]
        np.testing.assert_allclose(curve(name, alpha).slope, np.log(ends[0].value / ends[1].value) / (2 * h), rtol=1e-6, atol=1e-7)  # fmt: skip
        np.testing.assert_allclose(curve(name, alpha).bend, (ends[0].slope - ends[1].slope) / (2 * h), rtol=1e-5, atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_polynomial_goes_over_into_the_exponential_with_two_derivatives(side: float) -> None:
    for inside, outside in zip(curve("poly6_exp", side * (1 - 1e-12)), curve("poly6_exp", side), strict=True):
        np.testing.assert_allclose(inside, outside, rtol=1e-9, atol=1e-9)


def test_interpolation_floors_what_has_no_logarithm() -> None:
    found = curve("poly6_exp", 2.0, np.array([0.0]), np.array([1.0]))
    assert found.value[0] == pytest.approx(FLOOR**2)
    assert np.isfinite(found.slope).all()


# --- a model with everything: two parameters, two shape nuisances (one of them one-sided), one rate nuisance


def naive(data: dataset.Dataset, simulation: dataset.Dataset, theta: np.ndarray) -> float:
    """-ln L of METHOD 7, event by event, straight from the formula."""
    mu, k, jes, jer, lumi = theta
    f = {"s": mu, "b": k, "i": 0.3 * mu * k + 0.1}

    def response(up, down, alpha):
        return float(curve("poly6_exp", alpha, np.array([up]), np.array([down])).value[0])

    def g(process, ratios, e):
        value = 1.0
        if process in "sb":
            value *= response(math.exp(ratios[f"{process}.jes.up"][e]), math.exp(ratios[f"{process}.jes.down"][e]), jes)
        if process == "s":
            value *= response(math.exp(ratios["s.jer.up"][e]), math.exp(-ratios["s.jer.up"][e]), jer)
        return value

    gain = {"s": response(1.05, 0.95, jes) * response(81 / 80, 80 / 81, jer) * response(1.03, 0.97, lumi),
            "b": response(1.05, 0.975, jes) * response(1.02, 0.98, lumi), "i": 1.0}  # fmt: skip
    z = {}
    for place, process in enumerate(simulation.samples):
        own = [e for e in range(len(simulation.weight)) if simulation.sample[e] == place]
        total = sum(simulation.weight[e] for e in own)
        z[process] = sum(simulation.weight[e] * g(process, simulation.ratios, e) for e in own) / total
    nu = {p: f[p] * YIELDS[p] * gain[p] for p in f}
    value = sum(nu.values()) + 0.5 * (jes**2 + jer**2 + lumi**2)
    for e, w in enumerate(data.weight):
        r = {"s": math.exp(data.ratios["s"][e]), "b": 1.0, "i": math.exp(data.ratios["i"][e])}
        value -= w * math.log(sum(nu[p] / z[p] * r[p] * g(p, data.ratios, e) for p in f))
    return value


POINTS = [np.array([1.0, 1.0, 0, 0, 0]), np.array([0.4, 1.5, 0.7, -0.5, 0.3]), np.array([2.0, 0.8, -1.8, 1.4, -2.2])]


@pytest.mark.parametrize("theta", POINTS)
def test_likelihood_is_the_formula(theta: np.ndarray) -> None:
    simulation = simulated()
    likelihood = Builder.of(TABLE, SHAPES).likelihood(simulation, simulation)
    assert likelihood(theta)[0] == pytest.approx(naive(simulation, simulation, theta), rel=1e-11)


@pytest.mark.parametrize("theta", POINTS)
def test_gradient_agrees_with_differences(theta: np.ndarray) -> None:
    likelihood = build()
    numeric = optimize.approx_fprime(theta + 1e-9, lambda t: likelihood(t)[0], 1e-6)
    np.testing.assert_allclose(likelihood(theta)[1], numeric, atol=2e-3, rtol=1e-5)


@pytest.mark.parametrize("alpha", [(0.0, 0.0), (1.5, -2.0), (-3.0, 3.0)])
def test_renormalisation_keeps_the_density_normalised(alpha: tuple[float, float]) -> None:
    """Of one process whose own events are the data, lambda averages to the yield, wherever the nuisances are."""
    table = Model({"mu": Parameter()}, {"s": "mu"}, {"jes": Nuisance(), "jer": Nuisance()})
    shapes = tuple(shape for shape in SHAPES if shape.process == "s")
    data = simulated()
    own = data.sample == 0
    events = dataset.Dataset(x=data.x[own], weight=data.weight[own], sample=np.zeros(own.sum(), int), samples=("s",), ratios={k: v[own] for k, v in data.ratios.items()} | {"s": np.zeros(own.sum())}, yields=YIELDS)  # fmt: skip
    likelihood = Builder.of(table, shapes).likelihood(events, events)
    theta = np.array([1.0, *alpha])
    density = likelihood.densities(theta)
    assert np.average(density, weights=events.weight) == pytest.approx(likelihood.expected(theta).sum())
    assert density.std() > 0 or alpha == (0.0, 0.0)


def test_without_renormalisation_the_response_is_not_normalised() -> None:
    """So that the test above is not trivially true."""
    simulation = build().tables[0].simulation[0]
    assert abs(simulation(np.array([-3.0, 3.0, 0.0])).value - 1) > 0.01


def test_a_stated_rate_wins_over_the_variations_yields() -> None:
    table = Model(TABLE.parameters, TABLE.processes, {**TABLE.nuisances, "jes": Nuisance(rate={"b": (1.5, 0.5)})})
    data = simulated()
    likelihood = Builder.of(table, SHAPES).likelihood(data, data)
    expected = likelihood.expected(np.array([1, 1, 1.0, 0, 0]))
    np.testing.assert_allclose(expected, [84, 400 * 1.5, 20.0 * 0.4])


# --- fits with analytic answers: one process without shape is a counting experiment


def fit(likelihood: Likelihood) -> Result:
    return fitting.minimise(likelihood, likelihood.rates)


def test_counting_experiment_has_its_analytic_estimate_and_error() -> None:
    found = fit(counting(80))
    assert found.converged
    assert found.values[0] == pytest.approx((80 - 50) / 20, abs=1e-4)
    assert math.sqrt(found.covariance[0, 0]) == pytest.approx(math.sqrt(80) / 20, rel=1e-3)
    assert found.nll == pytest.approx(80 - 80 * math.log(80), abs=1e-6)


def test_counting_interval_agrees_with_root_finding() -> None:
    likelihood = counting(80)
    scan = profile.scan(likelihood, fit(likelihood), "mu", None, [0.68, 0.95])

    def t(mu: float) -> float:
        nu = 50 + 20 * mu
        return 2 * (nu - 80 * math.log(nu) - 80 + 80 * math.log(80))

    def above(mu: float, height: float) -> float:
        return t(mu) - height

    for level in (0.68, 0.95):
        height = stats.chi2.ppf(level, 1)
        low, high = (optimize.brentq(above, *ends, args=(height,)) for ends in ((0, 1.5), (1.5, 5)))
        ((left, right),) = scan.intervals[f"{level:g}"]
        assert (left, right) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert all(point.t == pytest.approx(t(point.value), abs=1e-5) for point in scan.points)
    assert scan.open == ()


def test_profile_widens_by_the_systematic_error() -> None:
    """A rate uncertainty adds in quadrature, to first order: sigma^2 = n / s^2 + (sigma b / s)^2."""
    found = fit(counting(7000, b=5000, s=2000, sigma=0.02))
    assert math.sqrt(found.covariance[0, 0]) == pytest.approx(math.sqrt(7000 / 2000**2 + (0.02 * 2.5) ** 2), rel=0.02)


def test_at_a_bound_the_error_is_null_and_the_interval_begins_there() -> None:
    likelihood = counting(40)
    found = fit(likelihood)
    record = found.record(0, {})
    assert record.at_bound == ("mu",)
    assert record.parameters["mu"].error is None
    scan = profile.scan(likelihood, found, "mu", None, [0.95])
    assert scan.intervals["0.95"][0][0] == 0
    assert scan.open == ()


def test_nuisance_on_its_wall_is_at_a_minimum_and_named() -> None:
    """What slope is left leads out of the bounds: the fit has converged, and the check of fits fails by the wall."""
    found = fit(counting(5000, sigma=0.01, bounds=(0.9, 1.1)))
    assert abs(found.values[1]) > 0.99 * WALL
    assert found.converged
    assert found.record(0, {}).on_wall == ("bkg",)


@pytest.mark.parametrize(("start", "stop"), [(1.4, 1.6), (0.1, 0.4), (3.0, 4.0)])
def test_range_that_does_not_hold_the_interval_is_extended(start: float, stop: float) -> None:
    likelihood = counting(80)
    scan = profile.scan(likelihood, fit(likelihood), "mu", Scan(start, stop, 11), [0.68])
    wide = profile.scan(likelihood, fit(likelihood), "mu", None, [0.68])
    assert scan.open == ()
    np.testing.assert_allclose(scan.intervals["0.68"], wide.intervals["0.68"], atol=1e-3)


def test_automatic_range_grows_until_the_level_is_reached() -> None:
    likelihood = counting(80, bounds=(0.0, 50.0))
    scan = profile.scan(likelihood, fit(likelihood), "mu", None, [0.99999])
    assert scan.points[-1].t > stats.chi2.ppf(0.99999, 1)


def test_disjoint_pieces_are_found() -> None:
    grid = np.linspace(-2, 2, 81)
    pieces = profile.below(grid, 10 * (grid**2 - 1) ** 2, float(stats.chi2.ppf(0.68, 1)))
    assert len(pieces) == 2
    edge = math.sqrt(1 + math.sqrt(stats.chi2.ppf(0.68, 1) / 10))
    assert pieces[1][1] == pytest.approx(edge, abs=1e-3)


@pytest.mark.slow
def test_gradient_and_differences_find_the_same_minimum() -> None:
    likelihood = build()
    exact = fitting.minimise(likelihood, likelihood.rates)
    numeric = fitting.minimise(lambda t: (likelihood(t)[0], None), likelihood.rates)
    assert exact.converged
    np.testing.assert_allclose(exact.values, numeric.values, atol=2e-3)
    assert exact.nll <= numeric.nll + 1e-5


def test_asimov_fit_returns_its_truth() -> None:
    """Events of one process with exact ratios: the estimate is the truth, whatever the nuisances could do."""
    n = 4000
    x = np.concatenate([RNG.normal(1, 1, n), RNG.normal(0, 1, n)])
    ratios = {"s": x - 0.5, "b.up": 0.2 * x - 0.02, "b.down": -0.2 * x - 0.02}
    yields = {"s": 100.0, "b": 500.0, "b.up": 520.0, "b.down": 480.0}
    # weights that make the sample's own moments agree with the densities are not there: a tolerance of its statistics
    weight = np.repeat([100 / n, 500 / n], n)
    data = dataset.Dataset(
        x=x[:, None].astype(np.float32),
        weight=weight,
        sample=np.repeat([0, 1], n),
        samples=("s", "b"),
        ratios=ratios,
        yields=yields,
    )
    table = Model({"mu": Parameter(1.0, (0.0, 5.0))}, {"s": "mu", "b": "1"}, {"jes": Nuisance()})
    shapes = (Shape("b", "jes", "b.up", "b.down", ""),)
    found = fit(Builder.of(table, shapes).likelihood(data, data))
    error = math.sqrt(found.covariance[0, 0])
    assert found.converged
    assert abs(found.values[0] - 1) < 4 * error * math.sqrt(600 / n)


def test_dataset_reads_back(tmp_path) -> None:
    data = simulated(20)
    dataset.write(tmp_path / "d.h5", data)
    found = dataset.read(tmp_path / "d.h5")
    assert found.samples == data.samples
    assert found.yields == data.yields
    np.testing.assert_array_equal(found.sample, data.sample)
    for name, values in data.ratios.items():
        np.testing.assert_array_equal(found.ratios[name], values)


@pytest.mark.slow
@pytest.mark.parametrize("nuisances", [{}, {"jes": Nuisance()}], ids=["statistics only", "with a shape"])
def test_finite_simulation_scatters_as_estimated(nuisances: dict[str, Nuisance]) -> None:
    """Asimov data sets of 300 independent simulations scatter around the truth by the estimated errors."""
    table = Model({"mu": Parameter(1.0, (0.0, 5.0))}, {"s": "mu", "b": "1"}, nuisances)
    yields = {"s": 100.0, "b": 500.0, "b.up": 500.0, "b.down": 500.0}
    shapes = tuple(Shape("b", name, "b.up", "b.down", "") for name in nuisances)
    values, estimates = [], []
    for replica in range(300):
        x = np.random.default_rng(replica).normal(np.repeat([1.0, 0.0], 400), 1)
        sample = np.repeat([0, 1], 400)
        ratios = {"s": x - 0.5, "b.up": 0.3 * x - 0.045, "b.down": -0.3 * x - 0.045}
        data = dataset.Dataset(
            x=x[:, None],
            weight=np.repeat([100 / 400, 500 / 400], 400),
            sample=sample,
            samples=("s", "b"),
            ratios=ratios,
            yields=yields,
        )
        likelihood = Builder.of(table, shapes).likelihood(data, data)
        found = fit(likelihood)
        values.append(found.values)
        estimates.append(simulation_errors(likelihood, found.theta, found.theta_covariance, sample))
    # the standard deviation of 300 values is known to 4 %, and the estimate is of first order
    np.testing.assert_allclose(np.std(values, axis=0), np.mean(estimates, axis=0), rtol=4 * 0.04)


@pytest.mark.parametrize(("nominal", "multiplier"), [(1.0, "mu"), (2.5, "mu"), (0.5, "3 * mu"), (1.0, "mu**2 + 0.5")])
def test_asimov_data_is_made_at_the_nominal_parameters(nominal: float, multiplier: str) -> None:
    """With exact ratios, the fit returns the nominal value, whatever it and the multiplier are."""
    n = 3000
    x = np.concatenate([np.random.default_rng(1).normal(1, 1, n), np.random.default_rng(2).normal(0, 1, n)])
    table = Model({"mu": Parameter(nominal, (0.0, 8.0))}, {"s": multiplier, "b": "1"}, {})
    yields = {"s": 100.0, "b": 500.0}
    simulation = dataset.Dataset(x=x[:, None], weight=np.repeat([100 / n, 500 / n], n), sample=np.repeat([0, 1], n), samples=("s", "b"), ratios={"s": x - 0.5}, yields=yields)  # fmt: skip
    rates = Rates.build(table)
    data = dataset.at(simulation, dict(zip(rates.processes, rates.factors(rates.start)[0], strict=True)))
    likelihood = Builder.of(table, ()).likelihood(data, simulation)
    found = fit(likelihood)
    error = simulation_errors(likelihood, found.theta, found.theta_covariance, data.sample)[0]
    assert abs(found.values[0] - nominal) < 4 * error
    assert error < 0.3 * math.sqrt(found.covariance[0, 0])


@pytest.mark.parametrize("points", [5, 7, 13, 60])
def test_a_coarse_scan_gives_the_same_interval(points: int) -> None:
    likelihood = counting(80)
    best = fit(likelihood)
    fine = profile.scan(likelihood, best, "mu", None, [0.68, 0.95]).intervals
    coarse = profile.scan(likelihood, best, "mu", Scan(0.0, 5.0, points), [0.68, 0.95]).intervals
    for level in fine:
        np.testing.assert_allclose(coarse[level], fine[level], atol=2e-4)


def test_interval_that_ends_at_a_lost_point_is_open() -> None:
    points = [profile.ProfiledPoint(x, (x - 1) ** 2, x < 1.3, np.array([x])) for x in np.linspace(0, 2, 21)]
    scan = {p.value: p for p in points}
    best = Result(rates=counting(80).rates, converged=True, nll=0.0, theta=np.ones(1), theta_covariance=np.eye(1))
    found = profile.scan(
        lambda t: (float((t[0] - 1) ** 2) if t[0] < 1.3 else math.nan, np.array([2 * (t[0] - 1)])),
        best, "mu", Scan(0.0, 2.0, 21), [0.95],
    )  # fmt: skip
    assert len(scan) == 21
    assert found.open == ("0.95",)


def test_multiplier_without_a_slope_at_the_bound_can_be_scanned() -> None:
    table = Model({"mu": Parameter(1.0, (0.0, 5.0))}, {"s": "mu - mu**0.5 + 1", "b": "1"}, {})
    rates = Rates.build(table)
    f, slopes = rates.factors(np.array([0.0]))
    assert f.tolist() == [1.0, 1.0]
    assert slopes.tolist() == [[-1.0, 0.0]]  # in s = sqrt(mu)


@pytest.mark.parametrize("theta", POINTS)
def test_hessian_agrees_with_differences_of_the_gradient(theta: np.ndarray) -> None:
    likelihood = build()
    steps = 1e-5 * np.eye(len(theta))
    numeric = np.array([(likelihood(theta + h)[1] - likelihood(theta - h)[1]) / 2e-5 for h in steps])
    np.testing.assert_allclose(likelihood.hessian(theta), numeric, rtol=1e-6, atol=1e-5)


def test_minos_of_a_counting_experiment_is_its_analytic_interval() -> None:
    """-ln L is 1/2 above its minimum at the two roots of nu - n ln nu = n - n ln n + 1/2."""
    likelihood = counting(80)
    found = fitting.minimise(likelihood, likelihood.rates, minos=["mu"])

    def excess(mu: float) -> float:
        nu = 50 + 20 * mu
        return nu - 80 * math.log(nu) - 80 + 80 * math.log(80) - 0.5

    expected = [optimize.brentq(excess, *ends) for ends in ((0, 1.5), (1.5, 5))]
    np.testing.assert_allclose(found.minos["mu"], expected, atol=2e-3)
    assert found.record(0, {}).parameters["mu"].minos == found.minos["mu"]


def test_minos_ends_at_the_bound_and_is_null_on_it() -> None:
    near = counting(53)  # one standard error below the best fit there is nothing
    assert fitting.minimise(near, near.rates, minos=["mu"]).minos["mu"][0] == 0.0
    on = counting(40)
    assert fitting.minimise(on, on.rates, minos=["mu"]).minos == {}


def test_statistical_error_leaves_the_systematic_one_out() -> None:
    found = fit(counting(7000, b=5000, s=2000, sigma=0.02))
    assert found.statistical_errors()["mu"] == pytest.approx(math.sqrt(7000) / 2000, rel=1e-3)
    assert found.error("mu") == pytest.approx(math.sqrt(7000 / 2000**2 + (0.02 * 2.5) ** 2), rel=0.02)


def test_scan_of_statistics_alone_is_the_narrower_one() -> None:
    likelihood = counting(7000, b=5000, s=2000, sigma=0.02)
    best = fit(likelihood)
    alone, whole = (
        profile.scan(likelihood, best, "mu", None, [0.68], held).intervals["0.68"][0]
        for held in (best.nuisances(), None)
    )
    need = math.sqrt(stats.chi2.ppf(0.68, 1))
    assert (alone[1] - alone[0]) / 2 == pytest.approx(need * math.sqrt(7000) / 2000, rel=0.01)
    assert whole[1] - whole[0] > 1.3 * (alone[1] - alone[0])


def interfering(mu: float, mean: float = 1.0, n: int = 20_000) -> tuple[Likelihood, np.ndarray]:
    """S around a mean, SBI and B with exact ratios over Asimov data at mu, in one feature; and its density."""
    x = np.linspace(-6, 7, n)
    s, b = 60 * stats.norm.pdf(x, mean, 1), 300 * stats.norm.pdf(x, 0, 1)
    sbi = s + b - 0.8 * np.sqrt(s * b)
    step = x[1] - x[0]
    yields = {"s": 60.0, "sbi": float(sbi.sum() * step), "b": 300.0}
    ratios = {"s": np.log(s / 60 / (b / 300)), "sbi": np.log(sbi / yields["sbi"] / (b / 300))}
    root = math.sqrt(mu)
    density = (mu - root) * s + root * sbi + (1 - root) * b
    data = dataset.Dataset(
        x=x[:, None], weight=density * step, sample=np.full(n, -1), samples=(), ratios=ratios, yields=yields
    )
    simulation = dataset.Dataset(x=np.zeros((3, 1)), weight=np.ones(3), sample=np.arange(3), samples=("s", "sbi", "b"),
                                 ratios={"s": np.zeros(3), "sbi": np.zeros(3)}, yields=yields)  # fmt: skip
    table = Model({"mu": Parameter(1.0, (0.0, 5.0))}, {"s": "mu - sqrt(mu)", "sbi": "sqrt(mu)", "b": "1 - sqrt(mu)"})
    return Builder.of(table, ()).likelihood(data, simulation), density


@pytest.mark.slow
@pytest.mark.parametrize("mu", [0.0, 0.1, 0.5, 1.0, 3.0])
def test_interference_is_fitted_in_the_root_and_reported_in_mu(mu: float) -> None:
    likelihood, _ = interfering(mu)
    found = fit(likelihood)
    assert found.converged
    assert found.value("mu") == pytest.approx(mu, abs=2e-3)
    assert ("mu" in found.at_bound) == (mu == 0)
    grid = np.linspace(0, 5, 501)
    brute = min(likelihood(likelihood.rates.at({"mu": value}))[0] for value in grid)
    assert found.nll <= brute + 1e-6
    if mu:
        numeric = optimize.approx_fprime(
            [mu],
            lambda m: optimize.approx_fprime(m, lambda k: likelihood(likelihood.rates.at({"mu": k[0]}))[0], 1e-4),
            1e-4,
        )
        assert found.error("mu") == pytest.approx(1 / math.sqrt(float(np.squeeze(numeric))), rel=0.05)


def test_several_starts_find_the_deeper_of_two_minima() -> None:
    """Between s = 0 and the far minimum lies a hill: from the far side alone, the fit stays there."""
    likelihood, _ = interfering(0.1, mean=0.3)
    far = likelihood.rates.at({"mu": 1.0})
    lonely = descent.descend(likelihood, likelihood.rates, far, np.array([True]))
    found = fitting.minimise(likelihood, likelihood.rates, start=far)
    assert found.value("mu") == pytest.approx(0.1, abs=2e-3)
    assert lonely.minuit.fval > found.nll + 0.1


@pytest.mark.parametrize("unit", [1.0, 100.0, 1000.0])
def test_interval_does_not_depend_on_the_unit_of_the_parameter(unit: float) -> None:
    """A held parameter must not lend its curvature to the others."""
    n = 4000
    x = np.concatenate([np.random.default_rng(1).normal(1, 1, n), np.random.default_rng(2).normal(0, 1, n)])
    ratios = {"s": x - 0.5, "s.up": 0.3 * x - 0.345, "s.down": -0.3 * x + 0.255}
    yields = {"s": 100.0, "b": 500.0, "s.up": 115.0, "s.down": 87.0}
    data = dataset.Dataset(
        x=x[:, None],
        weight=np.repeat([100 / n, 500 / n], n),
        sample=np.repeat([0, 1], n),
        samples=("s", "b"),
        ratios=ratios,
        yields=yields,
    )
    table = Model({"c": Parameter(0.0, (-1 / unit, 2 / unit))}, {"s": f"1 + {unit} * c", "b": "1"}, {"jes": Nuisance()})
    shapes = (Shape("s", "jes", "s.up", "s.down", ""),)
    likelihood = Builder.of(table, shapes).likelihood(data, data)
    ((low, high),) = profile.scan(likelihood, fit(likelihood), "c", None, [0.68]).intervals["0.68"]
    np.testing.assert_allclose(
        [low * unit, high * unit], UNITS.setdefault("interval", [low * unit, high * unit]), atol=2e-3
    )


UNITS: dict[str, list[float]] = {}
"""The interval in the first unit, times it."""


@pytest.mark.slow
def test_disjoint_interval_far_from_the_best_fit_is_found() -> None:
    """The scan goes on to where t comes down again, and the edges agree with those of a fine grid in s."""
    likelihood, _ = interfering(0.1, mean=0.2)
    found = profile.scan(likelihood, fit(likelihood), "mu", None, [0.68])
    need = stats.chi2.ppf(0.68, 1)
    s = np.linspace(0, math.sqrt(5), 4001)
    t = np.array([2 * likelihood(np.array([value]))[0] for value in s])
    below = t - t.min() <= need
    edges = s[1:][np.diff(below.astype(int)) != 0] ** 2
    expected = [*([0.0] if below[0] else []), *edges, *([5.0] if below[-1] else [])]
    assert [end for piece in found.intervals["0.68"] for end in piece] == pytest.approx(expected, abs=5e-3)
    assert len(found.intervals["0.68"]) == 2
    assert found.open == ()


def test_plane_of_two_parameters_is_the_profile() -> None:
    """Along the best value of the other parameter, t of the plane is at least that of the profile, and equal at its best."""
    from needle_parsl.analysis import Plane
    from needle_parsl.nsbi.statistics.intervals import planes

    likelihood = counting(7000, b=5000, s=2000, sigma=0.02)
    best = fit(likelihood)
    where = Plane(("mu", "bkg"), 15)
    strips = [planes.strip(likelihood, best, where, rows) for rows in ((0, 4), (4, 15))]
    found = planes.join(strips, [0.68])
    assert found == planes.join([planes.strip(likelihood, best, where, (0, 15))], [0.68])
    assert len(found.points) == 15 * 15
    assert all(point.converged for point in found.points)
    assert found.heights["0.68"] == pytest.approx(-2 * math.log(0.32))
    inverse = np.linalg.inv(best.covariance)
    for point in found.points[::7]:
        away = np.array([point.x, point.y]) - best.values
        assert point.t == pytest.approx(float(away @ inverse @ away), rel=0.1, abs=0.05)
