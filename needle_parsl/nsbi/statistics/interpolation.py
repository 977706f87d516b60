"""How yields and ratios respond to a nuisance parameter between and beyond its variations, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp] | slice
FLOOR = 1e-6
"""Responses at plus and minus one sigma are at least this, so that their logarithms exist."""


@dataclass(frozen=True)
class Poly6Exp:
    """Polynomial of degree six within one sigma, exponential outside, with two continuous derivatives.

        I(alpha) = up^alpha (alpha >= 1),  down^-alpha (alpha <= -1),  1 + sum_n a_n alpha^n (inside)

    It is HistFactory's code 4 with alpha_0 = 1, not pyhf's code 4p.

    References:
        K. Cranmer et al., HistFactory, CERN-OPEN-2012-016.
    """

    log_up: Floats
    """Shape (N,)."""
    log_down: Floats
    """Shape (N,)."""
    coefficients: Floats
    """a_1 to a_6, shape (6, N)."""

    @staticmethod
    def through(up: Floats, down: Floats) -> Poly6Exp:
        """Make the curve through responses.

        Args:
            up: Response at alpha = 1, shape (N,).
            down: Response at alpha = -1, shape (N,).
        """
        u, d = np.maximum(up, FLOOR), np.maximum(down, FLOOR)
        log_up, log_down = np.log(u), np.log(d)
        u1, d1 = u * log_up, -d * log_down
        u2, d2 = u * log_up**2, d * log_down**2
        s0, a0, s1, a1, s2, a2 = (u + d) / 2, (u - d) / 2, (u1 + d1) / 2, (u1 - d1) / 2, (u2 + d2) / 2, (u2 - d2) / 2
        coefficients = np.stack(
            [
                (15 * a0 - 7 * s1 + a2) / 8,
                (-24 + 24 * s0 - 9 * a1 + s2) / 8,
                (-5 * a0 + 5 * s1 - a2) / 4,
                (12 - 12 * s0 + 7 * a1 - s2) / 4,
                (3 * a0 - 3 * s1 + a2) / 8,
                (-8 + 8 * s0 - 5 * a1 + s2) / 8,
            ]
        )
        return Poly6Exp(log_up, log_down, coefficients)

    def take(self, rows: Rows) -> Poly6Exp:
        """Keep some of the curves."""
        return Poly6Exp(self.log_up[rows], self.log_down[rows], self.coefficients[:, rows])

    def __call__(self, alpha: float) -> tuple[Floats, Floats]:
        """Give the response and its derivative with respect to alpha."""
        if abs(alpha) >= 1:
            slope = self.log_up if alpha > 0 else -self.log_down
            value = np.exp(alpha * slope)
            return value, value * slope
        value, slope = np.zeros_like(self.log_up), np.zeros_like(self.log_up)
        for n in range(6, 0, -1):
            value = alpha * (value + self.coefficients[n - 1])
            slope = alpha * slope + n * self.coefficients[n - 1]
        return 1.0 + value, slope

    def logarithm(self, alpha: float) -> tuple[Floats, Floats]:
        """Give the first and second derivative of the response's logarithm with respect to alpha."""
        if abs(alpha) >= 1:
            return (self.log_up if alpha > 0 else -self.log_down), np.zeros_like(self.log_up)
        value, slope = self(alpha)
        bend = np.zeros_like(self.log_up)
        for n in range(6, 1, -1):
            bend = alpha * bend + n * (n - 1) * self.coefficients[n - 1]
        return slope / value, bend / value - (slope / value) ** 2


INTERPOLATIONS: dict[str, Callable[[Floats, Floats], Poly6Exp]] = {
    "poly6_exp": Poly6Exp.through,
    "code4": Poly6Exp.through,
}
"""Each takes the responses at plus and minus one sigma."""
