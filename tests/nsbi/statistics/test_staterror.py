"""The statistics of the simulation in bins: against pyhf, against a minimisation over gamma, compiled, and by its coverage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import Shape
from needle_parsl.errors import InputError
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model import regions as counting
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.reweighting import asimov
from needle_parsl.nsbi.statistics.model.staterror import Staterror
from needle_parsl.nsbi.statistics.toys.compiled.engine import CompiledFits
from needle_parsl.nsbi.statistics.toys.pool import Draw

SIGNAL, BACKGROUND = np.array([20.0, 8.0, 3.0]), np.array([100.0, 60.0, 30.0])
ERRORS = {"s": np.array([1.0, 0.7, 0.3]), "b": np.array([20.0, 6.0, 1.0])}


def one_bin(observed: float, background: float = 100.0, events: int = 25, bounds=(-9.0, 12.0)) -> Likelihood:
    """20 signal events from 400 simulated ones, and a background from a few."""
    values, weight = np.full(400, 0.5), np.full(400, 20 / 400)
    found = counting.count(
        "cr",
        [0, 1],
        {
            "s": counting.histogram(values, weight, [0, 1]),
            "b": counting.histogram(np.full(events, 0.5), np.full(events, background / events), [0, 1]),
        },
        (np.array([observed]), np.array([observed])),
        {},
    )
    model = Model({"mu": Parameter(1.0, bounds)}, {"s": "mu", "b": "1"}, {})
    return Builder.of(model, []).joint({}, [counting.counts(found, observed=True)])


def test_error_holds_the_statistics_of_the_simulation() -> None:
    likelihood = one_bin(120.0)
    best = minimise(likelihood, likelihood.rates)
    assert best.value("mu") == pytest.approx(1.0, abs=1e-6)
    assert best.error("mu") == pytest.approx(np.sqrt(120 + 20**2 + 1) / 20, rel=1e-6)


@pytest.mark.parametrize("count", [0.0, 1.0, 55.0, 170.0])
@pytest.mark.parametrize("seen", [1.0, 0.7, 1.3])
def test_closed_form_is_the_minimum_over_gamma_with_its_derivatives(count: float, seen: float) -> None:
    own = Staterror(np.array([0.2]), np.array([seen]))

    def exact(lam: float) -> float:
        def value(gamma: float) -> float:
            logs = count * np.log(gamma * lam) if count else 0.0
            return gamma * lam - logs + (gamma - seen) ** 2 / (2 * 0.04)

        return float(minimize_scalar(value, bounds=(1e-9, 4), method="bounded", options={"xatol": 1e-12}).fun)

    for lam in (3.0, 50.0, 150.0):
        found = [own.profile(np.array([x]), np.array([count])) for x in (lam - 1e-4, lam, lam + 1e-4)]
        low, middle, high = (float(one.value[0]) for one in found)
        assert middle == pytest.approx(exact(lam), abs=1e-6)
        assert found[1].first[0] == pytest.approx((high - low) / 2e-4, abs=1e-6)
        assert found[1].second[0] == pytest.approx(float(found[2].first[0] - found[0].first[0]) / 2e-4, abs=1e-6)


def channel(observed: np.ndarray, nuisances: bool = True) -> Likelihood:
    own = {"norm": Nuisance(rate={"b": (1.1, 0.92)}), "shape": Nuisance(interpolation="code4p")} if nuisances else {}
    model = Model({"mu": Parameter(1.0, (0.0, 10.0))}, {"s": "mu", "b": "1"}, own)
    expected = {"s": SIGNAL, "b": BACKGROUND, "b.up": 1.1 * BACKGROUND, "b.down": np.array([92.0, 58.0, 25.0])}
    shapes = [Shape("b", "shape", "b.up", "b.down", "")] if nuisances else []
    return Builder.of(model, shapes).counting([Counts("sr", expected, observed, ERRORS)])


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated:DeprecationWarning")
@pytest.mark.parametrize("observed", [[133.0, 60.0, 41.0], [90.0, 70.0, 20.0], [1.0, 0.0, 3.0]])
def test_fit_equals_that_of_pyhf_with_staterror(observed: list[float]) -> None:
    import pyhf

    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-8))

    def modifiers(name: str, *more: dict) -> list[dict]:
        return [{"name": "stat", "type": "staterror", "data": ERRORS[name].tolist()}, *more]

    background = modifiers(
        "b",
        {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.92}},
        {
            "name": "shape",
            "type": "histosys",
            "data": {"hi_data": (1.1 * BACKGROUND).tolist(), "lo_data": [92.0, 58.0, 25.0]},
        },
    )
    signal = modifiers("s", {"name": "mu", "type": "normfactor", "data": None})
    spec = {"channels": [{"name": "sr", "samples": [
        {"name": "s", "data": SIGNAL.tolist(), "modifiers": signal},
        {"name": "b", "data": BACKGROUND.tolist(), "modifiers": background},
    ]}]}  # fmt: skip
    theirs = pyhf.Model(spec, poi_name="mu")
    data = [*observed, *theirs.config.auxdata]
    likelihood = channel(np.array(observed))
    best = minimise(likelihood, likelihood.rates)
    values, twice = pyhf.infer.mle.fit(data, theirs, return_fitted_val=True)
    values = dict(zip(theirs.config.par_order, values, strict=False))
    _, other = pyhf.infer.mle.fixed_poi_fit(2.0, data, theirs, return_fitted_val=True)
    ours = minimise(likelihood, likelihood.rates, fixed={"mu": 2.0})
    assert ours.nll - best.nll == pytest.approx(float(other - twice) / 2, abs=2e-5)
    assert best.value("mu") == pytest.approx(float(values["mu"]), abs=2e-3 * np.nan_to_num(best.error("mu"), nan=0.1))
    # At our minimum, with gamma where it belongs, pyhf's own -ln L is as deep: nothing of the model differs.
    (table,) = likelihood.of_kind("bins")
    gamma = table.staterror.profile(likelihood.counts(best.theta)[0], table.count).gamma
    point = [best.value("mu"), best.value("norm"), best.value("shape"), *gamma]
    names = ["mu", "norm", "shape", *theirs.config.par_names[-3:]]
    placed = [dict(zip(names, point, strict=True))[name] for name in theirs.config.par_names]
    assert -2 * float(np.ravel(theirs.logpdf(placed, data))[0]) <= float(twice) + 1e-6


def test_derivatives_of_the_likelihood_agree_with_differences() -> None:
    likelihood, rng = channel(np.array([120.0, 0.0, 39.0])), np.random.default_rng(3)
    for _ in range(6):
        theta = np.array([rng.uniform(0.1, 3), *rng.normal(size=2)])
        gradient, hessian = likelihood(theta)[1], likelihood.hessian(theta)
        for k in range(3):
            step = np.eye(3)[k] * 1e-5
            up, down = likelihood(theta + step), likelihood(theta - step)
            assert gradient[k] == pytest.approx((up[0] - down[0]) / 2e-5, abs=1e-5)
            np.testing.assert_allclose(hessian[k], (up[1] - down[1]) / 2e-5, rtol=1e-5, atol=1e-4)


def test_compiled_toys_have_the_same_likelihood() -> None:
    rng = np.random.default_rng(5)
    ratios = {"s": rng.normal(0, 0.5, 300)}
    data = Dataset(
        x=np.zeros((300, 1), np.float32),
        weight=np.ones(300),
        sample=np.arange(300) % 2,
        samples=("s", "b"),
        ratios=ratios,
        yields={"s": 80.0, "b": 400.0},
    )
    model = Model(
        {"mu": Parameter(1.0, (0.0, 5.0))}, {"s": "mu", "b": "1"}, {"norm": Nuisance(rate={"b": (1.1, 0.92)})}
    )
    regions = [
        Counts("one", {"s": SIGNAL, "b": BACKGROUND}, None, ERRORS),
        Counts("two", {"s": SIGNAL, "b": BACKGROUND}),
    ]
    events = Builder.of(model, []).likelihood(data, data, regions)
    engine = CompiledFits.of(events)
    for counts in ([110.0, 0.0, 31.0], [150.0, 80.0, 0.0], [3.0, 2.0, 1.0]):
        seen = [1 + events.of_kind("bins")[0].staterror.spread * rng.normal(size=3), np.ones(3)]
        draw = Draw(
            rng.integers(0, 300, 200), events.constraints, [np.array(counts), np.array([100.0, 60.0, 29.0])], seen
        )
        toy = events.take(*draw)
        for _ in range(3):
            theta = np.array([rng.uniform(0.2, 3), rng.normal()])
            value, gradient, hessian = engine.evaluate(draw, theta)
            assert value == pytest.approx(toy(theta)[0], rel=1e-11)
            np.testing.assert_allclose(gradient, toy(theta)[1], rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(hessian, toy.hessian(theta), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_intervals_cover_with_it() -> None:
    """25 simulated events of 100: mu +- error holds 1 in 0.68 of experiments, data and simulation thrown anew; 0.37 without."""
    held = without = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        simulated, seen = int(rng.poisson(25)), float(rng.poisson(120.0))
        likelihood = one_bin(seen, 4.0 * simulated, simulated)
        best = minimise(likelihood, likelihood.rates)
        held += abs(best.value("mu") - 1) < best.error("mu")
        tables = tuple(replace(table, staterror=None) for table in likelihood.tables)
        plain = minimise(replace(likelihood, tables=tables), likelihood.rates)
        without += abs(plain.value("mu") - 1) < plain.error("mu")
    assert held / 120 == pytest.approx(0.683, abs=3 * np.sqrt(0.22 / 120))
    assert without / 120 < 0.5


def test_asimov_data_return_their_parameters() -> None:
    likelihood = channel(None)
    best = minimise(likelihood, likelihood.rates)
    np.testing.assert_allclose(best.values, [1.0, 0.0, 0.0], atol=1e-6)


def test_asimov_data_at_a_fit_keep_what_it_says_of_the_simulation() -> None:
    """Expected limits are those of data without a signal, with gamma as the data have it, as in pyhf."""
    likelihood = channel(np.array([133.0, 60.0, 41.0]))
    held = minimise(likelihood, likelihood.rates, fixed={"mu": 0.0}, errors=False)
    gammas = likelihood.gammas(held.theta)
    without = asimov(channel(None), held.theta, np.empty(0, np.int64), gammas)
    best = minimise(without, without.rates)
    assert np.abs(gammas[0] - 1).max() > 0.02
    np.testing.assert_allclose(best.theta, held.theta, atol=3e-3)  # as far as a fit is from its minimum
    np.testing.assert_allclose(without.gammas(held.theta)[0], gammas[0], rtol=1e-12)
    np.testing.assert_allclose(without.of_kind("bins")[0].count, gammas[0] * likelihood.counts(held.theta)[0])


def test_data_where_nothing_is_simulated_are_refused() -> None:
    expected = {"s": (np.array([1.0, 0.0]), np.array([0.1, 0.0])), "b": (np.array([5.0, 0.0]), np.array([1.0, 0.0]))}
    good = np.array([4.0, 0.0]), np.array([4.0, 0.0])
    assert counting.count("sr", [0, 1, 2], expected, good, {}).observed == [4.0, 0.0]
    with pytest.raises(InputError, match=r"model\.regions\.sr\.binning: 3 observed events are between 1 and 2"):
        counting.count("sr", [0, 1, 2], expected, (np.array([4.0, 3.0]),) * 2, {})
