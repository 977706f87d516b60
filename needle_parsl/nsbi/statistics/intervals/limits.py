"""Asymptotic tests: the discovery significance, and upper limits by CLs with their expected bands.

References:
    G. Cowan, K. Cranmer, E. Gross, O. Vitells, arXiv:1007.1727; A. L. Read, J. Phys. G 28 (2002) 2693.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import norm

from needle_parsl.nsbi.statistics.fits.fitting import DEEPER, minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.results import AsymptoticDiscovery, LimitInflation, Limits

Floats = npt.NDArray[np.float64]
BANDS = (-2, -1, 0, 1, 2)
"""Standard deviations of the background at which limits are expected."""
ACCURACY = 1e-4
"""Of a limit, in standard errors."""
STEPS = 60
"""Outward and inward steps in search of a limit."""


@dataclass
class Test:
    """t = -2 ln of the profile likelihood ratio of one dataset, one-sided."""

    likelihood: Likelihood
    best: Result
    """The free fit; a fit with the parameter held that is deeper takes its place, after a free one from there."""
    poi: str
    inflation: float = 1.0
    """What t is divided by, for the error of ensemble weights (`ensemble_error`)."""
    known: tuple[Floats, ...] = ()
    """Minima with the parameter held that are no neighbours of the free one."""

    @staticmethod
    def of(likelihood: Likelihood, poi: str, inflation: float = 1.0) -> Test:
        """Fit freely."""
        return Test(likelihood, minimise(likelihood, likelihood.rates), poi, inflation)

    def nll(self, value: float) -> float:
        """Give -ln L with the parameter held; NaN where the fit failed."""
        found = self._held(value, start=self.best.theta)
        if not found.converged:  # a neighbour's solution may be a bad start far away
            found = self._held(value)
        return self._taken(found)

    def _held(self, value: float, **more: Any) -> Result:
        others = (*self.best.others, *self.known)
        return minimise(self.likelihood, self.best.rates, fixed={self.poi: value}, errors=False, also=others, **more)

    def _taken(self, found: Result) -> float:
        if found.converged and found.nll < self.best.nll - DEEPER:
            self.best = minimise(self.likelihood, self.best.rates, start=found.theta, also=self.best.minima)
        return found.nll if found.converged else np.nan

    def misses(self, value: float) -> bool:
        """Look for minima with the parameter held that are no neighbours of the free one; say whether one is deeper, and remember it."""
        before, found = self.nll(value), self._held(value)
        deeper = bool(self._taken(found) < before - DEEPER)
        self.known += (found.theta,) if deeper else ()
        return deeper

    def t(self, value: float) -> float:
        """Give t at a value; NaN where the fit failed."""
        found = self.nll(value)
        return max(2 * (found - self.best.nll), 0.0) / self.inflation

    def q(self, value: float, background: float) -> float:
        """Give q~ for an upper limit: 0 where the best value is above; a deficit below the background is none of a signal's."""
        best = self.best.value(self.poi)
        if best > value:
            return 0.0
        if best >= background:
            return self.t(value)
        return float(np.maximum(2 * (self.nll(value) - self.nll(background)), 0.0)) / self.inflation

    def discovery(self, background: float) -> float:
        """Give q_0: 0 where the best value is below the background's."""
        if not self.best.value(self.poi) > background:
            return 0.0
        self.misses(background)
        return self.t(background)


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


def limits(observed: Test, asimov: Test, background: float, level: float, *, blind: bool) -> Limits:
    """Find upper limits and the discovery significance.

    Args:
        observed: The test on the data; on nominal Asimov data it says what is expected of a discovery.
        asimov: The test on Asimov data without the signal.
        background: The value of the parameter without a signal.
        level: Confidence level of the limits.
        blind: Leaves out what comes from `observed` but the discovery.
    """
    q0 = observed.discovery(background)

    def expected(deviation: float) -> Callable[[float], float]:
        return lambda x: band(asimov.t(x), deviation, level)

    sought = {str(n): _root(expected(n), (asimov,), background) for n in BANDS}
    if not blind:
        sought["observed"] = _root(
            lambda x: (1 - level) - cls(observed.q(x, background), asimov.t(x)), (observed, asimov), background
        )
    limit = {name: value for name, (value, _) in sought.items()}
    return Limits(
        parameter=asimov.poi,
        level=level,
        background=background,
        inflation=LimitInflation(observed.inflation, asimov.inflation),
        converged=asimov.best.converged and observed.best.converged,
        observed=limit.pop("observed", None),
        expected=limit,
        reasons={name: reason for name, (_, reason) in sought.items() if reason},
        discovery=_significance(q0),
    )


def _significance(q0: float) -> AsymptoticDiscovery:
    """Give the significance and the p-value of q_0; None where a fit failed."""
    if np.isnan(q0):
        return AsymptoticDiscovery(None, None, None)
    return AsymptoticDiscovery(q0, float(np.sqrt(q0)), float(norm.sf(np.sqrt(q0))))


def _root(excess: Callable[[float], float], tests: Sequence[Test], background: float) -> tuple[float | None, str]:
    """Find where a limit is, or say why there is none: it is above the parameter's bound, or fits fail on the way.

    Args:
        excess: Negative below the limit.
        tests: What it is made of, that of the limit's own data first; each looks for deeper minima at the limit.
        background: The value of the parameter without a signal.
    """
    test = tests[0]
    best, bounds = test.best.value(test.poi), test.best.rates.bounds[test.best.parameters.index(test.poi)]
    width = np.nan_to_num(test.best.error(test.poi)) or (bounds[1] - bounds[0]) / 20
    inner = max(best, background, bounds[0])
    low, step = inner + ACCURACY * width, width
    if low >= bounds[1]:
        return None, f"the best value is at the upper bound {bounds[1]:g} of {test.poi}; widen its bounds"
    below = excess(low)
    if below >= 0:
        return None, f"{test.poi} = {low:.6g}, next to the best value, is excluded already"
    for _ in range(STEPS):  # outward step by step, since fits far away may fail
        high = min(low + step, bounds[1])
        above = excess(high)
        if not np.isfinite(above):
            step /= 4
            if step < ACCURACY * width:
                return None, f"the fit with {test.poi} = {high:.6g} did not converge"
        elif above >= 0:
            limit, reason = _between(excess, low, high, ACCURACY * width)
            if limit is None or not sum(own.misses(limit) for own in tests):
                return limit, reason
            low, step = inner + ACCURACY * width, width
        elif high >= bounds[1]:
            return None, f"the limit is above the upper bound {bounds[1]:g} of {test.poi}; widen its bounds"
        else:
            low, step = high, 2 * step
    return None, f"no limit is found up to {test.poi} = {low:.6g}"


def _between(excess: Callable[[float], float], low: float, high: float, accuracy: float) -> tuple[float | None, str]:
    """Find the root between two values; a fit that fails there is stepped over."""
    while high - low > accuracy:
        try:
            return float(brentq(lambda x: _number(excess(x)), low, high, xtol=accuracy)), ""
        except _LostError:
            for share in (0.5, 0.37, 0.71):
                middle = low + share * (high - low)
                if np.isfinite(value := excess(middle)):
                    low, high = (middle, high) if value < 0 else (low, middle)
                    break
            else:
                return None, f"fits between {low:.6g} and {high:.6g} did not converge"
    return (low + high) / 2, ""


class _LostError(ArithmeticError):
    """A fit on the way to a limit did not converge."""


def _number(value: float) -> float:
    if not np.isfinite(value):
        raise _LostError
    return value
