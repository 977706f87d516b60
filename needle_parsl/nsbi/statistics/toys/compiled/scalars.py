"""What is needed once per point, not once per row: multipliers, yield responses and constraints."""

from __future__ import annotations

import math

import numpy as np

from needle_parsl.nsbi.statistics.toys.compiled.arrays import EXPONENTIAL, JOINED, QUADRATIC, SMOOTH, TERMS
from needle_parsl.nsbi.statistics.toys.compiled.compilation import compiled, exactly

OPERATIONS = (
    "number",
    "name",
    "+",
    "-",
    "*",
    "/",
    "**",
    "negative",
    "sqrt",
    "log",
    "exp",
    "sin",
    "cos",
    "sinh",
    "cosh",
)
"""What multipliers are made of; an operation is its place here."""
POLYNOMIAL = np.array([
    [0, 15, -7, 1, -15, 7, -1], [-48, 24, -9, 1, 24, -9, 1], [0, -10, 10, -2, 10, -10, 2],
    [48, -24, 14, -2, -24, 14, -2], [0, 3, -3, 1, -3, 3, -1], [-16, 8, -5, 1, 8, -5, 1],
], np.float64)  # fmt: skip
"""16 a_n of the smooth response, n = 1 to 6, by its terms: value and two derivatives are those of the exponentials at one sigma."""
SMALLEST = 1e-6
"""A response is at least this where straight lines would take it to 0 and below; it has no slope there."""


@exactly
def run(code, constant, start, stop, values, stack):
    """Evaluate one expression in reverse Polish order: steps `start` to `stop` of `code`, shape (steps, 2), with the values of parameters, shape (P,)."""
    top = 0
    for step in range(start, stop):
        operation = code[step, 0]
        if operation == 0:
            stack[top] = constant[step]
            top += 1
        elif operation == 1:
            stack[top] = values[code[step, 1]]
            top += 1
        elif operation <= 6:
            top -= 1
            a, b = stack[top - 1], stack[top]
            if operation == 2:
                a = a + b
            elif operation == 3:
                a = a - b
            elif operation == 4:
                a = a * b
            elif operation == 5:
                a = a / b
            else:
                a = a**b
            stack[top - 1] = a
        else:
            stack[top - 1] = _function(operation, stack[top - 1])
    return stack[0]


@exactly
def _function(operation, a):
    if operation == 7:
        return -a
    if operation == 8:
        return math.sqrt(a) if a >= 0 else math.nan
    if operation == 9:
        return math.log(a) if a > 0 else (-math.inf if a == 0 else math.nan)
    if operation == 10:
        return math.exp(a)
    if operation == 11:
        return math.sin(a)
    if operation == 12:
        return math.cos(a)
    return math.sinh(a) if operation == 13 else math.cosh(a)


@exactly
def multiply(model, theta, factors):
    """Evaluate the multipliers with their derivatives at theta, shape (P,)."""
    physics, place = model.physics, 0
    for j in range(len(factors.f)):
        for p in range(-1, physics + physics * physics):
            value = run(model.code, model.constant, model.ends[place], model.ends[place + 1], theta, factors.stack)
            if p < 0:
                factors.f[j] = value
            elif p < physics:
                factors.df[j, p] = value
            else:
                factors.ddf[j, (p - physics) // physics, (p - physics) % physics] = value
            place += 1


@exactly
def weigh(kind, a, into):
    """Say how a response within one sigma is made of its terms, and its first two derivatives; fills shape (3, TERMS)."""
    into[:] = 0.0
    if kind == JOINED:
        q, dq, ddq = a * a * (15 - 10 * a * a + 3 * a**4) / 16, a * (30 - 40 * a * a + 18 * a**4) / 16, 0.0
        ddq = (30 - 120 * a * a + 90 * a**4) / 16
        into[0, 0], into[0, 1], into[0, 4] = 1 - 2 * q, 0.5 * a + q, -0.5 * a + q
        into[1, 0], into[1, 1], into[1, 4] = -2 * dq, 0.5 + dq, -0.5 + dq
        into[2, 0], into[2, 1], into[2, 4] = -2 * ddq, ddq, ddq
        return
    into[0, 0] = 1.0
    for n in range(1, 7):
        value, slope, bend = a**n, n * a ** (n - 1), n * (n - 1) * a ** max(n - 2, 0)
        for term in range(TERMS):
            own = POLYNOMIAL[n - 1, term] / 16
            into[0, term] += own * value
            into[1, term] += own * slope
            into[2, term] += own * bend


@exactly
def curve(kind, row, a, terms):
    """Give the logarithm of a response at a sigma with two derivatives; `row` has its numbers u, d, ln u, ln d."""
    u, d, up, down = row
    if kind == QUADRATIC:
        one, two = 0.5 * (up - down), 0.5 * (up + down)
        return a * (one + a * two), one + 2 * a * two, 2 * two
    if kind in (SMOOTH, JOINED) and abs(a) < 1:
        weigh(kind, a, terms)
        found = terms[:, 0] + u * (terms[:, 1] + up * (terms[:, 2] + up * terms[:, 3]))
        found += d * (terms[:, 4] + down * (terms[:, 5] + down * terms[:, 6]))
        slope = found[1] / found[0]
        return math.log(found[0]), slope, found[2] / found[0] - slope * slope
    if kind in (SMOOTH, EXPONENTIAL):
        slope = up if a >= 0 else -down
        return a * slope, slope, 0.0
    outward = u - 1 if a >= 0 else 1 - d
    value = 1 + a * outward
    if value <= SMALLEST:
        return math.log(SMALLEST), 0.0, 0.0
    return math.log(value), outward / value, -((outward / value) ** 2)


@compiled
def gain(model, alpha, factors, terms):
    """Evaluate G_j of every table at alpha, shape (K,), with the derivatives of its logarithm."""
    tables, processes, nuisances = model.gain_kind.shape
    factors.bend[:] = 0.0
    for r in range(tables):
        for j in range(processes):
            total = 0.0
            for k in range(nuisances):
                factors.up[r, j, k] = 0.0
                if model.gain_kind[r, j, k] >= 0:
                    log, slope, bend = curve(model.gain_kind[r, j, k], model.gains[r, j, k], alpha[k], terms)
                    total += log
                    factors.up[r, j, k] = slope
                    factors.bend[r, j, k, k] = bend
            factors.e[r, j] = math.exp(total)


@exactly
def constrain(model, auxiliary, alpha, gradient, hessian):
    """Add the constraint terms at alpha, shape (K,), of what was observed, shape (K,); kinds are places in `constraints.KINDS`."""
    value, physics = 0.0, model.physics
    for k in range(len(alpha)):
        a, scale, seen = alpha[k], model.scale[k], auxiliary[k]
        if model.constraint[k] == 0:
            pull = a - seen
            value, first, second = value + 0.5 * pull * pull, pull, 1.0
        else:
            root = math.sqrt(scale)
            gamma = 1 + a / root
            least = seen - seen * math.log(seen / scale) if seen > 0 else 0.0
            value += scale * gamma - (seen * math.log(gamma) if seen > 0 else 0.0) - least
            first, second = root - seen / (gamma * root), seen / (gamma * gamma * scale)
        gradient[physics + k] += first
        hessian[physics + k, physics + k] += second
    return value
