"""Blocks of toys without fits: of a Gaussian measurement, and of any t."""

from __future__ import annotations

import math

import numpy as np

from needle_parsl.nsbi.statistics.intervals import neyman
from needle_parsl.nsbi.statistics.toys.block import Block
from problems.likelihoods import counting

SIGMA = 0.5


def thrown(truth: float, tested: np.ndarray, toys: int, seed: int) -> Block:
    """Toys of a Gaussian measurement of mu with a bound at 0: t is exact, and so is what its p-values should be."""
    x = np.random.default_rng(seed).normal(truth, SIGMA, toys)
    best = np.maximum(x, 0)

    def t(mu: np.ndarray | float) -> np.ndarray:
        return np.asarray(((x[:, None] - mu) ** 2 - (x - best)[:, None] ** 2) / SIGMA**2)

    whole, yes = best[:, None], np.ones(toys, bool)
    return Block(parameters=("mu",), truth=np.array([truth]), effective=math.inf, vetoed=0.0, events=np.ones(toys, int), values=whole, errors=0 * whole + SIGMA, pulls=whole,
                 t=t(truth)[:, 0], nll=whole[:, 0], converged=yes, tested=tested, others=t(tested), code=np.zeros(toys, int), retried=~yes)  # fmt: skip


def block(t: np.ndarray, converged: np.ndarray | None = None) -> Block:
    n = len(t)
    good = np.ones(n, bool) if converged is None else converged
    zeros = np.zeros((n, 1))
    return Block(
        parameters=("mu",),
        truth=np.zeros(1),
        effective=math.inf,
        vetoed=0.0,
        events=np.ones(n),
        values=zeros,
        errors=1 + zeros,
        pulls=zeros,
        t=t,
        nll=t,
        converged=good,
    )


def belt(grid: np.ndarray, toys: list[Block], observed: np.ndarray, bounds: tuple[float, float] = (0.0, 5.0)) -> dict:
    return neyman.belt("mu", grid, toys, observed, [0.9], counting(1, bounds=bounds).rates)
