"""Diagnostics in units of the result: planted errors of exact ratios move a fit as far as their measured residuals say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from problems import exact, smooth
from problems.records import SHAPE
from scipy import stats
from scipy.special import expit

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.nsbi.estimators.results import RatioDiagnostics
from needle_parsl.nsbi.statistics import network_error, residuals
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.injections import expected
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.results import Residuals, ResidualShift
from needle_parsl.nsbi.training.closure import calibration, closure

Array = np.ndarray
PROBLEM = smooth.gaussian()
SHAPES = exact.shapes(PROBLEM)
BUILDER = Builder.of(
    Model(
        {"mu": Parameter(1.0, (0.0, 5.0))}, {n: p.multiplier for n, p in PROBLEM.processes.items()}, {SHAPE: Nuisance()}
    ),
    SHAPES,
)
AXIS = np.linspace(-5.5, 5.5, 101)
X = np.stack(np.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2)
"""Data and simulation without scatter: points with what is expected at each."""
YIELDS = exact.yields(PROBLEM)
EXACT = exact.log_ratios(PROBLEM, X)
SIGNAL, VARIED = "signal", f"background.{SHAPE}.up"


def density(process: str, alpha: float = 0.0) -> Array:
    values = np.exp(PROBLEM.log_density(process, X, {SHAPE: alpha}))
    return values / values.sum()


def simulation(ratios: Mapping[str, Array], *, normalised: bool = False) -> Dataset:
    return Dataset(
        x=np.tile(X, (2, 1)).astype(np.float32),
        weight=np.concatenate([YIELDS[name] * density(name) for name in PROBLEM.processes]),
        sample=np.repeat([0, 1], len(X)),
        samples=tuple(PROBLEM.processes),
        ratios={name: np.tile(values, 2) for name, values in ratios.items()},
        yields=YIELDS,
        priors={name: YIELDS[name] for name in PROBLEM.processes} if normalised else {},
    )


def diagnosed(name: str, log_ratio: Array) -> RatioDiagnostics:
    """Measure a ratio as the task does, with densities in the place of events."""
    above = density(SIGNAL) if name == SIGNAL else density("background", 1.0)
    return measured(name, (X, X), (log_ratio, log_ratio), (above, density("background")), 0.0)


def measured(
    name: str, x: tuple[Array, Array], log_ratio: tuple[Array, Array], weight: tuple[Array, Array], error: float
) -> RatioDiagnostics:
    above, below = weight[0] / weight[0].sum(), weight[1] / weight[1].sum()
    reweighted = below * np.exp(log_ratio[1])
    columns = {"x1": (x[0][:, 0], x[1][:, 0]), "x2": (x[0][:, 1], x[1][:, 1]), "ln r": log_ratio}
    label = np.arange(len(above) + len(below)) < len(above)
    curve = calibration(expit(np.concatenate(log_ratio)), label, np.concatenate([above, below]))
    return RatioDiagnostics.from_json(
        {
            "ratio": name,
            "normalisation": {"value": float(reweighted.sum()), "error": error},
            "closure": {c: h.to_json() for c, h in closure(columns, weight[0], reweighted).items()},
            "calibration": curve.to_json(),
        }
    )


def found(name: str, ratios: Mapping[str, Array], *, normalised: bool = False) -> Residuals:
    return residuals.measure(
        BUILDER.likelihood,
        simulation(ratios, normalised=normalised),
        {name: diagnosed(name, ratios[name])},
        poi="mu",
        shapes=SHAPES,
        features=("x1", "x2"),
        against={SIGNAL: ("background",)},
    )


def fitted(ratios: Mapping[str, Array], at: Mapping[str, float], *, normalised: bool = False) -> tuple[float, float]:
    """Fit what is truly expected, and give mu with its error."""
    mu, alpha = at.get("mu", 1.0), at.get(SHAPE, 0.0)
    weight = sum(total * density(name, alpha) for name, total in PROBLEM.expected(mu, {SHAPE: alpha}).items())
    likelihood = BUILDER.likelihood(Dataset.of(X, ratios, weight=weight), simulation(ratios, normalised=normalised))
    theta = likelihood.rates.at({"mu": mu, SHAPE: alpha})
    best = minimise(expected(likelihood, theta), likelihood.rates)
    return best.value("mu"), best.error("mu")


@cache
def of_exact(at: tuple[tuple[str, float], ...]) -> tuple[float, float]:
    return fitted(EXACT, dict(at))


def moved(ratios: Mapping[str, Array], one: ResidualShift) -> float:
    """Fit with wrong ratios, and with exact ones; give the difference in standard errors."""
    value, error = of_exact(tuple(one.at.items()))
    return (fitted(ratios, one.at)[0] - value) / error


@dataclass(frozen=True)
class Planted:
    """An error of ln r, and the residuals whose sum says all of it."""

    ratio: str
    error: Callable[[Array], Array]
    residuals: tuple[str, ...] = ("calibration ln r",)


PLANTED = {
    "scale 0.5 %": Planted(SIGNAL, lambda _: np.log(1.005), ("normalisation ",)),
    "scale 2 %": Planted(SIGNAL, lambda _: np.log(1.02), ("normalisation ",)),
    "scale -3 %": Planted(SIGNAL, lambda _: np.log(0.97)),
    "slope 1.05": Planted(SIGNAL, lambda v: 0.05 * v),
    "slope 0.95": Planted(SIGNAL, lambda v: -0.05 * v),
    "slope 0.9": Planted(SIGNAL, lambda v: -0.1 * v, ("normalisation ", "closure ln r")),
    "tail, 10 % up": Planted(SIGNAL, lambda v: 0.1 * (v > 1.5)),
    "tail, 10 % down": Planted(SIGNAL, lambda v: -0.1 * (v > 1.5), ("normalisation ", "closure ln r")),
    "tail, growing": Planted(SIGNAL, lambda v: 0.1 * np.maximum(v - 1, 0)),
    "wave in x1": Planted(SIGNAL, lambda _: 0.05 * np.sin(2 * X[:, 0]), ("normalisation ", "closure x1")),
    "varied: slope 1.3": Planted(VARIED, lambda v: 0.3 * v),
    "varied: slope 0.7": Planted(VARIED, lambda v: -0.3 * v, ("closure ln r",)),
    "varied: tail": Planted(VARIED, lambda v: 0.1 * (v > 0.1), ("closure ln r",)),
    "varied: along x1": Planted(VARIED, lambda _: 0.05 * np.tanh(X[:, 0]), ("closure x1",)),
    "varied: along x2": Planted(VARIED, lambda _: 0.05 * np.tanh(X[:, 1]), ("closure x2",)),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_error_moves_the_fit_as_far_as_its_residual_says(name: str) -> None:
    planted = PLANTED[name]
    wrong = {**EXACT, planted.ratio: EXACT[planted.ratio] + planted.error(EXACT[planted.ratio])}
    said = {f"{one.kind} {one.column}": one for one in found(planted.ratio, wrong).shifts}
    predicted = sum(said[residual].shift or 0.0 for residual in planted.residuals)
    seen = moved(wrong, said[planted.residuals[-1]])
    print(f"| {name} | {', '.join(planted.residuals)} | {predicted:+.3f} | {seen:+.3f} |")  # noqa: T201  for the docs
    assert abs(seen) > 0.1
    assert predicted == pytest.approx(seen, rel=0.25)


def test_the_scale_of_a_varied_ratio_does_nothing() -> None:
    wrong = {**EXACT, VARIED: EXACT[VARIED] + 0.05}
    shifts = found(VARIED, wrong).shifts
    assert all(abs(one.shift or 0.0) < 1e-3 for one in shifts)
    assert abs(moved(wrong, shifts[0])) < 1e-3


@pytest.mark.parametrize("name", ["scale 2 %", "slope 0.9", "tail, growing"])
def test_what_is_normalised_at_the_yields_moves_little_and_says_so(name: str) -> None:
    own = EXACT[SIGNAL] + PLANTED[name].error(EXACT[SIGNAL])
    wrong = {**EXACT, SIGNAL: own}
    again = network_error.renormalised(simulation(wrong, normalised=True), wrong)
    for one in found(SIGNAL, again, normalised=True).shifts:
        value, error = fitted(EXACT, one.at, normalised=True)
        assert abs(fitted(again, one.at, normalised=True)[0] - value) / error < 0.02
        assert abs(one.shift or 0.0) < 0.03


SIZE = 20_000
"""Simulated events of each process."""


def test_noise_of_the_simulation_is_within_its_error() -> None:
    """Exact ratios, measured and fitted with the same finite samples: nothing but noise."""
    pulls: dict[str, list[float]] = {}
    for seed in range(25):
        rng = np.random.default_rng(seed)
        simulated = exact.simulation(PROBLEM, rng, SIZE)
        x, log_ratio = simulated.x[: 2 * SIZE], simulated.ratios[SIGNAL]
        halves = [(rows[:SIZE], rows[SIZE:]) for rows in (x, log_ratio)]
        error = float(np.exp(log_ratio[SIZE:]).std() / np.sqrt(SIZE))
        numbers = measured(SIGNAL, halves[0], halves[1], (np.ones(SIZE), np.ones(SIZE)), error)
        point = next(iter(residuals._points(BUILDER.likelihood, simulated, "mu", ())))[0]
        columns = {"x1": x[:, 0], "x2": x[:, 1]}
        for one in residuals.corrections(numbers, columns, log_ratio):
            shift, uncertainty = one.sum(point.nominal(SIGNAL))
            pulls.setdefault(f"{one.kind} {one.column}", []).append(shift / uncertainty)
    for name, values in pulls.items():
        chi2 = float(np.square(values).sum())
        assert stats.chi2.sf(chi2, len(values)) > 1e-3, name


def test_the_largest_values_are_counted() -> None:
    log_ratio, weight = np.log(np.r_[np.full(9990, 0.5), np.full(10, 100.0)]), np.ones(10_000)
    held = residuals.largest(log_ratio, weight)
    total = 9990 * 0.5 + 1000
    assert held.events == pytest.approx(1e-3)
    assert held.mean == pytest.approx(1000 / total)
    assert held.upper == pytest.approx(1000 / total)


def test_a_ratio_without_its_reference_in_the_fit_has_no_tails() -> None:
    made = simulation(EXACT)
    assert residuals.tails(made, {SIGNAL: ("beside",)}) == {}
    assert residuals.tails(replace(made, ratios={}), {SIGNAL: ("background",)}) == {}
    assert residuals.tails(made, {SIGNAL: ("background",)})[SIGNAL].numerator is not None
