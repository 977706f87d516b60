"""Laws from simple parts: independent columns, passed through maps whose inverse and Jacobian are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from problems.records import Array, Law, Mask

Frozen = Any
"""A distribution of scipy.stats with its parameters."""
Map = tuple[Callable[[Array, float], Array], Callable[[Array, float], tuple[Array, Array | float]]]
"""(y, alpha) to x, and (x, alpha) to y and ln |dy/dx|."""


def columns(*laws: Frozen) -> Law:
    """Make independent columns, which know of no nuisance."""

    def raw(generator: np.random.Generator, events: int) -> Array:
        return np.column_stack([law.rvs(size=events, random_state=generator) for law in laws])

    def log_density(x: Array, _: float) -> Array:
        return np.sum([law.logpdf(x[:, i]) for i, law in enumerate(laws)], axis=0)

    return Law(raw, lambda raw, _: raw, log_density)


def through(law: Law, *maps: Map) -> Law:
    """Pass the events of a law through maps, the first one first."""
    for forward, inverse in maps:
        law = _once(law, forward, inverse)
    return law


def _once(law: Law, forward: Callable[[Array, float], Array], inverse: Callable[..., Any]) -> Law:
    def log_density(x: Array, alpha: float) -> Array:
        y, jacobian = inverse(x, alpha)
        return law.log_density(y, alpha) + jacobian

    return Law(law.raw, lambda raw, alpha: forward(law.at(raw, alpha), alpha), log_density)


def linear(matrix: npt.ArrayLike, mean: npt.ArrayLike = 0.0) -> Map:
    """x = A y + m."""
    a, m = np.asarray(matrix, float), np.asarray(mean, float)
    jacobian = -np.linalg.slogdet(a)[1]
    back = np.linalg.inv(a)
    return lambda y, _: y @ a.T + m, lambda x, _: ((x - m) @ back.T, jacobian)


def diagonal(widths: Sequence[float], mean: npt.ArrayLike = 0.0) -> Map:
    """x = w y + m."""
    return linear(np.diag(widths), mean)


def shifted(step: npt.ArrayLike) -> Map:
    """x = y + alpha s."""
    s = np.asarray(step, float)
    return lambda y, alpha: y + alpha * s, lambda x, alpha: (x - alpha * s, 0.0)


def scaled(factors: npt.ArrayLike) -> Map:
    """x = k^alpha y, an energy scale."""
    k = np.asarray(factors, float)
    return lambda y, alpha: y * k**alpha, lambda x, alpha: (x / k**alpha, -alpha * np.log(k).sum())


def bent(from_: int, to: int, strength: float) -> Map:
    """x_j = y_j + b (y_i^2 - 1), a banana."""

    def move(y: Array, sign: float) -> Array:
        moved = y.copy()
        moved[:, to] += sign * strength * (y[:, from_] ** 2 - 1)
        return moved

    return lambda y, _: move(y, 1.0), lambda x, _: (move(x, -1.0), 0.0)


def exponential() -> Map:
    """x = exp(y) in all columns."""
    return lambda y, _: np.exp(y), lambda x, _: (np.log(x), -np.log(x).sum(axis=1))


def powers(factors: Mapping[int, float]) -> Map:
    """x_i = y_i^(k_i^alpha) of some columns: the index of a power law is divided by k^alpha."""

    def raised(y: Array, sign: float, alpha: float) -> Array:
        x = y.copy()
        for column, k in factors.items():
            x[:, column] **= k ** (sign * alpha)
        return x

    def inverse(x: Array, alpha: float) -> tuple[Array, Array]:
        y = raised(x, -1.0, alpha)
        logs = [np.log(y[:, i]) - np.log(x[:, i]) - alpha * np.log(k) for i, k in factors.items()]
        return y, np.sum(logs, axis=0)

    return lambda y, alpha: raised(y, 1.0, alpha), inverse


def wrapped(column: int, by: int, tilt: float, mean: float, step: float) -> Map:
    """phi = y + m + t tanh(x_k) + alpha s, brought back to [-pi, pi)."""

    def turned(x: Array, angle: Array) -> Array:
        made = x.copy()
        made[:, column] = (angle + np.pi) % (2 * np.pi) - np.pi
        return made

    def turn(x: Array, alpha: float) -> Array:
        return mean + tilt * np.tanh(x[:, by]) + alpha * step

    return (
        lambda y, alpha: turned(y, y[:, column] + turn(y, alpha)),
        lambda x, alpha: (turned(x, x[:, column] - turn(x, alpha)), 0.0),
    )


def selected(law: Law, kept: Callable[[Array], Mask], passed: Callable[[float], float]) -> Law:
    """Keep some events.

    Args:
        law: Of all events.
        kept: Which, from the features.
        passed: The fraction that is kept, at alpha.
    """

    def log_density(x: Array, alpha: float) -> Array:
        return np.where(kept(x), law.log_density(x, alpha) - np.log(passed(alpha)), -np.inf)

    return Law(law.raw, law.at, log_density, kept, passed)


def mixed(shares: Sequence[float], *laws: Law) -> Law:
    """Mix laws without selections, with the same number of raw columns."""

    def raw(generator: np.random.Generator, events: int) -> Array:
        chosen = generator.choice(len(laws), events, p=shares)
        made = np.stack([law.raw(generator, events) for law in laws])
        return np.column_stack([chosen, made[chosen, np.arange(events)]])

    def at(raw: Array, alpha: float) -> Array:
        made = np.stack([law.at(raw[:, 1:], alpha) for law in laws])
        return made[raw[:, 0].astype(int), np.arange(len(raw))]

    def log_density(x: Array, alpha: float) -> Array:
        terms = [np.log(share) + law.log_density(x, alpha) for share, law in zip(shares, laws, strict=True)]
        return np.logaddexp.reduce(terms)

    return Law(raw, at, log_density)


def rotation(degrees: float, size: int = 2) -> Array:
    """Turn the first two of so many columns."""
    angle, found = np.deg2rad(degrees), np.eye(size)
    found[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return found
