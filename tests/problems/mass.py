"""A resonance of unknown mass over a background, with exact ratios: the mass is a parameter of the simulation, and moves yields, too."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.densities import knot
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.model.builder import Builder
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood

SIGNAL, BACKGROUND = 150.0, 700.0
WIDTH, SPREAD = 0.7, 1.5
KNOTS = tuple(np.linspace(-1, 1, 9).tolist())
MODEL = Model(
    parameters={
        "mu": Parameter(1.0, (0.0, 4.0)),
        "mass": Parameter(0.0, (-1.0, 1.0), role="free", grid=KNOTS),
    },
    processes={"signal": "mu * (1 + 0.3 * mass)", "background": "1"},
    nuisances={"lumi": Nuisance(rate={"signal": (1.05, 1 / 1.05)}, interpolation="code1")},
)
BUILDER = Builder.of(MODEL, [])


def log_ratio(x: np.ndarray, mass: float) -> np.ndarray:
    return norm.logpdf(x, 2 + mass, WIDTH) - norm.logpdf(x, 1, SPREAD)


def ratios(x: np.ndarray) -> dict[str, np.ndarray]:
    return {"signal": log_ratio(x, 0.0)} | {knot("signal", k): log_ratio(x, m) for k, m in enumerate(KNOTS)}


def reference(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.normal(1, SPREAD, size)


def simulation(rng: np.random.Generator, size: int) -> Dataset:
    """Events of the background stand for both processes."""
    x = reference(rng, size)
    r = np.exp(log_ratio(x, 0.0))
    weight = np.concatenate([SIGNAL * r / r.sum(), np.full(size, BACKGROUND / size)])
    both = np.concatenate([x, x])
    yields = {"signal": SIGNAL, "background": BACKGROUND}
    return Dataset.of(both, ratios(both), weight=weight, samples={"signal": size, "background": size}, yields=yields)


def observed(rng: np.random.Generator, mu: float, mass: float) -> Dataset:
    numbers = rng.poisson([mu * (1 + 0.3 * mass) * SIGNAL, BACKGROUND])
    x = np.concatenate([rng.normal(2 + mass, WIDTH, numbers[0]), rng.normal(1, SPREAD, numbers[1])])
    return Dataset.of(x, ratios(x))


def closed(x: np.ndarray, mu: float, mass: float, lumi: float) -> float:
    """-ln L as a formula; densities are over that of the background."""
    signal = mu * (1 + 0.3 * mass) * SIGNAL * 1.05**lumi
    return signal + BACKGROUND - float(np.log(signal * np.exp(log_ratio(x, mass)) + BACKGROUND).sum()) + lumi**2 / 2


def likelihood(seed: int, mu: float = 1.0, mass: float = 0.0, size: int = 20_000) -> Likelihood:
    rng = np.random.default_rng(seed)
    return BUILDER.likelihood(observed(rng, mu, mass), simulation(rng, size))
