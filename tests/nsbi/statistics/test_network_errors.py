"""What cross-fitted networks and a finite simulation add to the error of a fit, against the scatter over simulations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize
from scipy.special import expit

from needle_parsl.analysis import Model, Parameter
from needle_parsl.nsbi.estimators import offsets
from needle_parsl.nsbi.statistics import injections
from needle_parsl.nsbi.statistics import network_error as networks
from needle_parsl.nsbi.statistics.dataset import Dataset, at
from needle_parsl.nsbi.statistics.fits.ensemble_error import simulation_errors
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood

Floats = np.ndarray
MEAN, YIELDS, EVENTS, FOLDS = 1.2, {"signal": 150.0, "background": 1000.0}, 3000, 5
BUILDER = Builder.of(Model({"mu": Parameter(1.0, (0.0, 10.0))}, {"signal": "mu", "background": "1"}, {}), ())
POWERS = 5


def powers(x: Floats) -> Floats:
    return np.stack([np.tanh(x / 2) ** n for n in range(POWERS)], axis=1)


def learned(x: Floats, label: Floats, noise: np.random.Generator | None = None) -> Floats:
    """Fit a logistic regression in some functions of x: a network whose training has no noise but what is added."""
    design = powers(x)

    def loss(w: Floats) -> tuple[float, Floats]:
        logit = design @ w
        return float(np.logaddexp(0, np.where(label, -logit, logit)).mean()), design.T @ (expit(logit) - label) / len(x)

    found = scipy_minimize(loss, np.zeros(POWERS), jac=True, method="BFGS").x
    return found if noise is None else found + noise.normal(0.0, 0.05, POWERS)


@dataclass(frozen=True)
class Run:
    """What a run would have at its end."""

    simulation: Dataset
    networks: networks.Networks
    weights: Floats
    """Of the networks, shape (K, M, POWERS)."""
    slope: float
    offset: float

    def fitted(self, x: Floats) -> tuple[Result, Likelihood]:
        """Fit data with the mean of all networks."""
        ratio = self.slope * powers(x) @ self.weights.mean(axis=(0, 1)) + self.offset
        likelihood = BUILDER.likelihood(Dataset.of(x, {"signal": ratio}), self.simulation)
        return minimise(likelihood, likelihood.rates), likelihood


def run(seed: int, members: int = 2, noisy: bool = False) -> Run:
    """Simulate, learn out of fold, and normalise at the yields."""
    generator = np.random.default_rng([11, seed])
    x = np.concatenate([generator.normal(MEAN, 1.0, EVENTS), generator.normal(0.0, 1.0, EVENTS)])
    label, fold = np.arange(2 * EVENTS) < EVENTS, generator.integers(0, FOLDS, 2 * EVENTS)
    noise = generator if noisy else None
    weights = np.array([[learned(x[fold != k], label[fold != k], noise) for _ in range(members)] for k in range(FOLDS)])
    raw = np.einsum("np,nmp->n", powers(x), weights[fold]) / members
    weight = np.where(label, YIELDS["signal"], YIELDS["background"]) / EVENTS
    sample = np.where(label, 0, 1)
    ids = np.arange(len(x), dtype=np.uint64)
    found = offsets.fit(offsets.Labelled(np.array([raw, np.zeros_like(raw)]), sample, weight, ids), [0, -1])
    slope, offset = float(found.slope[0]), float(found.offset[0])
    ratios = {"signal": slope * raw + offset}
    simulation = Dataset(
        x=x[:, None].astype(np.float32),
        weight=weight,
        sample=sample,
        samples=("signal", "background"),
        ratios=ratios,
        yields=YIELDS,
        priors=YIELDS,
    )
    each = slope * np.einsum("np,kmp->kmn", powers(x), weights)
    stacked = np.concatenate([each.mean(axis=1, keepdims=True), each], axis=1).astype(np.float32)
    return Run(simulation, networks.Networks(np.arange(len(x)), {"signal": stacked}), weights, slope, offset)


def added(made: Run, best: Result) -> tuple[float, float]:
    """Give the variances of mu that are stated for networks and for the finite simulation."""
    build = BUILDER.likelihood
    nets = networks.covariance(made.networks, made.simulation, best, build)[0, 0]
    asimov = build(at(made.simulation, {"signal": 1.0, "background": 1.0}), made.simulation)
    finite = simulation_errors(asimov, best.theta, best.theta_covariance, made.simulation.sample)[0] ** 2
    return float(nets), float(finite)


@pytest.fixture(scope="module")
def data() -> Floats:
    generator = np.random.default_rng(5)
    return np.concatenate([generator.normal(MEAN, 1.0, 150), generator.normal(0.0, 1.0, 1000)])


def test_asimov_data_closes_by_construction() -> None:
    made = run(1)
    likelihood = BUILDER.likelihood(at(made.simulation, {"signal": 1.0, "background": 1.0}), made.simulation)
    assert minimise(likelihood, likelihood.rates).value("mu") == pytest.approx(1.0, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("noisy", [False, True])
def test_stated_variance_is_that_over_simulations(data: Floats, noisy: bool) -> None:
    """24 simulations know a variance to 30 %."""
    values, stated = [], []
    for seed in range(24):
        made = run(seed, noisy=noisy)
        best, _ = made.fitted(data)
        values.append(best.value("mu"))
        stated.append(added(made, best))
    ratio = np.var(values, ddof=1) / np.mean(np.sum(stated, axis=1))
    assert 0.4 < ratio < 2.2
    assert np.mean(stated, axis=0).min() > 0


@pytest.mark.slow
def test_more_noise_of_training_is_not_taken_for_simulation(data: Floats) -> None:
    """The jackknife sees noise K - 1 times too large; it is taken away."""
    quiet, loud = (np.mean([added(made := run(s, noisy=noisy), made.fitted(data)[0])[0] for s in range(6)]) for noisy in (False, True))  # fmt: skip
    assert loud < 3 * quiet + 1e-4


def test_injected_signals_and_halves_come_back() -> None:
    made = run(3)
    signals = injections.signals(BUILDER.likelihood, made.simulation, "mu")
    assert [one.name for one in signals] == ["mu=0", "mu=0.5", "mu=2", "mu=3"]
    for one in signals:
        (mu,) = one.parameters
        assert mu.value == pytest.approx(mu.true, abs=0.15)
    halves = [one.parameters[0].value for one in injections.halves(BUILDER.likelihood, made.simulation, 7)]
    assert np.mean(halves) == pytest.approx(1.0, abs=0.05)
    assert halves[0] != pytest.approx(1.0, abs=1e-4)


def test_toys_scatter_by_their_error_and_negative_weights_say_why_not() -> None:
    made = run(4)
    found = injections.scatter(BUILDER.likelihood, made.simulation, "mu", 3)
    assert found.spread == pytest.approx(found.error, abs=4 * found.spread_error)
    negative = replace(made.simulation, weight=made.simulation.weight * np.where(np.arange(2 * EVENTS) % 9, 1.2, -1.0))
    assert "negative weights" in injections.scatter(BUILDER.likelihood, negative, "mu", 3).reason
