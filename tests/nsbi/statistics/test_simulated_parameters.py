"""Parameters of the simulation in the fit: ln r of each event as a spline, with Z and yields that move along."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from iminuit import Minuit
from problems import mass

from needle_parsl.nsbi.statistics.fits.ensemble_error import simulation_errors
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.intervals import profile
from needle_parsl.nsbi.statistics.model.reweighting import asimov, predicted
from needle_parsl.nsbi.statistics.model.splines import SplineResponse
from needle_parsl.nsbi.statistics.toys import pool as toys
from needle_parsl.nsbi.statistics.toys.block import Block
from needle_parsl.nsbi.statistics.toys.fitting import slow


def test_spline_is_exact_for_cubic_responses_and_knows_its_derivatives() -> None:
    knots, coefficients = np.array([-1.0, -0.2, 0.3, 1.0]), np.random.default_rng(1).normal(size=(5, 4))
    logs = np.array([np.polynomial.polynomial.polyval(t, coefficients.T) for t in knots])
    spline = SplineResponse(0, 0, knots, logs)
    for theta in (-0.9, 0.0, 0.77):
        found = spline.at(theta)
        for order, values in enumerate(found):
            series = [
                np.polynomial.Polynomial(c).deriv(order) if order else np.polynomial.Polynomial(c) for c in coefficients
            ]
            np.testing.assert_allclose(values, [p(theta) for p in series], rtol=1e-9, atol=1e-10)
    assert spline.take(np.array([3, 1])).at(0.4).log == pytest.approx(spline.at(0.4).log[[3, 1]])


@pytest.mark.parametrize("theta", [(1.3, 0.4, 0.5), (0.7, -0.83, -1.2), (2.0, 0.99, 0.0)])
def test_likelihood_is_the_formula_between_knots(theta: tuple[float, float, float]) -> None:
    """Gaussian ln r is a parabola in the mass, which splines have without error; Z is that of 400,000 events."""
    made = mass.likelihood(3, size=400_000)
    x = np.random.default_rng(3)
    data = mass.observed(x, 1.0, 0.0)
    at = made.rates.at(dict(zip(("mu", "mass", "lumi"), theta, strict=True)))
    (z,) = [
        simulation(made.rates.moved(at))
        for simulation in made.of_kind("events")[0].simulation
        if simulation.process == 0
    ]
    assert z.value == pytest.approx(1, abs=4 * z.error + 1e-12)
    off = len(data.weight) * abs(z.value - 1)
    assert made(at)[0] == pytest.approx(mass.closed(data.x[:, 0].astype(float), *theta), abs=off + 0.01)


def test_derivatives_are_differences() -> None:
    made = mass.likelihood(4, size=2000)
    theta = np.array([1.2, 0.35, 0.4])
    ends = [[made(theta + side * h) for side in (1, -1)] for h in 1e-5 * np.eye(3)]
    np.testing.assert_allclose(made(theta)[1], [(up[0] - down[0]) / 2e-5 for up, down in ends], rtol=1e-6, atol=1e-5)
    bends = [(up[1] - down[1]) / 2e-5 for up, down in ends]
    np.testing.assert_allclose(made.hessian(theta), bends, rtol=1e-5, atol=1e-3)


def test_fit_is_that_of_iminuit_with_the_formula() -> None:
    data = mass.observed(np.random.default_rng(5), 1.2, 0.4)
    made = mass.BUILDER.likelihood(data, mass.simulation(np.random.default_rng(6), 300_000))
    best, x = minimise(made, made.rates), data.x[:, 0].astype(float)
    minuit = Minuit(lambda *theta: mass.closed(x, *theta), 1.0, 0.0, 0.0, name=("mu", "mass", "lumi"))
    minuit.errordef, minuit.limits = 0.5, [(0, 4), (-1, 1), (-5, 5)]
    minuit.migrad()
    for name in ("mu", "mass", "lumi"):
        assert best.value(name) == pytest.approx(minuit.values[name], abs=0.03 * minuit.errors[name])
        assert best.error(name) == pytest.approx(minuit.errors[name], rel=0.02)


def test_asimov_data_of_another_mass_return_it() -> None:
    simulation = mass.simulation(np.random.default_rng(7), 20_000)
    events = mass.BUILDER.likelihood(simulation, simulation)
    truth = events.rates.at({"mu": 1.5, "mass": 0.6, "lumi": 0.3})
    expected = 1.5 * (1 + 0.3 * 0.6) * mass.SIGNAL * 1.05**0.3 + mass.BACKGROUND
    found = predicted(events, truth, simulation.sample)
    assert found.weight.sum() == pytest.approx(expected, rel=1e-6)
    step = 1e-5 * np.eye(3)[1]
    moved = [predicted(events, truth + side * step, simulation.sample).weight for side in (1, -1)]
    np.testing.assert_allclose(found.slopes[1], (moved[0] - moved[1]) / 2e-5, rtol=1e-4, atol=1e-7)
    data = asimov(events, truth, simulation.sample)
    best = minimise(data, data.rates)
    # The mean of r over 20,000 events is 1 within a percent, and mu as well.
    assert (np.abs(best.theta - truth) < 0.1 * np.sqrt(np.diag(best.theta_covariance))).all()
    errors = simulation_errors(data, best.theta, best.theta_covariance, simulation.sample)
    assert np.isfinite(errors).all()


def test_scan_of_the_mass_has_its_interval() -> None:
    made = mass.likelihood(8, mass=0.3)
    best = minimise(made, made.rates)
    scan = profile.scan(made, best, "mass", None, (0.68,), None, 1.0)
    ((low, high),) = scan.intervals["0.68"]
    assert low < best.value("mass") < high
    assert (high - low) / 2 == pytest.approx(best.error("mass"), rel=0.15)


def test_toys_at_another_mass_are_unbiased() -> None:
    """24 toys of the model, drawn from events of the background; compiled fits do not know such parameters, and say so."""
    rng = np.random.default_rng(9)
    x = mass.reference(rng, 60_000)
    data = mass.Dataset.of(x, mass.ratios(x))
    events = mass.BUILDER.likelihood(data, mass.simulation(rng, 20_000))
    assert "parameters of the simulation" in slow(events)
    truth = events.rates.at({"mu": 1.0, "mass": 0.5})
    pool = toys.model_pool(events, np.ones(len(x)), truth)
    with pytest.warns(UserWarning, match="parameters of the simulation"):
        block = Block.of(pool.likelihood, toys.drawn(pool, truth, range(24)), "mu", truth, (pool.effective, 0.0))
    assert block.converged.all()
    for place in (0, 1):
        assert abs(block.pulls[:, place].mean()) < 3.5 / math.sqrt(24)
        assert block.pulls[:, place].std(ddof=1) == pytest.approx(1, abs=3.5 / math.sqrt(48))


def test_model_without_a_grid_has_none() -> None:
    plain = replace(
        mass.MODEL, parameters={"mu": mass.MODEL.parameters["mu"]}, processes={"signal": "mu", "background": "1"}
    )
    made = mass.Builder.of(plain, []).likelihood(*(2 * [mass.simulation(np.random.default_rng(1), 100)]))
    assert made.rates.simulated == ()
    assert not made.of_kind("events")[0].responses.splines
