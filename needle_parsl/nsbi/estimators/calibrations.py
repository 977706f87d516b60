"""Calibration: a map of ln r after which the score is the fraction of numerator events that have it.

    s = r / (1 + r),   c(s) = sum_{numerator at s} w / sum_{both at s} w,   r' = c / (1 - c)

The classes have equal sums of weights. c is kept away from 0 and 1 by one effective event: nothing smaller can be known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from needle_parsl.analysis import catalogue, extras
from needle_parsl.errors import TaskError

Floats = npt.NDArray[np.float64]
BINS = 40
"""Bins of the histogram, each with the same weight."""
NEEDS = f'calibration = "isotonic" {extras.remedy("calibration")}, or say "histogram"'


@dataclass(frozen=True)
class CalibrationMap:
    """ln r to calibrated ln r: steps, or straight lines between points."""

    kind: str
    """A name in `catalogue.CALIBRATIONS`."""
    knots: Floats
    """ln r: the K - 1 inner edges of K bins, or K points."""
    values: Floats
    """Calibrated ln r of each bin or point, shape (K,)."""

    def __call__(self, log_ratio: Floats) -> Floats:
        """Calibrate ln r of shape (N,)."""
        if catalogue.CALIBRATIONS[self.kind].straight:
            return np.interp(log_ratio, self.knots, self.values)
        found: Floats = self.values[np.searchsorted(self.knots, log_ratio, side="right")]
        return found


def histogram(log_ratio: Floats, label: npt.NDArray[np.bool_], weight: Floats) -> CalibrationMap:
    """Take the numerator's fraction in bins of the score that hold equal weights.

    Args:
        log_ratio: ln r of both classes, shape (N,).
        label: Whether an event is from the numerator, shape (N,).
        weight: Shape (N,); may be negative.
    """
    weight = _balanced(label, weight)
    order = np.argsort(log_ratio, kind="stable")
    mass = np.cumsum(np.abs(weight[order]))
    places = np.searchsorted(mass, mass[-1] * np.arange(1, BINS) / BINS)
    ordered = log_ratio[order]
    edges = np.unique((ordered[places] + ordered[places - 1]) / 2)  # between events, where rounding does no harm
    place = np.searchsorted(edges, log_ratio, side="right")
    above, both = (np.bincount(place, w, len(edges) + 1) for w in (weight * label, weight))
    fraction = np.divide(above, both, out=np.full(len(both), 0.5), where=both > 0)
    return CalibrationMap("histogram", edges, _logit(fraction, weight))


def isotonic(log_ratio: Floats, label: npt.NDArray[np.bool_], weight: Floats) -> CalibrationMap:
    """Fit the fraction by the nearest function that never falls (pool adjacent violators), straight between its points.

    Raises:
        TaskError: A weight is negative, or scikit-learn is not installed.

    References:
        B. Zadrozny, C. Elkan, Transforming classifier scores into accurate multiclass probability estimates, KDD 2002.
    """
    if (weight < 0).any():
        raise TaskError('isotonic calibration needs weights that are not negative; say calibration = "histogram"')
    try:
        from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415  a second, for isotonic calibrations alone
    except ImportError as error:
        raise TaskError(NEEDS) from error
    weight = _balanced(label, weight)
    found = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(log_ratio, label, weight)
    return CalibrationMap("isotonic", found.X_thresholds_, _logit(found.y_thresholds_, weight))


def _balanced(label: npt.NDArray[np.bool_], weight: Floats) -> Floats:
    balanced: Floats = weight / np.where(label, weight[label].sum(), weight[~label].sum())
    return balanced


def _logit(fraction: Floats, weight: Floats) -> Floats:
    least = (weight**2).sum() / weight.sum() ** 2
    limited: Floats = logit(np.clip(fraction, least, 1 - least))
    return limited
