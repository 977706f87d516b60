"""Minimising -ln L of one toy within bounds: damped Newton steps with the exact Hessian, and an active set."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from needle_parsl.nsbi.statistics.toys.compiled.compilation import exactly
from needle_parsl.nsbi.statistics.toys.compiled.evaluation import evaluate
from needle_parsl.nsbi.statistics.toys.compiled.normalisation import normalise

CONVERGED, HIGHER, WALL, LIMIT, STUCK, BROKEN = range(6)
"""How a fit has ended: well; in a minimum that is known or higher than a known one; with a nuisance parameter at the end of
its range; after too many steps; without a way down; where -ln L is no number."""
EDM = 1e-10
"""Expected distance of -ln L to its minimum at which a fit has converged."""
LAST = 1e-5
"""That from which a Newton step ends about as near as that: it is the last, and nothing is evaluated after it."""
NEAR = 1e-4
"""That at which ln Z_j is summed over its events."""
CLOSE = 2e-5
"""Half the squared distance, in standard errors, up to which these sums with their derivatives hold: what is left of -ln L is
of third order."""
SAME = 0.04
"""That up to which two points belong to one minimum."""
FORESEEN = 1.0
"""Expected distance of -ln L to its minimum from which on it can be told where a fit will end."""
APART = 0.1
"""A minimum that is higher by this is higher for sure."""
STEPS = 50
CAP = 2.0
"""Longest step of a nuisance parameter."""


class FitSpace(NamedTuple):
    """Space for a fit, and where it is."""

    theta: Any
    """Shape (P,)."""
    gradient: Any
    """Shape (P,)."""
    hessian: Any
    """Shape (P, P)."""
    step: Any
    """Shape (P,)."""
    trial: Any
    """Shape (P,)."""
    free: Any
    """Which parameters are fitted, and not held on a bound just now; shape (P,)."""
    matrix: Any
    """Shape (P, P)."""
    center: Any
    """Where ln Z_j was summed last, shape (P,); NaN before."""
    seen: Any
    """Evaluations, and sums over simulated events, so far; shape (2,)."""


def space(parameters: int) -> FitSpace:
    """Make space for a fit of so many parameters."""
    p = parameters
    return FitSpace(
        np.zeros(p), np.zeros(p), np.zeros((p, p)), np.zeros(p), np.zeros(p), np.zeros(p, np.bool_), np.zeros((p, p)),
        np.full(p, np.nan), np.zeros(2, np.int64),
    )  # fmt: skip


@exactly
def decompose(hessian, free, ridge, into):
    """Put the Cholesky factor of the free part, shape (P, P), of H + ridge into a matrix; whether it is positive."""
    size = len(free)
    for a in range(size):
        for b in range(a + 1):
            if not (free[a] and free[b]):
                into[a, b] = 1.0 if a == b else 0.0
                continue
            total = hessian[a, b] + (ridge if a == b else 0.0)
            for c in range(b):
                total -= into[a, c] * into[b, c]
            if a == b:
                if not total > 1e-14 * abs(hessian[a, a]):
                    return False
                into[a, a] = math.sqrt(total)
            else:
                into[a, b] = total / into[b, b]
    return True


@exactly
def solve(factor, free, right, into):
    """Solve for the free part, by its Cholesky factor, shape (P, P); `right` and `into` have shape (P,)."""
    size = len(free)
    for a in range(size):
        total = right[a] if free[a] else 0.0
        for c in range(a):
            total -= factor[a, c] * into[c]
        into[a] = total / factor[a, a]
    for a in range(size - 1, -1, -1):
        total = into[a]
        for c in range(a + 1, size):
            total -= factor[c, a] * into[c]
        into[a] = total / factor[a, a]


@exactly
def _direction(model, held, fit):
    """Find the step, and the expected distance to the minimum; negative where the Hessian had to be bent."""
    size, steepest, deepest = len(fit.theta), 0.0, 0.0
    for p in range(size):
        low, high = fit.theta[p] <= model.low[p], fit.theta[p] >= model.high[p]
        blocked = (low and fit.gradient[p] > 0) or (high and fit.gradient[p] < 0)
        fit.free[p] = not (held[p] or blocked)
        if fit.free[p]:
            steepest = max(steepest, abs(fit.hessian[p, p]))
            deepest = min(deepest, fit.hessian[p, p])
    ridge, bent = 0.0, False
    while not decompose(fit.hessian, fit.free, ridge, fit.matrix):
        bent = True
        # A negative curvature at least changes its sign: just above it steps would be as short as they please.
        ridge = 10.0 * ridge if ridge > 0 else max(1e-3 * steepest, -2.0 * deepest) + 1e-12
        if ridge > 1e12 * (steepest + 1.0):
            break
    solve(fit.matrix, fit.free, fit.gradient, fit.step)
    edm = 0.0
    for p in range(size):
        fit.step[p] = -fit.step[p] if fit.free[p] else 0.0
        edm -= 0.5 * fit.step[p] * fit.gradient[p]
    return -edm if bent else edm


@exactly
def _damp(model, fit):
    """Shorten a step that is longer than trusted; physics parameters may move by a quarter of their range."""
    scale = 1.0
    for p in range(len(fit.theta)):
        most = 0.25 * (model.high[p] - model.low[p]) if p < model.physics else CAP
        if abs(fit.step[p]) * scale > most:
            scale = most / abs(fit.step[p])
    for p in range(len(fit.theta)):
        fit.step[p] *= scale
    return scale < 1.0


@exactly
def _at(model, toy, normalising, exact, c, factors, s, fit):
    alpha = fit.trial[model.physics :]
    normalise(normalising.every, normalising.few, exact, alpha, s, c)
    if exact:
        fit.seen[1] += 1
        fit.center[:] = fit.trial
    fit.seen[0] += 1
    return evaluate(model, toy, c, factors, s, fit.trial, fit.gradient, fit.hessian)


@exactly
def _distance(fit, other):
    """Half the squared distance to another point, in standard errors."""
    total = 0.0
    for a in range(len(other)):
        for b in range(len(other)):
            total += 0.5 * (fit.theta[a] - other[a]) * fit.hessian[a, b] * (fit.theta[b] - other[b])
    return total


@exactly
def _ahead(model, fit, other):
    """Half the squared distance to another point from where the next step would end, in standard errors; overwrites `trial`."""
    for p in range(len(other)):
        fit.trial[p] = min(max(fit.theta[p] + fit.step[p], model.low[p]), model.high[p]) - other[p]
    total = 0.0
    for a in range(len(other)):
        for b in range(len(other)):
            total += 0.5 * fit.trial[a] * fit.hessian[a, b] * fit.trial[b]
    return total


@exactly
def minimise(model, toy, normalising, c, factors, s, held, fit, known, lowest):
    """Go from `fit.theta` to a minimum, and leave gradient and Hessian there.

    Args:
        held: Parameters that stay, shape (P,).
        known: A minimum that is known already, shape (P,).
        lowest: Its -ln L; infinite without one.

    Returns:
        -ln L, and how the fit has ended.
    """
    pending = normalising.every.begin[-1] > 0
    value, slope, length, anyway = 0.0, 0.0, 1.0, True
    exact = np.bool_(False)  # of a type that True shares: for a literal all that follows is compiled once more
    fit.trial[:] = fit.theta
    for _ in range(STEPS):
        after = _at(model, toy, normalising, exact, c, factors, s, fit)
        if not (anyway or after <= value + 1e-4 * length * slope + 1e-9 * (1 + 1e-3 * abs(value))):
            length *= 0.4
            if length < 1e-4:
                return value, STUCK
            _move(model, fit, length)
            continue
        value = after
        fit.theta[:] = fit.trial
        if not math.isfinite(value):
            return value, BROKEN
        edm = _direction(model, held, fit)
        bent = edm < 0
        if not bent and edm < LAST:
            if not pending or _known(model, normalising.trusted, fit):
                if edm < EDM or _moved(model, fit):
                    return value - edm, _ended(model, held, fit)
            elif edm < EDM:
                exact, anyway = True, True
                continue
        if lowest < math.inf and not bent and edm < FORESEEN:
            same = _ahead(model, fit, known) < SAME and abs(value - edm - lowest) < APART
            if same or value - 3.0 * edm > lowest + APART:
                return value, HIGHER
        damped = _damp(model, fit)
        exact = pending and not bent and not damped and edm < NEAR and not _known(model, normalising.trusted, fit)
        anyway, length, slope = exact, 1.0, 0.0
        for p in range(len(fit.theta)):
            slope += fit.gradient[p] * fit.step[p]
        _move(model, fit, length)
    return value, LIMIT


@exactly
def _known(model, trusted, fit):
    """Whether ln Z_j is known here: it was summed nearby, or never, where that is not needed."""
    if not math.isnan(fit.center[0]):
        return _distance(fit, fit.center) < CLOSE
    total = 0.0
    for p in range(model.physics, len(fit.theta)):
        total += fit.theta[p] * fit.theta[p]
    return total < trusted * trusted


@exactly
def _moved(model, fit):
    """Take the last step, after which nothing is evaluated; whether it stays within the bounds."""
    for p in range(len(fit.theta)):
        after = fit.theta[p] + fit.step[p]
        if not model.low[p] <= after <= model.high[p]:
            return False
    for p in range(len(fit.theta)):
        fit.theta[p] += fit.step[p]
    return True


@exactly
def _move(model, fit, length):
    for p in range(len(fit.theta)):
        fit.trial[p] = min(max(fit.theta[p] + length * fit.step[p], model.low[p]), model.high[p])


@exactly
def _ended(model, held, fit):
    for p in range(model.physics, len(fit.theta)):
        margin = 1e-6 * (model.high[p] - model.low[p])
        if not held[p] and (fit.theta[p] - model.low[p] < margin or model.high[p] - fit.theta[p] < margin):
            return WALL
    return CONVERGED
