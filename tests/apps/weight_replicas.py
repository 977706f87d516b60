"""Replicas of the fit of wifi weights on the processes of the Gaussian app, with and without a fit of mu behind each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from scipy.stats import norm

from needle_parsl import refs
from needle_parsl.analysis import Model, Parameter
from needle_parsl.nsbi.estimators import joint, wifi
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.ensemble_error import propagate
from needle_parsl.nsbi.statistics.fits.ensemble_shifts import Directions, MovedRegion, mover
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.builder import Builder

APP = Path(__file__).parents[2] / "apps" / "gaussian" / "physics.py"
MODEL = Model({"mu": Parameter(1.0, (0.0, 5.0))}, {"signal": "mu", "background": "1"}, {})
MEMBERS = 6
LOW, HIGH = np.array([-0.8, -2.3, -np.inf, -1.8]), np.array([2.4, 1.3, np.inf, 1.8])
"""The events that are used: the signal is narrower than the background, and in its tails a few events of it with huge
p_background / p_signal would make up the loss, so that no covariance could be estimated from a few thousand."""


def physics() -> ModuleType:
    return refs.load_source(APP.read_text(), str(APP))


def columns(app: ModuleType, process: str, events: int, rng: np.random.Generator) -> np.ndarray:
    """Draw events, of which the window keeps about so many."""
    return inside(app, process, round(events / accepted(app, process)), rng)


def inside(app: ModuleType, process: str, events: int, rng: np.random.Generator) -> np.ndarray:
    """Draw events, and keep those in the window."""
    made = app.draw(process, rng, events)
    x = np.column_stack([made[name] for name in app.FEATURES])
    return x[((x > LOW) & (x < HIGH)).all(axis=1)]


def accepted(app: ModuleType, process: str) -> float:
    """Give the share of a process in the window."""
    mean, width = app.MEAN[process], app.WIDTH[process]
    return float((norm.cdf(HIGH, mean, width) - norm.cdf(LOW, mean, width)).prod())


def truth(app: ModuleType, x: np.ndarray) -> np.ndarray:
    found: np.ndarray = app.gaussian("signal", x, 0.0) - app.gaussian("background", x, 0.0)
    return found - np.log(accepted(app, "signal") / accepted(app, "background"))


def members(app: ModuleType, x: np.ndarray) -> np.ndarray:
    """Make log ratios that are wrong, each in its own way, and right in one combination: (M, N), float32 as networks give."""
    errors = np.stack([x[:, 0], x[:, 1], x[:, 2], x[:, 0] ** 2 - 1, np.tanh(x[:, 3])])
    mix = np.random.default_rng(7).normal(0, 0.15, (MEMBERS, len(errors)))
    return (truth(app, x) + mix @ errors).astype(np.float32)


def sample(app: ModuleType, process: str, events: int, rng: np.random.Generator, start: int) -> wifi.ClassEvents:
    x = columns(app, process, events, rng)
    return wifi.ClassEvents(
        members(app, x), rng.uniform(0.5, 1.5, len(x)), np.arange(start, start + len(x), dtype=np.uint64)
    )


def fitted(app: ModuleType, events: int, rng: np.random.Generator) -> wifi.Weights:
    return wifi.fit(sample(app, "signal", events, rng, 0), sample(app, "background", events, rng, 2 * events))


@dataclass(frozen=True)
class Replica:
    """One data set, fitted with the weights of one fit."""

    value: float
    statistical: float
    added: float
    t: float
    """At the truth, divided by what the weights inflate it by."""


def replica(app: ModuleType, events: int, scale: float, rng: np.random.Generator) -> Replica:
    """Refit the weights, throw data at mu = 1 with `scale` times the app's yields, and fit mu."""
    weights = fitted(app, events, rng)
    x = np.concatenate([inside(app, p, int(rng.poisson(scale * app.YIELD[p])), rng) for p in app.YIELD])
    values = members(app, x)
    log_ratio = weights.values[0] + weights.values[1:] @ values
    yields = {process: scale * expected * accepted(app, process) for process, expected in app.YIELD.items()}
    data = Dataset(
        x=x.astype(np.float32),
        weight=np.ones(len(x)),
        sample=np.full(len(x), -1),
        samples=(),
        ratios={"signal": log_ratio},
        yields={},
    )
    simulation = Dataset(
        x=np.zeros((2, 4), np.float32), weight=np.ones(2), sample=np.array([0, 1]), samples=("signal", "background"), ratios={"signal": np.zeros(2)}, yields=yields
    )  # fmt: skip
    covariance = joint.Covariance(("signal",), (len(weights.spread),), weights.spread)
    moves = Directions(covariance, {"signal": weights.coordinates(values).astype(np.float32)})
    nothing = Directions(covariance, {"signal": np.zeros((2, len(weights.spread)), np.float32)})
    builder = Builder.of(MODEL, ())

    _, shifted = mover(builder.joint, {"": MovedRegion(data, simulation, moves, nothing)})
    likelihood = shifted(np.zeros(len(weights.spread)))
    best = minimise(likelihood, likelihood.rates)
    found = propagate(shifted, best, covariance.values)
    t = 2 * (likelihood(np.ones(1))[0] - best.nll) / found.inflation[0]
    return Replica(best.value("mu"), best.error("mu"), found.error("mu"), float(t))


def covered(found: list[Replica]) -> tuple[float, float, float]:
    """Give the coverage of the 68.3 % interval that propagates, that of the one that does not, and added over statistical variance."""
    value, own, added = (np.array([getattr(r, name) for r in found]) for name in ("value", "statistical", "added"))
    total = np.sqrt(own**2 + added**2)
    away = np.abs(value - 1)
    return float((away < total).mean()), float((away < own).mean()), float((added**2).mean() / (own**2).mean())
