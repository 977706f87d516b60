"""Distances between two weighted samples of one column, and the tests that go with them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.special import kolmogorov, ndtr

from needle_parsl.nsbi.estimators.results import Distance, TwoSample

Floats = npt.NDArray[np.float64]
TAILS = (0.1, 99.9)
"""Percentiles of the numerator between which nsbi4hep's closure is binned."""
BINS = 50


def wasserstein(one: Floats, other: Floats, weights: tuple[Floats, Floats]) -> float:
    """Integrate the distance of the two distribution functions, |F - G| dx, over the standardised column.

    Args:
        one: Values of the first sample, shape (N,), whose standard deviation is the unit.
        other: Those of the second, shape (R,).
        weights: Of both; may be negative.
    """
    centre = np.average(one, weights=weights[0])
    width = np.sqrt(max(np.average((one - centre) ** 2, weights=weights[0]), 0.0))
    grid = np.sort(np.concatenate([one, other]))
    first, second = (_cumulative(v, w, grid[:-1]) for v, w in zip((one, other), weights, strict=True))
    return float(np.abs(first - second) @ np.diff(grid) / (width or 1.0))


def _cumulative(values: Floats, weight: Floats, at: Floats) -> Floats:
    """Evaluate the distribution function."""
    order = np.argsort(values, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(weight[order])]) / weight.sum()
    found: Floats = sums[np.searchsorted(values[order], at, side="right")]
    return found


def nsbi4hep_closure(truth: Floats, predicted: Floats, weights: tuple[Floats, Floats]) -> float:
    """Compute sum_b (Q_b - P_b)^2 / (P_b + 1e-6) over 50 bins between the 0.1 and 99.9 percentiles of the truth.

    P and Q are histograms normalised to one. It is no chi-squared: errors are not in it, and it shrinks with the sample.
    """
    low, high = np.percentile(truth, TAILS)
    edges = np.linspace(low, high, BINS + 1)
    if not edges[-1] > edges[0]:
        return 0.0
    p, q = (np.histogram(v, edges, weights=w / w.sum())[0] for v, w in zip((truth, predicted), weights, strict=True))
    return float(((q - p) ** 2 / (p + 1e-6)).sum())


def kolmogorov_smirnov(one: Floats, other: Floats, weights: tuple[Floats, Floats]) -> tuple[float, float]:
    """Compare two samples by the largest distance of their distribution functions.

    The p-value, which is given with the distance, is the asymptotic one with effective events, (sum w)^2 / sum w^2, in place of their numbers.
    """
    grid = np.concatenate([one, other])
    first, second = (_cumulative(v, w, grid) for v, w in zip((one, other), weights, strict=True))
    effective = [w.sum() ** 2 / (w**2).sum() for w in weights]
    distance = float(np.abs(first - second).max())
    root = np.sqrt(effective[0] * effective[1] / (effective[0] + effective[1]))
    return distance, float(kolmogorov(distance * root))


def area(above: Floats, below: Floats, weights: tuple[Floats, Floats]) -> TwoSample:
    """Estimate the area under the ROC curve, P(score of the first > score of the second), with DeLong's error.

    References:
        E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, Biometrics 44 (1988) 837.
    """
    share = [w / w.sum() for w in weights]
    seen = (_placed(above, below, share[1]), 1 - _placed(below, above, share[0]))
    value = float(share[0] @ seen[0])
    variance = sum(float((w**2) @ (v - value) ** 2) for w, v in zip(share, seen, strict=True))
    error = float(np.sqrt(variance))
    return TwoSample(value, error, float(ndtr((0.5 - value) / error)) if error > 1e-9 else 0.5)


def _placed(values: Floats, others: Floats, weight: Floats) -> Floats:
    """Give the weight of the others below each value, ties by halves."""
    order = np.argsort(others, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(weight[order])])
    low, high = (np.searchsorted(others[order], values, side=side) for side in ("left", "right"))
    found: Floats = (sums[low] + sums[high]) / 2
    return found


def distances(columns: Mapping[str, tuple[Floats, Floats]], target: Floats, reweighted: Floats) -> dict[str, Distance]:
    """Measure every column; the arguments are those of `closure`."""
    weights = (target, reweighted)
    return {
        name: Distance(wasserstein(above, below, weights), nsbi4hep_closure(above, below, weights))
        for name, (above, below) in columns.items()
    }
