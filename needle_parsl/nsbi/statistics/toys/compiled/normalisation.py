"""ln Z_j at the speed of toys: sums over few events while a fit is on its way, over all where that is not enough.

The few stand for all with weights of their own (`compression`). Where they are not trusted, the sums over all events are taken
where a fit has come to, and what they differ by is added from there on, with its slopes.
"""

from __future__ import annotations

import numpy as np

from needle_parsl.nsbi.statistics.toys.compiled.arrays import NormalisationCorrection
from needle_parsl.nsbi.statistics.toys.compiled.compilation import compiled, exactly
from needle_parsl.nsbi.statistics.toys.compiled.evaluation import PRODUCT, clear, gradients, moments, respond


def correction(processes: int, nuisances: int) -> NormalisationCorrection:
    """Make space, without a correction so far; for as many processes as all regions have together."""
    j, k = processes, nuisances
    shapes = {
        "at": (k,), "value": (j,), "first": (j, k), "log": (j,), "up": (j, k), "bend": (j, k, k),
    }  # fmt: skip
    return NormalisationCorrection(**{name: np.zeros(s) for name, s in shapes.items()})


@compiled
def total(sample, alpha, s, c, second):
    """Put ln Z_j and its derivatives into `c`, from sums over events.

    Args:
        sample: One table per region and process, whose y are the weights of its events.
        alpha: In sigma, shape (K,).
        s: `Scratch`.
        c: `Correction`, of which `log`, `up` and `bend` are filled.
        second: Whether second derivatives, too.
    """
    c.log[:] = 0.0
    c.up[:] = 0.0
    if second:
        c.bend[:] = 0.0
    for j in range(len(c.log)):
        high = sample.first[j, 1]
        if high == 0:
            continue
        clear(s)
        whole = 0.0
        for block in range(sample.begin[j], sample.begin[j + 1]):
            curves, weight, part = sample.curves[block], sample.y[block, 0], s.part[0]
            product = respond(curves, sample.nuisance[j], sample.kind[j], alpha, 0, high, s, len(part))
            for i in range(len(part)):
                part[i] = weight[i] * product[PRODUCT + i]
                whole += part[i]
            if second:
                moments(0, high, part, s, len(part))
            else:
                gradients(0, high, part, s, len(part))
        c.log[j] = np.log(whole)
        for a in range(high):
            k = sample.nuisance[j, a]
            c.up[j, k] = s.first[a] / whole
            for b in range(a + 1 if second else 0):
                m = sample.nuisance[j, b]
                c.bend[j, k, m] = (s.second[a, b] - s.first[a] * s.first[b] / whole) / whole
                c.bend[j, m, k] = c.bend[j, k, m]


@compiled
def normalise(every, few, exact, alpha, s, c):
    """Fill ln Z_j and its derivatives from the few events, and from what was measured.

    Args:
        every: All simulated events, a table for each region and process.
        few: Those that stand for them.
        alpha: In sigma, shape (K,).
        s: `Scratch`.
        c: `Correction`.
        exact: Whether it is measured here, by the sums over all events; leaves these in `c`, with the bends of the few.
    """
    total(few, alpha, s, c, True)
    if exact:
        for k in range(len(alpha)):
            c.at[k] = alpha[k]
        _add(c, -1.0, 0.0)
        total(every, alpha, s, c, False)
        _add(c, 1.0, 1.0)
        return
    for j in range(len(c.log)):
        for k in range(len(alpha)):
            c.log[j] += (alpha[k] - c.at[k]) * c.first[j, k]
            c.up[j, k] += c.first[j, k]
        c.log[j] += c.value[j]


@exactly
def _add(c, sign, before):
    """Add ln Z_j and its slopes to what the two sums differ by."""
    for j in range(len(c.log)):
        c.value[j] = before * c.value[j] + sign * c.log[j]
        for k in range(c.up.shape[1]):
            c.first[j, k] = before * c.first[j, k] + sign * c.up[j, k]
