"""A smooth curve through critical values along the grid: a cubic smoothing spline, whose error holds what smoothing may hide.

    c_g = b_0 + b_1 s_g + tau f(s_g) + sigma_g noise,   f the twice integrated Wiener process, s the coordinate of the fit

Its mean given c is the natural cubic spline that minimises sum_g (c_g - p(s_g))^2 / sigma_g^2 + (1 / tau^2) int p''^2. How much it
may bend, tau, has the largest restricted likelihood of the critical values; tau = 0 is a straight line.

References:
    G. Wahba, J. R. Stat. Soc. B 40 (1978) 364; 45 (1983) 133.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.stats import chi2

from needle_parsl.nsbi.statistics.results import CurveQuality

Floats = npt.NDArray[np.float64]
FEWEST = 5
"""Values that a curve is drawn through, at least."""
MOST = 0.6
"""Parameters of a curve for each value, at most: one that follows every value has nothing to give."""
LEAST = 1e-3
"""Probability of a chi-squared as large as that of the curve; below it the values stay as toys give them."""
BENDS = (-4.0, 4.0)
"""Range of the decimal logarithm of tau, in errors of a critical value over the length of the grid."""


@dataclass(frozen=True)
class SmoothedCurve:
    """The curve, and how it came from the values."""

    grid: Floats
    """Shape (G,); 0 to 1."""
    ends: tuple[float, float]
    values: Floats
    """Critical values, shape (G,)."""
    sigma: Floats
    """Their errors, shape (G,)."""
    tau: float

    def __call__(self, s: Floats) -> Floats:
        """Give the curve, nowhere negative, shape (N,)."""
        found: Floats = np.maximum(self._weights(self._inside(s)) @ self.values, 0.0)
        return found

    def error(self, s: Floats) -> Floats:
        """Give its standard error, shape (N,)."""
        x = self._inside(s)
        weights = self._weights(x)
        cross = self.tau**2 * _integrated(x, self.grid)
        own = self.tau**2 * x**3 / 3
        spread = own - 2 * (weights * cross).sum(axis=1) + ((weights @ self._covariance()) * weights).sum(axis=1)
        found: Floats = np.sqrt(np.maximum(spread, 0.0))
        return found

    def quality(self) -> CurveQuality:
        """Say how it agrees with the values."""
        hat = self._weights(self.grid)
        left = (self.values - hat @ self.values) / self.sigma
        return CurveQuality(float(np.trace(hat)), float(left @ left), float(len(left) - np.trace(hat)))

    def criterion(self) -> float:
        """Give -2 ln of the restricted likelihood of tau, up to a constant."""
        factor, line = cho_factor(self._covariance()), _line(self.grid)
        solved = cho_solve(factor, line)
        inner = line.T @ solved
        left = self.values - line @ np.linalg.solve(inner, solved.T @ self.values)
        size = 2 * np.log(np.diag(factor[0])).sum() + np.linalg.slogdet(inner)[1]
        return float(size + left @ cho_solve(factor, left))

    def _inside(self, s: Floats) -> Floats:
        found: Floats = (s - self.ends[0]) / (self.ends[1] - self.ends[0])
        return found

    def _covariance(self) -> Floats:
        found: Floats = self.tau**2 * _integrated(self.grid, self.grid) + np.diag(self.sigma**2)
        return found

    def _weights(self, x: Floats) -> Floats:
        """Give what each value counts in the curve at x, shape (N, G)."""
        factor, line = cho_factor(self._covariance()), _line(self.grid)
        solved = cho_solve(factor, line)
        straight = np.linalg.solve(line.T @ solved, solved.T)  # (2, G)
        bent = cho_solve(factor, self.tau**2 * _integrated(self.grid, x)).T
        found: Floats = _line(x) @ straight + bent - bent @ line @ straight
        return found


def smooth(s: Floats, values: Floats, errors: Floats, toys: Floats) -> SmoothedCurve | None:
    """Draw a curve through critical values.

    The error of a single one comes from few toys around it, and is large where the value has fluctuated upwards, so that it
    would pull the curve down. Weights are from errors that are smooth themselves: a parabola through ln (error sqrt(toys)).

    Args:
        s: The grid in the coordinate of the fit, ascending, shape (G,).
        values: Critical values, independent of each other, shape (G,).
        errors: Their errors, shape (G,).
        toys: Behind each of them, shape (G,).

    Returns:
        The curve; None for fewer than five values, where an error is 0 (the statistic is discrete, and its quantiles jump), where
        the values scatter about the curve by more than their errors, and where it would have to follow nearly all of them.
    """
    if len(s) < FEWEST or not (errors > 0).all():
        return None
    ends = float(s[0]), float(s[-1])
    grid = (s - ends[0]) / (ends[1] - ends[0])
    sigma = _smooth_errors(grid, errors, toys)

    def curve(log_tau: float) -> SmoothedCurve:
        return SmoothedCurve(grid, ends, values, sigma, 10**log_tau * float(np.median(sigma)))

    found = minimize_scalar(lambda log_tau: curve(log_tau).criterion(), bounds=BENDS, method="bounded")
    best = curve(float(found.x))
    quality = best.quality()
    spared = quality.parameters < MOST * len(s)
    return best if spared and chi2.sf(quality.chi2, quality.ndof) > LEAST else None


def _smooth_errors(grid: Floats, errors: Floats, toys: Floats) -> Floats:
    design = np.vander(grid, min(3, len(grid) // 4 + 1))
    found, *_ = np.linalg.lstsq(design, np.log(errors * np.sqrt(toys)), rcond=None)
    typical = np.exp(design @ found) / np.sqrt(toys)
    sigma: Floats = typical * np.mean(errors / typical)
    return sigma


def _line(x: Floats) -> Floats:
    return np.stack([np.ones_like(x), x], axis=1)


def _integrated(x: Floats, y: Floats) -> Floats:
    """Covariance of the twice integrated Wiener process, shape (X, Y)."""
    low, high = np.minimum.outer(x, y), np.maximum.outer(x, y)
    found: Floats = low**2 * (3 * high - low) / 6
    return found
