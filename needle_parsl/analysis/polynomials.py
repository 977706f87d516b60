"""Polynomials in several parameters through points: exact in rational numbers, so that every machine finds the same."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations_with_replacement
from math import prod
from typing import TypeVar

Monomial = tuple[int, ...]
"""The powers of the parameters."""
Matrix = Sequence[Sequence[Fraction]]
Floats = Sequence[Sequence[float]]
N = TypeVar("N", Fraction, float)
DIGITS = 9
"""What differs by less than the last of these decimals is the same on every machine."""
STARTS = 8
"""Choices of points from which better ones are looked for."""


def monomials(parameters: int, order: int) -> list[Monomial]:
    """List all monomials up to a total power: first 1, then by ascending power."""
    chosen = (own for power in range(order + 1) for own in combinations_with_replacement(range(parameters), power))
    return [tuple(own.count(place) for place in range(parameters)) for own in chosen]


def values(point: Sequence[Fraction], terms: Sequence[Monomial]) -> list[Fraction]:
    """Evaluate the monomials at a point."""
    return [prod((x**p for x, p in zip(point, powers, strict=True)), start=Fraction(1)) for powers in terms]


def reduced(rows: Sequence[Sequence[N]], columns: int) -> tuple[list[list[N]], list[int]]:
    """Reduce a matrix to row echelon form in its first columns; give it with the columns of its pivots."""
    found, pivots = [list(row) for row in rows], list[int]()
    for column in range(columns):
        place = len(pivots)
        below = max(range(place, len(found)), key=lambda k: abs(found[k][column]), default=None)
        if below is None or not found[below][column]:
            continue
        found[place], found[below] = found[below], found[place]
        pivot = found[place][column]
        found[place] = [value / pivot for value in found[place]]
        for k, row in enumerate(found):
            if k != place and row[column]:
                found[k] = [value - row[column] * own for value, own in zip(row, found[place], strict=True)]
        pivots.append(column)
    return found, pivots


def independent(rows: Matrix) -> list[int]:
    """Choose the first rows that depend on none before them."""
    return reduced(list(zip(*rows, strict=True)), len(rows))[1]


def vanishing(rows: Matrix) -> list[Fraction] | None:
    """Give the coefficients of a polynomial that is 0 at all points; None if there is none.

    Args:
        rows: The monomials at the points.
    """
    found, pivots = reduced(rows, len(rows[0]))
    free = next((column for column in range(len(rows[0])) if column not in pivots), None)
    if free is None:
        return None
    solved = dict(zip(pivots, (-row[free] for row in found), strict=False)) | {free: Fraction(1)}
    return [solved.get(column, Fraction(0)) for column in range(len(rows[0]))]


def inverse(rows: Sequence[Sequence[N]]) -> list[list[N]]:
    """Invert a square matrix that can be inverted."""
    beside = [list(row) + _unit(row, place) for place, row in enumerate(rows)]
    return [row[len(rows) :] for row in reduced(beside, len(rows))[0]]


def _unit(row: Sequence[N], place: int) -> list[N]:
    """Give a row of the unit matrix, of the same kind of numbers."""
    one: N = row[0] ** 0
    return [one if k == place else one - one for k in range(len(row))]


def text(coefficients: Sequence[Fraction], names: Sequence[str], terms: Sequence[Monomial]) -> str:
    """Write a polynomial as an expression: `1 - 1.5*cW + 0.5*cW**2`."""
    found = ""
    for value, powers in zip(coefficients, terms, strict=True):
        if value:
            factors = [n if p == 1 else f"{n}**{p}" for n, p in zip(names, powers, strict=True) if p]
            size = float(abs(value))
            shown = [] if size == 1 and factors else [f"{size:g}" if float(f"{size:g}") == size else repr(size)]
            sign = (" - " if value < 0 else " + ") if found else "-" if value < 0 else ""
            found += sign + "*".join([*shown, *factors])
    return found or "0"


def moments(ranges: Sequence[tuple[float, float]], terms: Sequence[Monomial]) -> Floats:
    """Give the means of products of two monomials over a box."""
    return [
        [prod(_mean(low, high, p + q) for (low, high), p, q in zip(ranges, one, other, strict=True)) for other in terms]
        for one in terms
    ]


def _mean(low: float, high: float, power: int) -> float:
    return (high ** (power + 1) - low ** (power + 1)) / ((power + 1) * (high - low))


def squares(weights: Sequence[Sequence[float]], over: Floats) -> Floats:
    """Give the mean products of multipliers: the diagonal adds up to the mean sum of their squares.

    Args:
        weights: The inverse of the monomials at the points: each column has the coefficients of a multiplier.
        over: The mean products of monomials.
    """
    columns = list(zip(*weights, strict=True))
    moved = [[_dot(row, column) for row in over] for column in columns]
    return [[_dot(column, own) for own in moved] for column in columns]


def best(rows: Matrix, over: Floats, kept: Sequence[int] = ()) -> list[int]:
    """Choose the points whose multipliers have the smallest mean sum of squares.

    From points that will do, one is exchanged for another as long as that gains; from several such, since this may end too early.

    Args:
        rows: The monomials at the points offered, of which enough are independent.
        over: The mean products of monomials.
        kept: Points that have to be among them.

    References:
        Fedorov, Theory of Optimal Experiments (1972): exchange of points.
    """
    if len(rows) == len(over):
        return list(range(len(rows)))
    others = [k for k in range(len(rows)) if k not in kept]
    found = []
    for turn in range(0, len(others), max(len(others) // STARTS, 1)):
        order = [*kept, *others[turn:], *others[:turn]]
        start = [order[k] for k in independent([rows[k] for k in order])]
        found.append(_settled([list(map(float, row)) for row in rows], over, start, kept))
    return min(found)[1]


def _settled(rows: Floats, over: Floats, chosen: list[int], kept: Sequence[int]) -> tuple[float, list[int]]:
    """Exchange points until nothing is gained; give the mean sum of squares, and the points."""
    while True:
        columns = list(zip(*inverse([rows[k] for k in chosen]), strict=True))
        products = squares(list(zip(*columns, strict=True)), over)
        total = sum(products[k][k] for k in range(len(chosen)))
        places = [place for place, k in enumerate(chosen) if k not in kept]
        others = [k for k in range(len(rows)) if k not in chosen]
        along = {other: [_dot(rows[other], column) for column in columns] for other in others}
        tries = [(round(_exchanged(products, along[k], p) / total, DIGITS), p, k) for k in others for p in places]
        least, place, other = min(tries, default=(1.0, 0, 0))
        if least >= 1.0:
            return round(total, DIGITS), sorted(chosen)
        chosen = [*chosen[:place], other, *chosen[place + 1 :]]


def _exchanged(products: Floats, along: Sequence[float], place: int) -> float:
    """Give the mean sum of squares when one point is exchanged for another, whose monomials are `along` times those of the points."""
    pivot = along[place]
    if abs(pivot) < 10.0**-DIGITS:
        return float("inf")
    last = products[place]
    rest = sum(products[k][k] - a / pivot * (2 * last[k] - a / pivot * last[place]) for k, a in enumerate(along))
    # of the point itself the sum has Q - 2 Q + Q = 0
    return rest + last[place] / pivot**2


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def size(rows: Matrix) -> float:
    """Give the largest sum of absolute values in a row: the norm of which the condition number is made."""
    return float(max(sum(map(abs, row)) for row in rows))
