"""How yields and ratios respond to a nuisance parameter between and beyond their variations, by name.

Each function takes alpha, shape (R, 1), and the logarithms of the responses at plus and minus one sigma, shape (R, N).
It gives the response and the first two derivatives of its logarithm, each of shape (R, N).

References:
    K. Cranmer et al., HistFactory, CERN-OPEN-2012-016; L. Heinrich et al., pyhf, doi:10.21105/joss.02823.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FLOOR = 1e-6
"""Responses are at least this where they could fall to 0 and below; they have no slope there."""


class Curve(NamedTuple):
    """A response at some alpha."""

    value: Floats
    """g."""
    slope: Floats
    """d ln g / d alpha."""
    bend: Floats
    """d2 ln g / d alpha^2."""


Interpolation = Callable[[Floats, Floats, Floats], Curve]

# Powers 1 to 6 of alpha in what multiplies A0, S1, A2 (odd) and S0 - 1, A1, S2 (even), times 8. S and A are half the sum
# and half the difference of u ln^m u and d ln^m d, at plus and minus one sigma, with the sign of the m-th derivative.
_ODD = np.array([[15, 0, -10, 0, 3, 0], [-7, 0, 10, 0, -3, 0], [1, 0, -2, 0, 1, 0]]) / 8
_EVEN = np.array([[0, 24, 0, -24, 0, 8], [0, -9, 0, 14, 0, -5], [0, 1, 0, -2, 0, 1]]) / 8
_FACTORS = np.concatenate([_EVEN[:1], (_EVEN + _ODD) / 2, (_EVEN - _ODD) / 2])
_POWERS = np.arange(1, 7)


def logarithm(response: Floats) -> Floats:
    """Take the logarithm of responses at plus or minus one sigma, floored so that there is one."""
    return np.log(np.maximum(response, FLOOR))


def poly6_exp(alpha: Floats, log_up: Floats, log_down: Floats) -> Curve:
    """Follow a polynomial of degree six within one sigma and an exponential outside, with two continuous derivatives.

        I(alpha) = up^alpha (alpha >= 1),  down^-alpha (alpha <= -1),  1 + sum_n a_n alpha^n (inside)

    It is HistFactory's code 4 with alpha_0 = 1, not pyhf's code 4p.
    """
    inside = np.abs(alpha[:, 0]) < 1
    if inside.all():
        return _polynomial(alpha, log_up, log_down)
    outside = _exponential(alpha, log_up, log_down)
    if inside.any():
        for whole, part in zip(outside, _polynomial(alpha[inside], log_up[inside], log_down[inside]), strict=True):
            whole[inside] = part
    return outside


def _polynomial(alpha: Floats, log_up: Floats, log_down: Floats) -> Curve:
    """Evaluate 1 + sum_n a_n alpha^n, written as a sum over u ln^m u and d ln^m d whose factors depend on alpha only."""
    up, down = np.exp(log_up), np.exp(log_down)
    value, slope, bend = (
        up * (u0 + log_up * (u1 + log_up * u2)) + down * (d0 + log_down * (d1 + log_down * d2)) - one
        for one, u0, u1, u2, d0, d1, d2 in _factors(alpha)
    )
    value += 1.0
    slope /= value
    return Curve(value, slope, bend / value - slope**2)


def _factors(alpha: Floats) -> Floats:
    """Give what multiplies 1, u, u ln u, u ln^2 u and the same of d in value, slope and bend; shape (3, 7, R, 1)."""
    powers = np.ones((7, len(alpha)))
    powers[1:] = alpha[:, 0]
    powers = np.multiply.accumulate(powers)  # 0 to 6
    found = np.zeros((3, 6, len(alpha)))
    found[0], found[1] = powers[1:], _POWERS[:, None] * powers[:-1]
    found[2, 1:] = (_POWERS * (_POWERS - 1))[1:, None] * powers[:-2]
    return (_FACTORS @ found)[..., None]


def _exponential(alpha: Floats, log_up: Floats, log_down: Floats) -> Curve:
    slope = np.where(alpha >= 0, log_up, -log_down)
    return Curve(np.exp(alpha * slope), slope, np.zeros_like(slope))


def code1(alpha: Floats, log_up: Floats, log_down: Floats) -> Curve:
    """Follow up^alpha above 0 and down^-alpha below: with up = 1 / down the log-normal of HistFactory's and CMS' rates."""
    return _exponential(alpha, log_up, log_down)


def code4p(alpha: Floats, log_up: Floats, log_down: Floats) -> Curve:
    """Follow straight lines beyond one sigma, and between them a polynomial of degree six with continuous slopes."""
    up, down = np.exp(log_up), np.exp(log_down)
    half, bent = (up - down) / 2, (up + down - 2) / 16
    square = alpha**2
    inside = np.abs(alpha) < 1
    outward = np.where(alpha > 0, up - 1, 1 - down)
    value = np.where(inside, alpha * (half + alpha * bent * (15 + square * (3 * square - 10))), alpha * outward)
    slope = np.where(inside, half + bent * alpha * (30 + square * (18 * square - 40)), outward)
    bend = np.where(inside, bent * (30 + square * (90 * square - 120)), 0.0)
    return _floored(1 + value, slope, bend)


def linear(alpha: Floats, log_up: Floats, log_down: Floats) -> Curve:
    """Follow a straight line to each side, with a kink at 0: HistFactory's code 0."""
    slope = np.where(alpha >= 0, np.exp(log_up) - 1, 1 - np.exp(log_down))
    return _floored(1 + alpha * slope, slope, np.zeros_like(slope))


def _floored(value: Floats, slope: Floats, bend: Floats) -> Curve:
    good = value > FLOOR
    value = np.where(good, value, FLOOR)
    slope = np.where(good, slope / value, 0.0)
    return Curve(value, slope, np.where(good, bend / value - slope**2, 0.0))


def exp_quadratic(alpha: Floats, log_up: Floats, log_down: Floats) -> Curve:
    """Follow exp(a alpha + b alpha^2): smooth everywhere, and what a surrogate trained on a grid of alpha gives.

    References:
        GOLLUM, arXiv:2505.05544.
    """
    a, b = (log_up - log_down) / 2, (log_up + log_down) / 2
    return Curve(np.exp(alpha * (a + alpha * b)), a + 2 * alpha * b, 2 * b)


INTERPOLATIONS: dict[str, Interpolation] = {
    "poly6_exp": poly6_exp,
    "code4": poly6_exp,
    "code1": code1,
    "code4p": code4p,
    "linear": linear,
    "exp_quadratic": exp_quadratic,
}
CODES = tuple(INTERPOLATIONS)
"""A response names its interpolation by its place here."""
