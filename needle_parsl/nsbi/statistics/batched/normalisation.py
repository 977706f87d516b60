"""ln Z_j at the speed of toys: a surrogate while a fit is on its way, sums over simulated events where it ends.

    ln Z_j(alpha) ~ sum_k a_k(alpha_k) + sum_{k<l} b_kl(alpha_k, alpha_l) + products of three and four alpha

a and b are cubic splines through sums that are taken once; the products take up most of what these leave. What is left is
measured where a fit has come to, with two derivatives, and added from there on: the result has the Z_j of all the events.
"""

from __future__ import annotations

import numpy as np

from needle_parsl.nsbi.statistics.batched.arrays import Correction
from needle_parsl.nsbi.statistics.batched.compiling import compiled, exactly
from needle_parsl.nsbi.statistics.batched.evaluation import PRODUCT, clear, moments, respond


def correction(processes: int, nuisances: int) -> Correction:
    """Make space, without a correction so far."""
    j, k = processes, nuisances
    shapes = {
        "at": (k,), "value": (j,), "first": (j, k), "second": (j, k, k), "log": (j,), "up": (j, k), "bend": (j, k, k),
        "basis": (2, k, 3, 4),
    }  # fmt: skip
    return Correction(**{name: np.zeros(s) for name, s in shapes.items()}, place=np.zeros((2, k), np.int64))


@exactly
def _basis(low, step, nodes, alpha, basis, places):
    """Evaluate the four cubic B-splines that are not 0, with two derivatives, along each nuisance parameter."""
    for k in range(len(alpha)):
        x = (alpha[k] - low) / step
        place = min(max(int(np.floor(x)), 0), nodes - 4)
        u, b = x - place, basis[k]
        v = 1.0 - u
        b[0, 0], b[0, 3] = v * v * v / 6, u * u * u / 6
        b[0, 1], b[0, 2] = (4 - 6 * u * u + 3 * u * u * u) / 6, (4 - 6 * v * v + 3 * v * v * v) / 6
        b[1, 0], b[1, 3] = -v * v / 2 / step, u * u / 2 / step
        b[1, 1], b[1, 2] = (-12 * u + 9 * u * u) / 6 / step, (12 * v - 9 * v * v) / 6 / step
        b[2, 0], b[2, 3] = v / step / step, u / step / step
        b[2, 1], b[2, 2] = (3 * u - 2) / step / step, (3 * v - 2) / step / step
        places[k] = place


@compiled
def approximate(surrogate, alpha, c, corrected):
    """Fill ln Z_j and its derivatives from the surrogate and, if wanted, from what was measured."""
    c.log[:] = 0.0
    c.up[:] = 0.0
    c.bend[:] = 0.0
    if len(surrogate.single) == 0:
        return
    low, step, finer = surrogate.low, surrogate.step, surrogate.step / surrogate.finer
    _basis(low, step, surrogate.double.shape[1], alpha, c.basis[0], c.place[0])
    _basis(low, finer, surrogate.single.shape[2], alpha, c.basis[1], c.place[1])
    processes, nuisances = c.up.shape
    for j in range(processes):
        c.log[j] = surrogate.constant[j]
        for k in range(nuisances):
            b, place = c.basis[1, k], c.place[1, k]
            for i in range(4):
                own = surrogate.single[j, k, place + i]
                c.log[j] += own * b[0, i]
                c.up[j, k] += own * b[1, i]
                c.bend[j, k, k] += own * b[2, i]
    for q in range(len(surrogate.pair)):
        _double(surrogate.double[q], surrogate.pair[q, 0], surrogate.pair[q, 1], surrogate.pair[q, 2], c)
    for m in range(len(surrogate.factor)):
        _product(surrogate.product[m], surrogate.factor[m], alpha, c)
    if corrected:
        for j in range(processes):
            for k in range(nuisances):
                d = alpha[k] - c.at[k]
                c.log[j] += d * c.first[j, k]
                c.up[j, k] += c.first[j, k]
                for m in range(nuisances):
                    other = alpha[m] - c.at[m]
                    c.log[j] += 0.5 * d * other * c.second[j, k, m]
                    c.up[j, k] += other * c.second[j, k, m]
                    c.bend[j, k, m] += c.second[j, k, m]
            c.log[j] += c.value[j]


@compiled
def _double(table, j, k, m, c):
    x, y, p, q = c.basis[0, k], c.basis[0, m], c.place[0, k], c.place[0, m]
    value, dx, dy, dxx, dxy, dyy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for a in range(4):
        row = table[p + a]
        f, g, h = 0.0, 0.0, 0.0
        for b in range(4):
            f += row[q + b] * y[0, b]
            g += row[q + b] * y[1, b]
            h += row[q + b] * y[2, b]
        value += x[0, a] * f
        dx += x[1, a] * f
        dxx += x[2, a] * f
        dy += x[0, a] * g
        dxy += x[1, a] * g
        dyy += x[0, a] * h
    c.log[j] += value
    c.up[j, k] += dx
    c.up[j, m] += dy
    c.bend[j, k, k] += dxx
    c.bend[j, m, m] += dyy
    c.bend[j, k, m] += dxy
    c.bend[j, m, k] += dxy


@compiled
def _product(powers, factor, alpha, c):
    """Add factor x alpha_k alpha_l alpha_m (alpha_n), where one may stand twice."""
    j, size = powers[0], 4
    while powers[size] < 0:
        size -= 1
    for a in range(-1, size):
        one = factor
        for i in range(size):
            if i != a:
                one *= alpha[powers[1 + i]]
        if a < 0:
            c.log[j] += one
            continue
        c.up[j, powers[1 + a]] += one
        for b in range(size):
            if b != a:
                two = factor
                for i in range(size):
                    if i not in (a, b):
                        two *= alpha[powers[1 + i]]
                c.bend[j, powers[1 + a], powers[1 + b]] += two


@compiled
def measure(sample, surrogate, alpha, s, c):
    """Take the sums over simulated events, and the correction from them; leaves ln Z_j itself in `c`.

    Args:
        sample: One table per process, whose y are the weights of its events.
    """
    approximate(surrogate, alpha, c, False)
    processes, nuisances = c.up.shape
    for k in range(nuisances):
        c.at[k] = alpha[k]
    for j in range(processes):
        high = sample.first[j, 1]
        if high == 0:
            continue
        clear(s)
        total = 0.0
        for block in range(sample.begin[j], sample.begin[j + 1]):
            curves, weight, part = sample.curves[block], sample.y[block, 0], s.part[0]
            product = respond(curves, sample.nuisance[j], sample.kind[j], alpha, 0, high, s, len(part))
            for i in range(len(part)):
                part[i] = weight[i] * product[PRODUCT + i]
                total += part[i]
            moments(0, high, part, s, len(part))
        log = np.log(total)
        c.value[j], c.log[j] = log - c.log[j], log
        for a in range(high):
            k = sample.nuisance[j, a]
            own = s.first[a] / total
            c.first[j, k], c.up[j, k] = own - c.up[j, k], own
            for b in range(a + 1):
                m = sample.nuisance[j, b]
                own = (s.second[a, b] - s.first[a] * s.first[b] / total) / total
                c.second[j, k, m] = own - c.bend[j, k, m]
                c.second[j, m, k] = c.second[j, k, m]
                c.bend[j, k, m], c.bend[j, m, k] = own, own
