"""One descent to a minimum of -ln L within bounds: MIGRAD with the exact Hessian, away from saddles, and down to kinks.

A response with a straight or exponential piece to each side has a kink at 0, where -ln L may have its minimum without a slope
that vanishes. There the parameter is held at 0 as long as both one-sided slopes lead uphill.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from iminuit import Minuit

from needle_parsl.nsbi.statistics.model import Rates

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Objective = Callable[[Floats], tuple[float, Floats | None]]
"""Gives -ln L and its gradient; None where the gradient is not known, and is then taken by differences.

An objective may have a method `hessian`, which spares MIGRAD three quarters of its calls, and masks `bent`, `shaped` and
`kinked` of its coordinates, which say where to start (`starts`) and where it has no derivative.
"""
TOLERANCE = 1e-3
"""Of MIGRAD: it stops where -ln L is within 1e-6 of its minimum, as far as it can tell."""
NEAR_KINK = 0.1
"""Distance from a kink, in sigma, at which it is tried whether the minimum is on it."""
UPHILL = 1e-6
"""A one-sided slope below this leads downhill."""
SADDLE = -1e-6
"""Curvature over the largest one, each parameter in its own unit, below which a point is a saddle and no minimum."""
OFF_BOUND = 1e-3
"""By how much a start on a bound is moved off it, or this part of a range below 1: there, Minuit's change of variables has no slope inward."""
ON_BOUND = 1e-9
"""Distance from a bound, in the same unit, that is none."""
ROUNDS = 5
"""How often a descent goes on from a saddle, or with other parameters on their kinks."""


class Free:
    """The objective as a function of the parameters that are not held, with the last point kept: Minuit asks twice.

    Minuit must not know of the others: version 2.33 takes the rows of a Hessian by their place among the free parameters.
    """

    def __init__(self, objective: Objective, theta: Floats, free: Mask) -> None:
        self.objective, self.theta, self.free = objective, theta, free
        self.second: Callable[[Floats], Floats] | None = getattr(objective, "hessian", None)
        self.point: bytes = b""
        self.answer: tuple[float, Floats | None] = (0.0, None)
        self.bent = False
        """Whether a curvature was negative on the way."""

    def whole(self, x: Floats) -> Floats:
        """Give theta with the free parameters at x."""
        theta = self.theta.copy()
        theta[self.free] = x
        return theta

    def value(self, x: Floats) -> float:
        """Give -ln L."""
        if self.point != x.tobytes():
            self.point, self.answer = x.tobytes(), self.objective(self.whole(x))
        return self.answer[0]

    def gradient(self, x: Floats) -> Floats:
        """Give the slopes by the free parameters."""
        self.value(x)
        assert self.answer[1] is not None
        return self.answer[1][self.free]

    def hessian(self, x: Floats) -> Floats:
        """Give the second derivatives by the free parameters."""
        assert self.second is not None
        return self.second(self.whole(x))[np.ix_(self.free, self.free)]

    def convex(self, x: Floats) -> Floats:
        """Turn negative curvature over: a step then leads downhill, and iminuit 2.33 breaks where it is not positive."""
        own = self.hessian(x)
        if not np.isfinite(own).all():  # the fit has failed, and will say so
            return np.eye(len(x))
        values, axes = np.linalg.eigh(own)
        self.bent |= bool(values[0] < 0)
        size = np.maximum(np.abs(values), 1e-8 * np.abs(values).max() + 1e-12)
        convex: Floats = (axes * size) @ axes.T
        return convex


@dataclass(frozen=True)
class Descent:
    """Where MIGRAD has come to from one start."""

    minuit: Minuit
    problem: Free
    valid: bool
    pinned: Mask
    """Parameters that are held on their kink, shape (P,)."""

    @property
    def theta(self) -> Floats:
        """Give where it has come to, shape (P,)."""
        return self.problem.whole(np.array(self.minuit.values))

    @property
    def nll(self) -> float:
        """Give -ln L there."""
        return float(self.minuit.fval)

    def rank(self) -> tuple[bool, float]:
        """Order descents: valid ones first, then the deeper ones."""
        return not self.valid, self.nll


def descend(objective: Objective, rates: Rates, start: Floats, free: Mask) -> Descent:
    """Go downhill from a start.

    Args:
        objective: Gives -ln L and its gradient.
        rates: Names and bounds.
        start: theta, shape (P,).
        free: Which parameters are not held, shape (P,).
    """
    kinked = getattr(objective, "kinked", None)
    found = _past_saddles(objective, rates, _smooth(objective, rates, start, free, rates.limits()))
    if kinked is None or not (near := kinked & free & (np.abs(found.theta) < NEAR_KINK)).any():
        return found
    lower = _on_kinks(objective, rates, found.theta, free, near)
    return lower if lower.rank() <= (found.valid is False, found.nll + TOLERANCE) else found


Limits = Sequence[tuple[float, float]]


def _smooth(objective: Objective, rates: Rates, start: Floats, free: Mask, limits: Limits) -> Descent:
    """Run MIGRAD with the Hessian; without it where that fails, as where the Hessian is nearly singular."""
    problem = Free(objective, start, free)
    if problem.second is not None:
        found = _migrad(problem, rates, problem.convex, limits)
        if found.valid:
            return found
    return _migrad(problem, rates, None, limits)


def _migrad(problem: Free, rates: Rates, hessian: Callable[[Floats], Floats] | None, limits: Limits) -> Descent:
    free = np.flatnonzero(problem.free)
    low, high = np.array([limits[int(place)] for place in free]).T
    start = _off_bounds(problem.theta[free], low, high)
    problem.value(start)
    gradient = None if problem.answer[1] is None else problem.gradient
    names = [rates.parameters[place] for place in free]
    minuit = Minuit(problem.value, start, grad=gradient, hessian=hessian, name=names)
    minuit.errordef, minuit.strategy, minuit.tol = Minuit.LIKELIHOOD, int(hessian is None), TOLERANCE
    minuit.limits = list(zip(low, high, strict=True))
    minuit.migrad()
    return Descent(minuit, problem, bool(minuit.valid), np.zeros(len(problem.theta), np.bool_))


def _off_bounds(theta: Floats, low: Floats, high: Floats) -> Floats:
    """Move what is on a bound off it, and nothing else: bounds may be far wider than the scale of a parameter, or infinite."""
    unit = np.minimum(high - low, 1.0)
    found = np.where(theta - low <= ON_BOUND * unit, low + OFF_BOUND * unit, theta)
    return np.where(high - theta <= ON_BOUND * unit, high - OFF_BOUND * unit, found)


def _past_saddles(objective: Objective, rates: Rates, found: Descent) -> Descent:
    """Go on to both sides of a saddle, where a descent has met negative curvature or has failed."""
    for _ in range(ROUNDS):
        if found.problem.second is None or not (found.problem.bent or not found.valid):
            return found
        step = _downhill(found, rates)
        if step is None:
            return found
        low, high = np.array(rates.limits()).T
        starts = [np.clip(found.theta + side * step, low, high) for side in (1.0, -1.0)]
        both = [_smooth(objective, rates, start, found.problem.free, rates.limits()) for start in starts]
        best = min(both, key=Descent.rank)
        if best.nll > found.nll - 1e-9 * (1 + abs(found.nll)):
            return found
        found = best
    return found


def _downhill(found: Descent, rates: Rates) -> Floats | None:
    """Give a step along negative curvature, shape (P,); None at a minimum."""
    low, high = np.array(rates.limits()).T
    theta, problem = found.theta, found.problem
    margin = 1e-6 * np.minimum(high - low, 1.0)
    inside = (problem.free & (theta - low > margin) & (high - theta > margin))[problem.free]
    own = problem.hessian(theta[problem.free])[np.ix_(inside, inside)]
    if not len(own) or not np.isfinite(own).all():
        return None
    unit = 1 / np.sqrt(np.maximum(np.abs(np.diag(own)), 1e-12))
    values, vectors = np.linalg.eigh(own * np.outer(unit, unit))
    if values[0] >= SADDLE * max(values[-1], 1.0):
        return None
    step = np.zeros(len(theta))
    step[np.flatnonzero(problem.free)[inside]] = 0.5 * vectors[:, 0] * unit
    return step


def _on_kinks(objective: Objective, rates: Rates, theta: Floats, free: Mask, near: Mask) -> Descent:
    """Hold parameters on their kinks, let go to its side each whose slope there leads downhill, until none does."""
    pinned, limits = near.copy(), list(rates.limits())
    best: Descent | None = None
    for _ in range(ROUNDS + int(near.sum())):
        start = np.where(pinned, 0.0, theta)
        if not (free & ~pinned).any():
            break
        found = _smooth(objective, rates, start, free & ~pinned, limits)
        theta = found.theta
        best = Descent(found.minuit, found.problem, found.valid, pinned.copy())
        slopes = _slopes(objective, theta, pinned)
        side = {k: 1.0 if up < -UPHILL else -1.0 if down > UPHILL else 0.0 for k, (down, up) in slopes.items()}
        away = [k for k, sign in side.items() if sign]
        if not away:
            break
        for k in away:
            low, high = rates.limits()[k]
            limits[k] = (0.0, high) if side[k] > 0 else (low, 0.0)
            theta[k], pinned[k] = side[k] * NEAR_KINK, False
    assert best is not None or not (free & ~near).any()
    return best if best is not None else _smooth(objective, rates, np.where(near, 0.0, theta), free, rates.limits())


def _slopes(objective: Objective, theta: Floats, pinned: Mask) -> dict[int, tuple[float, float]]:
    """Give the slopes just below and just above the kink of each pinned parameter."""
    found = {}
    for k in np.flatnonzero(pinned):
        sides = []
        for side in (-1e-9, 1e-9):
            moved = theta.copy()
            moved[k] = side
            gradient = objective(moved)[1]
            assert gradient is not None
            sides.append(float(gradient[k]))
        found[int(k)] = (sides[0], sides[1])
    return found
