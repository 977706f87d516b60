"""Compiled fits of toys beside those of iminuit."""

from __future__ import annotations

import numpy as np
from iminuit import Minuit

from needle_parsl.nsbi.statistics.fits.starts import spread
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.toys import pool as toys
from needle_parsl.nsbi.statistics.toys.compiled.engine import CompiledFits
from needle_parsl.nsbi.statistics.toys.pool import ToyPool
from problems.interference import Problem

CLOSE = 1e-4
"""Standard errors of mu that fits may differ by."""


def pool(problem: Problem, mu: float) -> tuple[ToyPool, np.ndarray]:
    """Toys of the learned model, from the events that the ratios are over."""
    events = problem.likelihood()
    truth = events.rates.at({"mu": mu})
    return toys.model_pool(events, np.ones(problem.size), truth), truth


def from_here(toy: Likelihood, theta: np.ndarray, held: bool) -> Minuit:
    """Fit with iminuit and exact derivatives, started at a minimum that was found; MIGRAD until it does not move."""
    free = slice(1 if held else 0, None)

    def whole(x: np.ndarray) -> np.ndarray:
        return np.concatenate([theta[:1], x]) if held else np.asarray(x)

    minuit = Minuit(lambda x: toy(whole(x))[0], theta[free], grad=lambda x: toy(whole(x))[1][free],
                    hessian=lambda x: toy.hessian(whole(x))[free, free])  # fmt: skip
    minuit.errordef, minuit.strategy, minuit.tol = 0.5, 0, 1e-7
    minuit.limits = toy.rates.limits()[free]
    minuit.migrad()
    return minuit


def agree(made: ToyPool, truth: np.ndarray, seeds: range) -> dict[str, float]:
    """Fit toys both ways; give the largest differences."""
    value = float(made.likelihood.rates.outward(truth)[0])
    starts = spread(made.likelihood.rates, made.likelihood.bent)
    draws = list(toys.drawn(made, truth, seeds))
    found = CompiledFits.of(made.likelihood).fit(draws, truth, "mu", [value], starts)
    worst = {"nll": 0.0, "mu": 0.0, "edm": 0.0, "failed": float((found.code > 0).any(axis=1).sum())}
    for place in np.flatnonzero((found.code == 0).all(axis=1)):
        toy, theta, sigma = made.likelihood.take(*draws[place]), found.theta[place], found.sigma[place]
        theirs = from_here(toy, theta, held=False)
        held = from_here(toy, np.concatenate([truth[:1], theta[1:]]), held=True)
        worst["nll"] = max(worst["nll"], found.nll[place] - theirs.fval, found.held[place, 0] - held.fval)
        if sigma[0]:
            worst["mu"] = max(worst["mu"], abs(theirs.values[0] - theta[0]) / sigma[0])
        worst["edm"] = max(worst["edm"], theirs.fmin.edm)
    return worst
