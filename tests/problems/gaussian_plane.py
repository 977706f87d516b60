"""Two parameters of a linear, nearly Gaussian measurement: bins with so many events that their counts are Gaussian, and a constraint."""

from __future__ import annotations

import numpy as np

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood

NAMES = ("mu", "k")
EXPECTED = {
    "a": np.array([3e5, 2e5, 1e5]),
    "b": np.array([1e5, 2e5, 2.5e5]),
    "background": np.array([4e5, 3e5, 4e5]),
}
NORM = 0.002
"""Relative error of the background, of the size of the statistical error."""
MODEL = Model(
    {name: Parameter(1.0, (0.8, 1.2)) for name in NAMES},
    {"a": "mu", "b": "k", "background": "1"},
    {"norm": Nuisance(rate={"background": (1 + NORM, 1 / (1 + NORM))})},
)


def likelihood(observed: np.ndarray | None = None) -> Likelihood:
    """That of counts, shape (3,); None for what is expected."""
    return Builder.of(MODEL, []).counting([Counts("region", EXPECTED, observed)])


def covariance() -> np.ndarray:
    """Of mu and k, with the nuisance parameter profiled, in closed form, shape (2, 2)."""
    slopes = np.array([EXPECTED["a"], EXPECTED["b"], NORM * EXPECTED["background"]])
    information = slopes / sum(EXPECTED.values()) @ slopes.T + np.diag([0.0, 0.0, 1.0])
    found: np.ndarray = np.linalg.inv(information)[:2, :2]
    return found


def distance(x: np.ndarray, y: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Give t at values of mu, shape (X,), and k, shape (Y,): a quadratic form; shape (X, Y)."""
    inverse = np.linalg.inv(covariance())
    a, b = x[:, None] - best[0], y[None, :] - best[1]
    return inverse[0, 0] * a * a + 2 * inverse[0, 1] * a * b + inverse[1, 1] * b * b


def grid(points: int, best: np.ndarray, width: float = 3.2) -> dict[str, np.ndarray]:
    """Values of both parameters, so many errors to each side."""
    errors = np.sqrt(np.diag(covariance()))
    return {n: np.linspace(c - width * e, c + width * e, points) for n, c, e in zip(NAMES, best, errors, strict=True)}
