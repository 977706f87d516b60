"""Impacts, limits, weighted data, ensemble weights and degenerate parameters: against pyhf, formulae and replicas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Shape
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits import degeneracy, distributions, ensemble_error, impacts, weighted_data
from needle_parsl.nsbi.statistics.fits.distributions import RegionEvents
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.intervals import limits, profile
from needle_parsl.nsbi.statistics.model import reweighting
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood

SIGNAL, BACKGROUND = np.array([12.0, 11.0, 4.0]), np.array([50.0, 52.0, 30.0])
UP, DOWN = np.array([54.0, 50.0, 33.0]), np.array([46.0, 55.0, 28.0])
OBSERVED = np.array([60.0, 58.0, 37.0])


def binned(observed: np.ndarray | None = OBSERVED, interpolation: str = "code4p", bounds=(0.0, 10.0)) -> Likelihood:
    """A signal, a background with a shape nuisance, and a rate nuisance on the signal: pyhf can have it, too."""
    table = Model(
        {"mu": Parameter(1.0, bounds)},
        {"s": "mu", "b": "1"},
        {
            "shape": Nuisance(interpolation=interpolation),
            "norm": Nuisance(rate={"b": (1.1, 0.92)}),
            "eff": Nuisance(rate={"s": (1.05, 0.95)}),
        },
    )
    builder = Builder.of(table, [Shape("b", "shape", "b.up", "b.down", "")])
    expected = {"s": SIGNAL, "b": BACKGROUND, "b.up": UP, "b.down": DOWN}
    return Likelihood(builder.rates, (builder.binned(Counts("sr", expected, observed)),), builder.constraints)


def pyhf_model():
    import pyhf

    pyhf.set_backend("numpy", "minuit")
    modifiers = [
        {"name": "shape", "type": "histosys", "data": {"hi_data": UP.tolist(), "lo_data": DOWN.tolist()}},
        {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.92}},
    ]
    signal = [
        {"name": "mu", "type": "normfactor", "data": None},
        {"name": "eff", "type": "normsys", "data": {"hi": 1.05, "lo": 0.95}},
    ]
    model = pyhf.Model(
        {"channels": [{"name": "sr", "samples": [
            {"name": "s", "data": SIGNAL.tolist(), "modifiers": signal},
            {"name": "b", "data": BACKGROUND.tolist(), "modifiers": modifiers},
        ]}]}, poi_name="mu",
    )  # fmt: skip
    return pyhf, model


OLD = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated:DeprecationWarning")


@OLD
def test_nll_differences_equal_those_of_pyhf() -> None:
    _, model = pyhf_model()
    likelihood, rng = binned(), np.random.default_rng(1)
    data = [*OBSERVED, *model.config.auxdata]

    def theirs(theta: np.ndarray) -> float:
        values = dict(zip(likelihood.rates.parameters, theta, strict=True))
        return -float(np.ravel(model.logpdf([values[name] for name in model.config.par_order], data))[0])

    start = likelihood.rates.start
    for _ in range(30):
        theta = np.array([rng.uniform(0, 4), *rng.normal(0, 1.3, 3)])
        ours = likelihood(theta)[0] - likelihood(start)[0]
        assert ours == pytest.approx(theirs(theta) - theirs(start), abs=1e-6)


@OLD
def test_fit_equals_that_of_pyhf() -> None:
    pyhf, model = pyhf_model()
    best = minimise(binned(), binned().rates)
    data = [*OBSERVED, *model.config.auxdata]
    values, twice = pyhf.infer.mle.fit(data, model, return_fitted_val=True, tolerance=1e-8)
    theirs = dict(zip(model.config.par_order, values, strict=True))
    fixed = -float(np.ravel(model.logpdf([best.value(name) for name in model.config.par_order], data))[0])
    assert fixed <= float(twice) / 2 + 1e-6  # ours is at least as deep
    for name in best.parameters:
        assert best.value(name) == pytest.approx(theirs[name], abs=1e-3 * best.error(name))


@pytest.mark.slow
@OLD
@pytest.mark.parametrize("observed", [OBSERVED, BACKGROUND - 4], ids=["excess", "deficit"])
def test_limits_and_significance_equal_those_of_pyhf(observed: np.ndarray) -> None:
    pyhf, model = pyhf_model()
    data = [*observed, *model.config.auxdata]
    likelihood = binned(observed)
    test = limits.Test.of(likelihood, "mu")
    held = minimise(likelihood, likelihood.rates, fixed={"mu": 0.0})
    asimov = replace(binned(likelihood.counts(held.theta)[0]),
                     constraints=replace(likelihood.constraints, auxiliary=likelihood.constraints.expected(held.theta[1:])))  # fmt: skip
    found = limits.limits(test, limits.Test.of(asimov, "mu"), 0.0, 0.95, blind=False)
    theirs = float(pyhf.infer.hypotest(found.observed, data, model, test_stat="qtilde"))
    assert theirs == pytest.approx(0.05, abs=2e-4)
    for place, n in enumerate(limits.BANDS):
        at = found.expected[str(n)]
        bands = pyhf.infer.hypotest(at, data, model, test_stat="qtilde", return_expected_set=True)[1]
        assert float(bands[place]) == pytest.approx(0.05, abs=5e-4)
    p_value = float(pyhf.infer.hypotest(0.0, data, model, test_stat="q0"))
    assert found.discovery.p_value == pytest.approx(p_value, abs=2e-5)


def test_impacts_agree_where_theory_says_they_must() -> None:
    """With many events -ln L is a parabola: refit is the covariance's, observable is sigma_k times it."""
    many = 40.0
    table = Model({"mu": Parameter(1.0, (-5.0, 10.0))}, {"s": "mu", "b": "1"},
                  {"a": Nuisance(rate={"b": (1.04, 0.96)}), "c": Nuisance(rate={"s": (1.06, 0.94), "b": (0.97, 1.03)})})  # fmt: skip
    builder = Builder.of(table, ())
    region = builder.binned(Counts("sr", {"s": many * SIGNAL, "b": many * BACKGROUND}))
    likelihood = Likelihood(builder.rates, (region,), builder.constraints)
    best = minimise(likelihood, likelihood.rates)
    found = impacts.impacts(likelihood, best, "mu", impacts.METHODS)
    sizes = [max(abs(x) for pair in entry.impacts.values() for x in pair) for entry in found.nuisances]
    assert sizes == sorted(sizes, reverse=True)
    slopes = dict(zip(table.nuisances, impacts.linear(likelihood, best, "mu"), strict=True))
    for entry in found.nuisances:
        by = entry.impacts
        np.testing.assert_allclose(by["refit"], by["covariance"], rtol=0.03)
        np.testing.assert_allclose(by["observable"], entry.error * np.array(by["refit"]), rtol=0.03)
        assert by["observable"][1] == pytest.approx(slopes[entry.name], rel=0.03)
        assert entry.error < 0.99  # the data constrain it, so that the definitions differ


def test_impact_of_a_fit_that_fails_is_null() -> None:
    likelihood = binned()
    best = minimise(likelihood, likelihood.rates)
    broken = replace(likelihood, tables=(replace(likelihood.tables[0], count=np.full(3, np.nan)),))
    assert impacts.impacts(broken, best, "mu", ["refit"]).nuisances[0].impacts["refit"] == (None, None)


# --- weighted data


def mixture(x: np.ndarray, weight: np.ndarray) -> Likelihood:
    """A signal one standard deviation above the background, with exact ratios."""
    table = Model({"mu": Parameter(1.0, (-5.0, 10.0))}, {"s": "mu", "b": "1"}, {})
    yields = {"s": 100.0, "b": 500.0}
    simulation = Dataset(
        x=np.zeros((2, 1)),
        weight=np.ones(2),
        sample=np.arange(2),
        samples=("s", "b"),
        ratios={"s": np.zeros(2)},
        yields=yields,
    )
    data = Dataset(
        x=x[:, None], weight=weight, sample=np.full(len(x), -1), samples=(), ratios={"s": x - 0.5}, yields={}
    )
    return Builder.of(table, ()).likelihood(data, simulation)


def drawn(rng: np.random.Generator, scale: float = 1.0) -> np.ndarray:
    return np.concatenate([rng.normal(1, 1, rng.poisson(100 * scale)), rng.normal(0, 1, rng.poisson(500 * scale))])


@pytest.mark.slow
def test_errors_of_weighted_data_are_those_of_replicas() -> None:
    """Twice the events with weights around a half: the scatter of 300 fits is the weighted error, and not the plain one."""
    values, errors, plain = [], [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x = drawn(rng, 2.0)
        likelihood = mixture(x, rng.exponential(0.5, len(x)))
        best = minimise(likelihood, likelihood.rates)
        values.append(best.value("mu"))
        errors.append(weighted_data.weighted(likelihood, best).error("mu"))
        plain.append(best.error("mu"))
    assert np.std(values) == pytest.approx(np.mean(errors), rel=4 * 0.041)
    assert abs(np.mean(values) - 1) < 4 * np.std(values) / np.sqrt(300)
    x = drawn(np.random.default_rng(1))
    unit = mixture(x, np.ones(len(x)))
    best = minimise(unit, unit.rates)
    assert weighted_data.weighted(unit, best).error("mu") == pytest.approx(best.error("mu"), rel=0.1)


# --- ensemble weights


def shifted(x: np.ndarray) -> ensemble_error.Shifted:
    """The log ratio of the signal moves with two weights: a constant, and a slope."""
    base = mixture(x, np.ones(len(x)))
    events, total = base.tables
    basis = np.array([np.ones(len(x)), x])

    def at(weights: np.ndarray) -> Likelihood:
        moved = events.y * np.exp(np.array([weights @ basis, np.zeros(len(x))]))
        return replace(base, tables=(replace(events, y=moved), total))

    return at


PLANTED = np.array([[4e-4, 1e-4], [1e-4, 9e-4]])


def test_cross_derivative_is_its_formula() -> None:
    """A_i = sum_e f_i [lambda_s,theta lambda - lambda_theta lambda_s] / lambda^2 with a minus sign, for -ln L."""
    x = drawn(np.random.default_rng(2))
    mu, r = 1.3, np.exp(x - 0.5)
    s, b = 100 * r, 500.0
    expected = -np.array([np.sum(f * s * b / (mu * s + b) ** 2) for f in (np.ones_like(x), x)])
    found = ensemble_error.cross(shifted(x), np.array([mu]), np.sqrt(np.diag(PLANTED)))
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


@pytest.mark.slow
def test_planted_covariance_is_what_shifted_ratios_scatter_by() -> None:
    """400 draws of the weights on one data set: the best values scatter by the ensemble error."""
    x = drawn(np.random.default_rng(3))
    at = shifted(x)
    best = minimise(at(np.zeros(2)), at(np.zeros(2)).rates)
    found = ensemble_error.propagate(at, best, PLANTED)
    draws = np.random.default_rng(4).multivariate_normal(np.zeros(2), PLANTED, 400)
    values = [minimise(at(w), best.rates, start=best.theta, errors=False).value("mu") for w in draws]
    assert np.std(values) == pytest.approx(found.error("mu"), rel=4 / np.sqrt(800))
    total = best.error("mu") ** 2 + found.error("mu") ** 2
    assert found.inflation[0] == pytest.approx(total / best.error("mu") ** 2)
    assert found.large() == []
    assert ensemble_error.propagate(at, best, 1000 * PLANTED).large() == ["mu"]


def test_weights_as_nuisance_parameters_give_the_same_total_error() -> None:
    """Profiling over the weights with their covariance as constraint is equivalent to first order."""
    x = drawn(np.random.default_rng(5))
    at = shifted(x)
    best = minimise(at(np.zeros(2)), at(np.zeros(2)).rates)
    found = ensemble_error.propagate(at, best, PLANTED)
    inverse, h = np.linalg.inv(PLANTED), 1e-4

    def total(point: np.ndarray) -> float:
        return at(point[1:])(point[:1])[0] + 0.5 * float(point[1:] @ inverse @ point[1:])

    centre = np.array([best.theta[0], 0.0, 0.0])
    steps = h * np.eye(3) * np.array([1.0, 1.0, 1.0])
    hessian = np.array([[(total(centre + a + b) - total(centre + a - b) - total(centre - a + b) + total(centre - a - b))
                         / (4 * h * h) for b in steps] for a in steps])  # fmt: skip
    error = np.sqrt(np.linalg.inv(hessian)[0, 0])
    assert error == pytest.approx(np.hypot(best.error("mu"), found.error("mu")), rel=0.05)


def test_intervals_with_weights_end_where_t_over_k_is_the_quantile() -> None:
    x = drawn(np.random.default_rng(6))
    at = shifted(x)
    likelihood = at(np.zeros(2))
    best = minimise(likelihood, likelihood.rates)
    k = float(ensemble_error.propagate(at, best, PLANTED).inflation[0])
    found = profile.scan(likelihood, best, "mu", None, [0.68, 0.95], inflation=k)
    assert k > 1.1
    for level, ((low, high),) in found.intervals.items():
        for edge in (low, high):
            t = 2 * (likelihood(np.array([edge]))[0] - best.nll)
            assert t / k == pytest.approx(stats.chi2.ppf(float(level), 1), abs=2e-3)
    assert found.intervals_at_fixed_weights == profile.scan(likelihood, best, "mu", None, [0.68, 0.95]).intervals
    assert found.intervals != found.intervals_at_fixed_weights


def test_k_is_the_same_whether_or_not_a_bound_is_near() -> None:
    x = drawn(np.random.default_rng(7))
    at = shifted(x)
    likelihood = at(np.zeros(2))
    best = minimise(likelihood, likelihood.rates)
    free = ensemble_error.propagate(at, best, PLANTED)
    held = replace(best, theta_covariance=np.zeros((1, 1)), at_bound=("mu",))
    bounded = ensemble_error.propagate(at, held, PLANTED)
    assert bounded.error("mu") == 0
    assert bounded.inflation[0] == free.inflation[0] == ensemble_error.inflation(likelihood, at, best.theta, PLANTED)[0]


@pytest.mark.slow
def test_limits_with_weights_are_those_of_a_larger_error() -> None:
    """t / k moves the limit of a parabola as an error larger by sqrt(k) does, and the significance down by it."""
    likelihood = binned(OBSERVED)
    plain, wide = limits.Test.of(likelihood, "mu"), limits.Test.of(likelihood, "mu", 1.44)
    assert wide.t(2.0) == pytest.approx(plain.t(2.0) / 1.44)
    one, other = (limits.limits(test, test, 0.0, 0.95, blind=False) for test in (plain, wide))
    assert other.discovery.significance == pytest.approx(one.discovery.significance / 1.2)
    assert other.observed > one.observed
    assert (other.inflation.observed, other.inflation.expected) == (1.44, 1.44)


# --- degenerate parameters


def test_degenerate_parameters_are_reported_with_their_direction() -> None:
    table = Model(
        {"mu": Parameter(1.0, (0.0, 5.0)), "k": Parameter(1.0, (0.2, 3.0), role="free")}, {"s": "mu * k", "b": "1"}
    )
    builder = Builder.of(table, ())
    likelihood = Likelihood(
        builder.rates, (builder.binned(Counts("sr", {"s": SIGNAL, "b": BACKGROUND})),), builder.constraints
    )
    found = minimise(likelihood, likelihood.rates)
    assert not found.converged
    assert set(found.degenerate) == {"mu", "k"}
    slope = found.degenerate["k"] / found.degenerate["mu"]
    assert slope == pytest.approx(-found.value("k") / found.value("mu"), rel=1e-3)
    assert "cannot be told apart" in degeneracy.sentence(found.degenerate)
    assert minimise(binned(), binned().rates).degenerate == {}


def test_parameter_without_effect_is_named() -> None:
    direction = degeneracy.flat(np.diag([3.0, 0.0]), ["mu", "k"])
    assert direction == {"k": 1.0}
    assert degeneracy.sentence(direction) == "k has no effect on the likelihood"


def test_one_sided_nuisance_at_its_bound_is_no_failure() -> None:
    """alpha >= 0 in data that would have it below 0: the fit is good, and the others have their errors."""
    table = Model({"mu": Parameter(1.0, (0.0, 10.0))}, {"s": "mu", "b": "1"},
                  {"soft": Nuisance(rate={"b": (1.2, 1.0)}, bounds=(0.0, 5.0))})  # fmt: skip
    builder = Builder.of(table, ())
    observed = np.array([55.0, 55.0, 28.0])
    likelihood = Likelihood(builder.rates, (builder.binned(Counts("sr", {"s": SIGNAL, "b": BACKGROUND}, observed)),), builder.constraints)  # fmt: skip
    found: Result = minimise(likelihood, likelihood.rates)
    assert found.converged
    assert found.value("soft") == pytest.approx(0, abs=1e-3)
    assert found.at_bound == ("soft",)
    assert found.error("mu") > 0
    assert found.statistical_errors()["mu"] == pytest.approx(found.error("mu"), rel=1e-6)


# --- distributions, and Asimov data at any point


def responding(n: int = 3000) -> tuple[Likelihood, Dataset]:
    """A signal over a background whose mean moves with a nuisance, over its own simulated events, and a control region."""
    rng = np.random.default_rng(7)
    x = np.concatenate([rng.normal(1, 1, n), rng.normal(0, 1, n)])
    ratios = {"s": x - 0.5, "b.up": 0.2 * x - 0.02, "b.down": -0.2 * x - 0.02}
    yields = {"s": 100.0, "b": 500.0, "b.up": 520.0, "b.down": 480.0}
    data = Dataset(
        x=x[:, None],
        weight=np.repeat([100 / n, 500 / n], n),
        sample=np.repeat([0, 1], n),
        samples=("s", "b"),
        ratios=ratios,
        yields=yields,
    )
    table = Model({"mu": Parameter(1.0, (0.0, 5.0))}, {"s": "mu", "b": "1"}, {"jes": Nuisance()})
    counts = {"s": SIGNAL, "b": BACKGROUND, "b.up": UP, "b.down": DOWN}
    builder = Builder.of(table, [Shape("b", "jes", "b.up", "b.down", "")])
    return builder.likelihood(data, data, [Counts("control", counts)]), data


@pytest.mark.parametrize("point", [{"mu": 1.0}, {"mu": 0.3, "jes": -0.8}, {"mu": 2.0, "jes": 1.4}])
def test_simulated_events_can_be_weighted_to_any_point(point: dict[str, float]) -> None:
    likelihood, data = responding()
    theta = likelihood.rates.at(point)
    found = reweighting.predicted(likelihood, theta, data.sample)
    for j, expected in enumerate(likelihood.expected(theta)):
        assert found.weight[data.sample == j].sum() == pytest.approx(expected)
    h = 1e-6 * np.eye(2)
    ends = [[reweighting.predicted(likelihood, theta + s * e, data.sample).weight for s in (1, -1)] for e in h]
    np.testing.assert_allclose(found.slopes, [(up - down) / 2e-6 for up, down in ends], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("point", [{"mu": 0.5, "jes": 0.5}, {"mu": 2.0, "jes": -1.0}])
def test_fit_of_asimov_data_returns_its_point(point: dict[str, float]) -> None:
    """Up to what the finite simulation is worth."""
    likelihood, data = responding(20_000)
    theta = likelihood.rates.at(point)
    found = minimise(reweighting.asimov(likelihood, theta, data.sample), likelihood.rates)
    assert found.converged
    np.testing.assert_allclose(found.theta, theta, atol=4 * found.error("mu") * np.sqrt(600 / 40_000))


def test_distribution_after_the_fit_describes_data_that_the_model_has_made() -> None:
    likelihood, simulation = responding(20_000)
    rng = np.random.default_rng(8)
    x = np.concatenate([rng.normal(1, 1, rng.poisson(100)), rng.normal(0, 1, rng.poisson(500))])
    ratios = {"s": x - 0.5, "b.up": 0.2 * x - 0.02, "b.down": -0.2 * x - 0.02}
    data = Dataset(
        x=x[:, None], weight=np.ones(len(x)), sample=np.full(len(x), -1), samples=(), ratios=ratios, yields={}
    )
    table, total, control = likelihood.tables
    kept = np.array([100 * np.exp(ratios["s"]), np.full(len(x), 500.0)])
    logs = [np.array([ratios[name]]) for name in ("b.up", "b.down")]
    responses = replace(table.responses, log_up=logs[0], log_down=logs[1], cross=np.empty((0, len(x))))
    events = replace(table, y=kept, responses=responses, rate=np.zeros(len(x)), count=np.ones(len(x)))
    own = replace(likelihood, tables=(events, total, control))
    best = minimise(own, own.rates)
    found = distributions.describe(own, best, [RegionEvents(simulation, data, ("x",))])
    for entry in (found.columns["x"], found.columns["ln r of s"], found.regions["control"]):
        assert sum(entry.postfit.total) == pytest.approx(sum(map(sum, entry.postfit.processes.values())))
        assert entry.goodness.p_value > 1e-3
        assert sum(entry.postfit.error) < sum(entry.prefit.error) + sum(entry.postfit.total)
    assert sum(found.columns["x"].observed) == len(x)
    wrong = distributions.describe(own, best, [RegionEvents(simulation, replace(data, x=data.x * 2), ("x",))])
    assert wrong.columns["x"].goodness.p_value < 1e-6


def test_deviance_of_poisson_counts_follows_chi_squared() -> None:
    from scipy import stats

    rng, expected = np.random.default_rng(9), np.linspace(20, 60, 12)
    p_values = [distributions.deviance(rng.poisson(expected).astype(float), expected, 0).p_value for _ in range(2000)]
    assert stats.kstest(p_values, "uniform").pvalue > 1e-4
    assert distributions.deviance(np.zeros(3), np.ones(3), 0).deviance == pytest.approx(6)
