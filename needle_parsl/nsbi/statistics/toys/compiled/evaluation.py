"""Value, gradient and Hessian of -ln L over a table of rows, block by block.

With t_i = n_i / lambda_i - tau_i and u_ji = e_j y_ji prod_k g_jik, everything but the Gram matrix of the scores follows from
sums of t u, of t u l and of t u (l l + l'), where l = d ln g / d alpha: what is common to a process is put in afterwards.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from needle_parsl.nsbi.statistics.model.rows import WALL
from needle_parsl.nsbi.statistics.toys.compiled.arrays import (
    BLOCK,
    EXPONENTIAL,
    JOINED,
    PITCH,
    QUADRATIC,
    ROWS,
    SMOOTH,
    TERMS,
    WORK,
    Scratch,
    aligned,
)
from needle_parsl.nsbi.statistics.toys.compiled.compilation import compiled, exactly
from needle_parsl.nsbi.statistics.toys.compiled.scalars import SMALLEST, constrain, gain, multiply, weigh
from needle_parsl.nsbi.statistics.toys.compiled.vectors import exponential, logarithm

SLOPE, BEND, PRODUCT = PITCH, 2 * PITCH, 3 * PITCH
"""Where the numbers of a curve begin."""
ABOVE, BELOW, UP, DOWN = (place * PITCH for place in range(ROWS))


def scratch(parameters: int, processes: int, curves: int) -> Scratch:
    """Make space for tables of a model with so many parameters, processes, and curves of a table at most."""
    shapes = {
        "curves": (curves + 1, WORK * PITCH), "part": (processes, BLOCK), "scaled": (processes, BLOCK),
        "density": (BLOCK,), "other": (BLOCK,), "gamma": (BLOCK,), "loosened": (BLOCK,), "terms": (3, TERMS), "scores": (parameters, BLOCK), "bits": (2, BLOCK),
        "gram": (parameters, parameters), "total": (processes,), "first": (curves,), "second": (curves, curves),
        "floored": (1,),
    }  # fmt: skip
    made: dict[str, Any] = {name: aligned(*shape) for name, shape in shapes.items()}
    made["curves"][-1] = 1.0
    made["bits"] = made["bits"].view(np.int64)
    return Scratch(**made)


@compiled
def _inside(row, t, own, before, n):
    """Add up the terms of a response and of its derivatives."""
    c0, c1, c2, c3, c4, c5, c6 = t[0, 0], t[0, 1], t[0, 2], t[0, 3], t[0, 4], t[0, 5], t[0, 6]
    d0, d1, d2, d3, d4, d5, d6 = t[1, 0], t[1, 1], t[1, 2], t[1, 3], t[1, 4], t[1, 5], t[1, 6]
    e0, e1, e2, e3, e4, e5, e6 = t[2, 0], t[2, 1], t[2, 2], t[2, 3], t[2, 4], t[2, 5], t[2, 6]
    for i in range(n):
        u, d, x, y = row[ABOVE + i], row[BELOW + i], row[UP + i], row[DOWN + i]
        v = c0 + u * (c1 + x * (c2 + x * c3)) + d * (c4 + y * (c5 + y * c6))
        own[i] = v
        own[SLOPE + i] = d0 + u * (d1 + x * (d2 + x * d3)) + d * (d4 + y * (d5 + y * d6))
        own[BEND + i] = e0 + u * (e1 + x * (e2 + x * e3)) + d * (e4 + y * (e5 + y * e6))
        own[PRODUCT + i] = v * before[PRODUCT + i]


@compiled
def _outside(row, place, sign, own, before, n):
    """Take the slope of an exponential that is there already, and multiply with it."""
    for i in range(n):
        v, d = own[i], sign * row[place + i]
        own[SLOPE + i] = v * d
        own[BEND + i] = v * d * d
        own[PRODUCT + i] = v * before[PRODUCT + i]


@compiled
def _straight(row, a, own, before, n):
    """Follow a straight line down to the smallest response."""
    place, sign = (ABOVE, 1.0) if a >= 0 else (BELOW, -1.0)
    for i in range(n):
        d = sign * (row[place + i] - 1.0)
        v = 1.0 + a * d
        good = v > SMALLEST
        own[i] = v if good else SMALLEST
        own[SLOPE + i] = d if good else 0.0
        own[BEND + i] = 0.0
        own[PRODUCT + i] = own[i] * before[PRODUCT + i]


@compiled
def _quadratic(row, a, own, before, s, n):
    """Follow exp(c_1 a + c_2 a^2) through both variations."""
    x, y = 0.5 * (a * a + a), 0.5 * (a * a - a)
    for i in range(n):
        own[SLOPE + i] = x * row[UP + i] + y * row[DOWN + i]
    exponential(own[SLOPE : SLOPE + BLOCK], 1.0, own, s.bits[0], n)
    for i in range(n):
        v, d = own[i], (a + 0.5) * row[UP + i] + (a - 0.5) * row[DOWN + i]
        own[SLOPE + i] = v * d
        own[BEND + i] = v * (d * d + row[UP + i] + row[DOWN + i])
        own[PRODUCT + i] = v * before[PRODUCT + i]


@compiled
def respond(curves, nuisance, kind, alpha, low, high, s, n):
    """Fill the products, slopes and bends of the curves of one process; one division serves all of them.

    Args:
        curves: Responses of a block, shape (C, ROWS * PITCH).
        nuisance: That of each curve, shape (C,).
        kind: Of each curve, shape (C,).
        alpha: In sigma, shape (K,).
        low: The first curve of the process.
        high: Behind its last.
        s: `Scratch`, whose curves are filled.
        n: Rows of the block that are looked at.

    Returns:
        The row of `s.curves` whose `PRODUCT` is that of all curves.
    """
    one = len(s.curves) - 1
    for c in range(low, high):
        a, row, own = alpha[nuisance[c]], curves[c], s.curves[c]
        before = s.curves[c - 1] if c > low else s.curves[one]
        place, sign = (UP, 1.0) if a >= 0 else (DOWN, -1.0)
        if kind[c] == QUADRATIC:
            _quadratic(row, a, own, before, s, n)
        elif kind[c] in (SMOOTH, JOINED) and abs(a) < 1.0:
            weigh(kind[c], a, s.terms)
            _inside(row, s.terms, own, before, n)
        elif kind[c] in (SMOOTH, EXPONENTIAL):
            exponential(row[place : place + BLOCK], abs(a), own, s.bits[0], n)
            _outside(row, place, sign, own, before, n)
        else:
            _straight(row, a, own, before, n)
    if high == low:
        return s.curves[one]
    inverse, last = s.other, s.curves[high - 1]
    for i in range(n):
        inverse[i] = 1.0 / last[PRODUCT + i]
    for c in range(high - 1, low - 1, -1):
        own, before = s.curves[c], s.curves[c - 1] if c > low else s.curves[one]
        for i in range(n):
            reciprocal = inverse[i] * before[PRODUCT + i]
            inverse[i] = inverse[i] * own[i]
            d = own[SLOPE + i] * reciprocal
            own[SLOPE + i] = d
            own[BEND + i] = own[BEND + i] * reciprocal - d * d
    return last


@compiled
def clear(s):
    """Begin new sums."""
    s.gram[:] = 0.0
    s.total[:] = 0.0
    s.first[:] = 0.0
    s.second[:] = 0.0


@compiled
def _parts(rows, r, block, factors, alpha, s, n):
    """Compute the parts of lambda, and lambda itself."""
    density, curves, nuisance, kind = s.density, rows.curves[block], rows.nuisance[r], rows.kind[r]
    for i in range(n):
        density[i] = 0.0
    for j in range(len(factors.f)):
        product = respond(curves, nuisance, kind, alpha, rows.first[r, j], rows.first[r, j + 1], s, n)
        f, e, y, part = factors.f[j], factors.e[r, j], rows.y[block, j], s.part[j]
        for i in range(n):
            own = e * y[i] * product[PRODUCT + i]
            part[i] = own
            density[i] += f * own


@compiled
def _logarithms(rows, block, s, n):
    """Give the block's part of -ln L; leave 1 / lambda in `density`, 0 for rows below their floor."""
    count, rate, floor, density, logs = rows.count[block], rows.rate[block], rows.floor[block], s.density, s.other
    value, lost = 0.0, 0.0
    for i in range(n):
        value += rate[i] * density[i]
        lost += count[i] if density[i] <= floor[i] else 0.0
        density[i] = max(density[i], floor[i])
    logarithm(density, logs, s.bits, n)
    for i in range(n):
        value -= count[i] * logs[i]
        density[i] = 1.0 / density[i] if density[i] > floor[i] else 0.0
    s.floored[0] += lost
    return value


@compiled
def _loosen(rows, block, s, n):
    """Minimise over the factors gamma of bins whose simulation has an error (`model.staterror`); add what that does to -ln L."""
    count, rate, spread, seen, density = (
        rows.count[block],
        rows.rate[block],
        rows.spread[block],
        rows.seen[block],
        s.density,
    )
    value = 0.0
    for i in range(n):
        s.gamma[i], s.loosened[i] = 1.0, 0.0
        if spread[i] <= 0.0 or density[i] <= 0.0:
            continue
        scaled = 1.0 / density[i]
        lam, square = rate[i] * scaled, spread[i]
        b = lam * square - seen[i]
        root = math.sqrt(b * b + 4.0 * count[i] * square)
        gamma = 2.0 * count[i] * square / (b + root) if b > 0.0 else 0.5 * (root - b)
        value += (gamma - 1.0) * lam + 0.5 * (gamma - seen[i]) ** 2 / square
        if count[i] > 0.0:
            value -= count[i] * math.log(gamma)
        if gamma > 0.0:
            s.loosened[i] = lam / math.sqrt(count[i] / (gamma * gamma) + 1.0 / square)
        s.gamma[i] = gamma
    return value


@compiled
def _less(s, n):
    """Take from the Gram matrix what the factors gamma of bins leave uncertain."""
    for p in range(len(s.scores)):
        for i in range(n):
            s.other[i] = -s.scores[p, i]
        _dots(s.other, s.scores, 0, p + 1, 0, s.gram[p], n)


@compiled
def _scores(rows, r, root, factors, physics, s, n):
    """Compute root d lambda / d theta / lambda, of which root is mostly sqrt(n)."""
    density = s.density
    s.scores[:, :n] = 0.0
    for j in range(len(factors.f)):
        scaled, part, f = s.scaled[j], s.part[j], factors.f[j]
        for i in range(n):
            scaled[i] = part[i] * density[i] * root[i]
        for p in range(physics):
            row, common = s.scores[p], factors.df[j, p]
            for i in range(n):
                row[i] += common * scaled[i]
        low, high = rows.first[r, j], rows.first[r, j + 1]
        place = low
        for k in range(len(s.scores) - physics):  # the curves of a process are in the order of the nuisance parameters
            row, common = s.scores[physics + k], f * factors.up[r, j, k]
            if place < high and rows.nuisance[r, place] == k:
                own = s.curves[place]
                for i in range(n):
                    row[i] += scaled[i] * (common + f * own[SLOPE + i])
                place += 1
            elif common != 0.0:
                for i in range(n):
                    row[i] += common * scaled[i]


@compiled
def _dots(a, rows, first, last, shift, into, n):
    """Add the scalar products of a row with some others; four at a time, so that it is read once for them."""
    b = first
    while b + 4 <= last:
        w, x, y, z = 0.0, 0.0, 0.0, 0.0
        r0, r1, r2, r3 = rows[b], rows[b + 1], rows[b + 2], rows[b + 3]
        for i in range(n):
            own = a[i]
            w += own * r0[shift + i]
            x += own * r1[shift + i]
            y += own * r2[shift + i]
            z += own * r3[shift + i]
        into[b] += w
        into[b + 1] += x
        into[b + 2] += y
        into[b + 3] += z
        b += 4
    while b < last:
        w = 0.0
        row = rows[b]
        for i in range(n):
            w += a[i] * row[shift + i]
        into[b] += w
        b += 1


@compiled
def moments(low, high, part, s, n):
    """Add the sums of a weighted part, shape (BLOCK,), with the slopes and bends of its curves; changes the values of these."""
    for c in range(low, high):
        own = s.curves[c]
        first, second = 0.0, 0.0
        for i in range(n):
            weighted = part[i] * own[SLOPE + i]
            own[i] = weighted
            first += weighted
            second += part[i] * own[BEND + i]
        s.first[c] += first
        s.second[c, c] += second
        _dots(own, s.curves, low, c + 1, SLOPE, s.second[c], n)


@compiled
def gradients(low, high, part, s, n):
    """Add the sums of a weighted part, shape (BLOCK,), with the slopes of its curves."""
    for c in range(low, high):
        own, first = s.curves[c], 0.0
        for i in range(n):
            first += part[i] * own[SLOPE + i]
        s.first[c] += first


@exactly
def loosen(rows, r, block, factors, physics, s, n):
    """Let the factors gamma of bins go, and say so in the Gram matrix; `exactly` for the reason of `wall`."""
    value = _loosen(rows, block, s, n)
    _scores(rows, r, s.loosened, factors, physics, s, n)
    _less(s, n)
    return value


@compiled
def accumulate(rows, r, factors, alpha, physics, s):
    """Add up a table; return its part of -ln L.

    Args:
        rows: All tables.
        r: Which one.
        factors: What multiplies its processes.
        alpha: In sigma, shape (K,).
        physics: How many parameters are physics parameters.
        s: `Scratch`; its sums are added to.
    """
    value, n = 0.0, rows.size[r]
    for block in range(rows.begin[r], rows.begin[r + 1]):
        _parts(rows, r, block, factors, alpha, s, n)
        value += _logarithms(rows, block, s, n)
        _scores(rows, r, rows.root[block], factors, physics, s, n)
        for p in range(len(s.scores)):
            _dots(s.scores[p], s.scores, 0, p + 1, 0, s.gram[p], n)
        count, rate, density = rows.count[block], rows.rate[block], s.density
        if rows.loose[r]:
            value += loosen(rows, r, block, factors, physics, s, n)
            for i in range(n):
                density[i] = count[i] * density[i] - rate[i] * s.gamma[i]
        else:
            for i in range(n):
                density[i] = count[i] * density[i] - rate[i]
        for j in range(len(factors.f)):
            part, total = s.part[j], 0.0
            for i in range(n):
                part[i] *= density[i]
                total += part[i]
            s.total[j] += total
            moments(rows.first[r, j], rows.first[r, j + 1], part, s, n)
    return value


@exactly
def wall(rows, r, factors, alpha, physics, s):
    """Add what keeps the expectations of a table from being negative, as `model.rows` does; return its part of -ln L.

    `exactly`, and so a function of its own: as a part of its caller it would make the loops over events slower.
    """
    value, n = 0.0, rows.size[r]
    for block in range(rows.begin[r], rows.begin[r + 1]):
        _parts(rows, r, block, factors, alpha, s, n)
        rate, density, low, below = rows.rate[block], s.density, s.gamma, 0
        for i in range(n):
            low[i] = min(rate[i] * density[i], 0.0)
            below += low[i] < 0.0
        if below == 0:
            continue
        for i in range(n):
            s.loosened[i] = math.sqrt(2.0 * WALL) * rate[i] if low[i] < 0.0 else 0.0
            density[i] = 1.0
            s.floored[0] += 1.0 if low[i] < 0.0 and rows.count[block, i] == 0.0 else 0.0
            value += WALL * low[i] * low[i]
        _scores(rows, r, s.loosened, factors, physics, s, n)
        for p in range(len(s.scores)):
            _dots(s.scores[p], s.scores, 0, p + 1, 0, s.gram[p], n)
        for j in range(len(factors.f)):
            part = s.part[j]
            for i in range(n):
                part[i] *= -2.0 * WALL * rate[i] * low[i]
                s.total[j] += part[i]
            moments(rows.first[r, j], rows.first[r, j + 1], part, s, n)
    return value


@compiled
def combine(rows, r, factors, physics, s, gradient, hessian):
    """Add what a table's sums say to the gradient, shape (P,), and to the lower triangle of the Hessian, shape (P, P)."""
    size = len(gradient)
    for a in range(size):
        for b in range(a + 1):
            hessian[a, b] += s.gram[a, b]
    for j in range(len(factors.f)):
        total, f, up, df = s.total[j], factors.f[j], factors.up[r, j], factors.df[j]
        for p in range(physics):
            gradient[p] -= df[p] * total
            for q in range(p + 1):
                hessian[p, q] -= factors.ddf[j, p, q] * total
        for k in range(size - physics):
            gradient[physics + k] -= f * up[k] * total
            for p in range(physics):
                hessian[physics + k, p] -= df[p] * up[k] * total
            for m in range(k + 1):
                hessian[physics + k, physics + m] -= f * total * (up[k] * up[m] + factors.bend[r, j, k, m])
        for c in range(rows.first[r, j], rows.first[r, j + 1]):
            k, first = rows.nuisance[r, c], s.first[c]
            gradient[physics + k] -= f * first
            for p in range(physics):
                hessian[physics + k, p] -= df[p] * first
            for m in range(size - physics):
                cross = f * up[m] * first
                hessian[physics + max(k, m), physics + min(k, m)] -= cross * (2.0 if k == m else 1.0)
            for d in range(rows.first[r, j], c + 1):
                hessian[physics + k, physics + rows.nuisance[r, d]] -= f * s.second[c, d]


@compiled
def evaluate(model, toy, correct, factors, s, theta, gradient, hessian):
    """Give -ln L, and fill its gradient and the Hessian.

    Args:
        model: What all toys have in common.
        toy: Its tables and auxiliary measurements.
        correct: ln Z_j with its derivatives at these nuisance parameters, already evaluated; the last tables have it, one for each region.
        factors: Space for what multiplies the processes.
        s: `Scratch`.
        theta: Physics parameters in the coordinate of the fit, then nuisance parameters in sigma; shape (P,).
        gradient: Is filled, shape (P,).
        hessian: Is filled, shape (P, P).
    """
    physics, rows, alpha = model.physics, toy.rows, theta[model.physics :]
    multiply(model, theta, factors)
    gain(model, alpha, factors, s.terms)
    tables, processes = len(rows.begin) - 1, len(factors.f)
    fixed = tables - len(correct.log) // processes
    for z in range(len(correct.log)):
        r, j = fixed + z // processes, z % processes
        factors.e[r, j] *= math.exp(-correct.log[z])
        for k in range(len(alpha)):
            factors.up[r, j, k] -= correct.up[z, k]
            for m in range(len(alpha)):
                factors.bend[r, j, k, m] -= correct.bend[z, k, m]
    gradient[:] = 0.0
    hessian[:] = 0.0
    s.floored[0] = 0.0
    value = constrain(model, toy.auxiliary, alpha, gradient, hessian)
    for r in range(tables):
        clear(s)
        value += accumulate(rows, r, factors, alpha, physics, s)
        if r < fixed:  # the last tables have events, of which nothing is expected
            value += wall(rows, r, factors, alpha, physics, s)
        combine(rows, r, factors, physics, s, gradient, hessian)
    for a in range(len(theta)):
        for b in range(a):
            hessian[b, a] = hessian[a, b]
    return value
