"""Asymptotic tests: the discovery significance, and upper limits by CLs with their expected bands.

References:
    G. Cowan, K. Cranmer, E. Gross, O. Vitells, arXiv:1007.1727; A. L. Read, J. Phys. G 28 (2002) 2693.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from needle_parsl.nsbi.statistics.fits.fitting import Result, minimise
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood

BANDS = (-2, -1, 0, 1, 2)
"""Standard deviations of the background at which limits are expected."""
ACCURACY = 1e-4
"""Of a limit, in standard errors."""


@dataclass(frozen=True)
class Test:
    """t = -2 ln of the profile likelihood ratio of one dataset, one-sided."""

    likelihood: Likelihood
    best: Result
    poi: str
    inflation: float = 1.0
    """What t is divided by, for the error of ensemble weights (`propagation`)."""

    @staticmethod
    def of(likelihood: Likelihood, poi: str, inflation: float = 1.0) -> Test:
        """Fit freely."""
        return Test(likelihood, minimise(likelihood, likelihood.rates), poi, inflation)

    def t(self, value: float) -> float:
        """Give t at a value; NaN where the fit failed."""
        found = minimise(self.likelihood, self.best.rates, start=self.best.theta, fixed={self.poi: value}, errors=False)
        return max(2 * (found.nll - self.best.nll), 0.0) / self.inflation if found.converged else np.nan

    def q(self, value: float) -> float:
        """Give q~ for an upper limit: 0 where the best value is above."""
        return self.t(value) if self.best.value(self.poi) <= value else 0.0

    def discovery(self, background: float) -> float:
        """Give q_0: 0 where the best value is below the background's."""
        return self.t(background) if self.best.value(self.poi) > background else 0.0


def cls(q: float, expected: float) -> float:
    """Give CLs of q~ where background-only Asimov data has `expected`.

    CLs = p_mu / (1 - p_b)
    """
    root, sigma = np.sqrt(q), np.sqrt(expected)
    if sigma == 0:
        return 1.0
    above = (q + expected) / (2 * sigma), (q - expected) / (2 * sigma)
    both, background = (root, root - sigma) if root <= sigma else above
    return float(np.exp(norm.logsf(both) - norm.logsf(background)))  # both may be too small for a number


def band(expected: float, deviation: float, level: float) -> float:
    """Give by how much sqrt(q) on background-only Asimov data exceeds what a limit needs at some deviation; 0 at the limit."""
    return float(np.sqrt(expected) - norm.isf((1 - level) * norm.cdf(deviation)) - deviation)


def limits(observed: Test, asimov: Test, background: float, level: float, *, blind: bool) -> dict[str, Any]:
    """Find upper limits and the discovery significance, as in `fits/limits.json`.

    Args:
        observed: The test on the data; on nominal Asimov data it says what is expected of a discovery.
        asimov: The test on Asimov data without the signal.
        background: The value of the parameter without a signal: its lower bound.
        level: Confidence level of the limits.
        blind: Leaves out what comes from `observed` but the discovery.
    """
    q0 = observed.discovery(background)
    return {
        "parameter": asimov.poi,
        "level": level,
        "inflation": {"observed": observed.inflation, "expected": asimov.inflation},
        "converged": asimov.best.converged and observed.best.converged,
        "observed": None if blind else _root(lambda x: (1 - level) - cls(observed.q(x), asimov.t(x)), observed),
        "expected": {str(n): _root(lambda x, n=n: band(asimov.t(x), n, level), asimov) for n in BANDS},
        "discovery": {
            "q0": None if np.isnan(q0) else q0,
            "significance": None if np.isnan(q0) else float(np.sqrt(q0)),
            "p_value": None if np.isnan(q0) else float(norm.sf(np.sqrt(q0))),
        },
    }


def _root(excess: Any, test: Test) -> float | None:
    """Find where a limit is; None if that is above the parameter's bound, or a fit fails on the way."""
    best, bounds = test.best.value(test.poi), test.best.rates.bounds[test.best.parameters.index(test.poi)]
    width = np.nan_to_num(test.best.error(test.poi)) or (bounds[1] - bounds[0]) / 20
    low = max(best, bounds[0]) + ACCURACY * width
    high = min(low + width, bounds[1])
    while excess(high) < 0:  # outward step by step, since fits far away may fail
        if high >= bounds[1]:
            return None
        low, high = high, min(high + 2 * (high - max(best, bounds[0])), bounds[1])
    if not np.isfinite(excess(high)) or excess(low) > 0:
        return None
    return float(brentq(excess, low, high, xtol=ACCURACY * width))
