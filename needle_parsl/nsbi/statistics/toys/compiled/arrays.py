"""The row tables of a likelihood as plain arrays, which compiled code can take.

    lambda_i = sum_j f_j(mu) e_j(alpha) y_ji prod_k g_jik(alpha_k),   e_j = G_j / Z_j
    -ln L    = sum_i [rate_i lambda_i - count_i ln lambda_i] + constraints

Rows stand in blocks that fit into the cache, each of one table; the events of a toy are the last tables, one for each unbinned region.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

BLOCK = 128
"""Rows of a block."""
PITCH = BLOCK + 8
"""Distance of its numbers: reading 4096 bytes behind a number that is just written would wait for it."""
LINE = 64
"""Bytes of a line of the cache, and of the widest vectors."""
ROWS = 4
"""Numbers of a response: u and d, at plus and minus one sigma, and their logarithms."""
TERMS = 7
"""Functions that a response is a sum of within one sigma: 1, u, u ln u, u ln^2 u, d, d ln d, d ln^2 d."""
WORK = 4
"""Numbers that a response is turned into."""
SMOOTH, EXPONENTIAL, JOINED, STRAIGHT, QUADRATIC = range(5)
"""Kinds of responses: a polynomial between exponentials; exponentials; a polynomial between straight lines; straight lines;
exp(a alpha + b alpha^2)."""


def aligned(*shape: int) -> npt.NDArray[np.float64]:
    """Make zeros that begin with a line of the cache: vectors that cross lines take twice as long."""
    size = int(np.prod(shape))
    space = np.zeros(size + LINE // 8)
    start = -space.ctypes.data % LINE // 8
    return space[start : start + size].reshape(shape)


class Rows(NamedTuple):
    """Tables of rows, R of them. The curves of a process, its responses to single nuisance parameters, stand together."""

    first: Any
    """Where the curves of each process begin, shape (R, J + 1)."""
    nuisance: Any
    """That of each curve, ascending within a process, shape (R, C)."""
    kind: Any
    """Of each curve, shape (R, C)."""
    begin: Any
    """The first block of each table, shape (R + 1,)."""
    size: Any
    """Rows of a block that are looked at, by table, shape (R,)."""
    curves: Any
    """Responses, shape (blocks, C, ROWS * PITCH): with fixed distances between its numbers a loop becomes vector instructions."""
    y: Any
    """Shape (blocks, J, BLOCK)."""
    count: Any
    """Shape (blocks, BLOCK); 0 in rows that only fill a block."""
    root: Any
    """sqrt(count), shape (blocks, BLOCK)."""
    rate: Any
    """Shape (blocks, BLOCK)."""
    floor: Any
    """lambda is at least this inside the logarithm, shape (blocks, BLOCK)."""
    loose: Any
    """Whether the simulation of a table's bins has an error (`staterror`), shape (R,)."""
    spread: Any
    """Square of its relative error, shape (blocks, BLOCK)."""
    seen: Any
    """What says how well it is known, a of `staterror`, shape (blocks, BLOCK)."""


class CompiledModel(NamedTuple):
    """What all toys of a campaign have in common."""

    physics: int
    """How many parameters are physics parameters."""
    low: Any
    """Smallest theta, shape (P,)."""
    high: Any
    """Largest theta, shape (P,)."""
    code: Any
    """Operations of all multipliers and their derivatives, shape (steps, 2)."""
    constant: Any
    """Numbers in them, shape (steps,)."""
    ends: Any
    """Where each of them ends: f_j, then its slopes, then its bends; shape (J (1 + p + p^2) + 1,)."""
    gains: Any
    """G_jk by table, shape (R, J, K, ROWS)."""
    gain_kind: Any
    """Their kinds, -1 where there is none, shape (R, J, K)."""
    constraint: Any
    """Kind of each constraint, shape (K,)."""
    scale: Any
    """Of each constraint, shape (K,)."""


class Toy(NamedTuple):
    """One toy."""

    rows: Rows
    auxiliary: Any
    """What the constraints have observed, shape (K,)."""


class Factors(NamedTuple):
    """What multiplies a process, at one point; by table where that matters."""

    f: Any
    """Shape (J,)."""
    df: Any
    """Shape (J, physics)."""
    ddf: Any
    """Shape (J, physics, physics)."""
    e: Any
    """G_j / Z_j, shape (R, J)."""
    up: Any
    """d ln e_j / d alpha, shape (R, J, K)."""
    bend: Any
    """d2 ln e_j / d alpha2, shape (R, J, K, K)."""
    stack: Any
    """Of the multipliers' operations, shape (32,)."""


class Scratch(NamedTuple):
    """Space for the rows of one block, and for the sums over a table."""

    curves: Any
    """Of each curve g, d ln g / d alpha, d2 ln g / d alpha2, and the product up to it, shape (C + 1, WORK * PITCH); the
    last one is 1."""
    part: Any
    """u_j = e_j y_j prod_k g_jk, shape (J, BLOCK)."""
    scaled: Any
    """u_j sqrt(count) / lambda, shape (J, BLOCK)."""
    density: Any
    """lambda, shape (BLOCK,)."""
    other: Any
    """Shape (BLOCK,)."""
    gamma: Any
    """Factors of bins whose simulation has an error, shape (BLOCK,)."""
    loosened: Any
    """What the scores of these bins are to be multiplied with, for what gamma takes from the Hessian; shape (BLOCK,)."""
    terms: Any
    """What multiplies the terms of a response, its slope and its bend; shape (3, TERMS)."""
    scores: Any
    """sqrt(count) d lambda / d theta / lambda, shape (P, BLOCK)."""
    bits: Any
    """Shape (2, BLOCK)."""
    gram: Any
    """Shape (P, P)."""
    total: Any
    """sum_i (count / lambda - rate) u_j, shape (J,)."""
    first: Any
    """The same times the slopes, shape (C,)."""
    second: Any
    """The same times products of slopes of one process, with bends on the diagonal, shape (C, C)."""
    floored: Any
    """Rows below the floor, shape (1,)."""


class Normalising(NamedTuple):
    """The simulated events behind Z_j: tables, one per region and process, J of each region, whose y are the weights of its events."""

    few: Rows
    """Events that stand for all."""
    every: Rows
    trusted: float
    """Up to this |alpha| the few alone are good enough."""


class NormalisationCorrection(NamedTuple):
    """ln Z_j minus what the few events say of it near one point, to first order; of the processes of all M regions, one region behind the other."""

    at: Any
    """alpha, shape (K,)."""
    value: Any
    """Shape (M J,)."""
    first: Any
    """Shape (M J, K)."""
    log: Any
    """ln Z_j here, shape (M J,)."""
    up: Any
    """Its slopes, shape (M J, K)."""
    bend: Any
    """Its second derivatives, shape (M J, K, K)."""
