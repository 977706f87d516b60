"""Reweighting closure: do reference events, weighted with the learned ratio, look like the numerator?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, logit

from needle_parsl.json_records import JsonRecord

Floats = npt.NDArray[np.float64]
BINS = 25
"""Bins of a histogram, at most."""
FARTHEST = 30.0
"""|ln r| beyond which a score is 0 or 1."""
LEAST = 25.0
"""Effective events of both samples in a bin, at least; fewer are merged, so that chi-squared has its distribution."""


@dataclass(frozen=True, kw_only=True)
class HistogramComparison(JsonRecord):
    """Numerator and reweighted reference in one column, both normalised to one."""

    edges: Sequence[float]
    """Shape (B + 1,), in units of the column."""
    target: Sequence[float]
    """Of the numerator, shape (B,), as the errors."""
    target_error: Sequence[float]
    reweighted: Sequence[float]
    """Of the reference."""
    reweighted_error: Sequence[float]
    chi2: float
    ndf: int
    p_value: float | None
    """None without a degree of freedom."""


@dataclass(frozen=True, kw_only=True)
class CalibrationCurve(JsonRecord):
    """The score of a classifier beside the fraction of numerator events that have it, by bins; each of shape (B,)."""

    score: Sequence[float]
    fraction: Sequence[float]
    error: Sequence[float]
    """Of the fraction."""
    log_ratio: Sequence[float]
    log_fraction: Sequence[float | None]
    """ln f / (1 - f); None where a bin has events of one class alone, as its error."""
    log_error: Sequence[float | None]
    chi2: float
    ndf: int
    p_value: float
    ece: float
    """Expected calibration error, sum_b W_b |fraction_b - score_b| / W."""
    mce: float
    """Maximum calibration error."""


def closure(
    columns: Mapping[str, tuple[Floats, Floats]], target: Floats, reweighted: Floats
) -> dict[str, HistogramComparison]:
    """Compare histograms of the numerator with those of the reweighted reference, column by column.

        chi2 = (P - Q)^T V^-1 (P - Q) without the last bin,  ndf = bins - 1
        V = sum over both of [diag(s) - s P^T - P s^T + P P^T sum_b s_b] / W^2,  s_b = sum in b of w^2,  W = sum of w

    Both are normalised to one, which costs the degree of freedom. For equal weights it is the sum over bins of
    (P_b - Q_b)^2 / (sigma_P,b^2 + sigma_Q,b^2); a ratio that varies much makes weights that are far from equal.

    Args:
        columns: By name, the values of the numerator's events, shape (N,), and of the reference's, shape (R,).
        target: Weights of the numerator, shape (N,).
        reweighted: Weights of the reference times r, shape (R,).
    """
    return {name: _compare(above, below, target, reweighted) for name, (above, below) in columns.items()}


def _compare(above: Floats, below: Floats, target: Floats, reweighted: Floats) -> HistogramComparison:
    edges = _edges(above, below, target, reweighted)
    p, sigma_p = histogram(above, target, edges)
    q, sigma_q = histogram(below, reweighted, edges)
    covariance = share_covariance(p, sigma_p) + share_covariance(q, sigma_q)
    ndf, away = len(p) - 1, (p - q)[:-1]
    value = float(away @ np.linalg.pinv(covariance[:-1, :-1], hermitian=True) @ away)
    return HistogramComparison(
        edges=edges.tolist(),
        target=p.tolist(),
        target_error=sigma_p.tolist(),
        reweighted=q.tolist(),
        reweighted_error=sigma_q.tolist(),
        chi2=value,
        ndf=ndf,
        p_value=p_value(value, ndf) if ndf else None,
    )


def share_covariance(share: Floats, error: Floats) -> Floats:
    """Give the covariance of the shares of a total that fluctuates with them."""
    own = error**2
    cross = np.outer(own, share)
    whole: Floats = np.diag(own) - cross - cross.T + np.outer(share, share) * own.sum()
    return whole


def histogram(values: Floats, weight: Floats, edges: Floats) -> tuple[Floats, Floats]:
    """Fill a histogram that is normalised to one; what is outside counts in the outermost bins.

    Returns:
        Shares and their errors, sqrt(sum of w^2) over the total, shape (B,).
    """
    counts, squares = _sums(values, weight, edges)
    return counts / weight.sum(), np.sqrt(squares) / abs(weight.sum())


def _sums(values: Floats, weight: Floats, edges: Floats) -> tuple[Floats, Floats]:
    """Add up weights and their squares in each bin."""
    place, bins = _bins(values, edges), len(edges) - 1
    return np.bincount(place, weight, bins).astype(np.float64), np.bincount(place, weight**2, bins).astype(np.float64)


def _bins(values: Floats, edges: Floats) -> npt.NDArray[np.intp]:
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


def _edges(above: Floats, below: Floats, target: Floats, reweighted: Floats) -> Floats:
    """Cut into bins of equal numbers of events, each with enough effective ones of both samples."""
    both = np.concatenate([above, below])
    edges = np.unique(np.quantile(both, np.linspace(0, 1, BINS + 1)))
    if len(edges) < 2:  # a constant column
        return np.array([edges[0], edges[0] + 1.0])
    while len(edges) > 2:
        poor = np.minimum(_effective(above, target, edges), _effective(below, reweighted, edges))
        worst = int(np.argmin(poor))
        if poor[worst] >= LEAST:
            break
        edges = np.delete(edges, min(max(worst, 1), len(edges) - 2))
    return edges


def _effective(values: Floats, weight: Floats, edges: Floats) -> Floats:
    total, squares = _sums(values, weight, edges)
    return np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0)


def calibration(score: Floats, label: npt.NDArray[np.bool_], weight: Floats) -> CalibrationCurve:
    """Compare the score of a classifier with the fraction of numerator events that have it.

        chi2 = sum_b (fraction_b - score_b)^2 / sigma_b^2,  ndf = bins

    Args:
        score: s = r / (1 + r), shape (N,).
        label: Whether an event is from the numerator, shape (N,).
        weight: With equal sums in both classes, shape (N,).
    """
    above, below = score[label], score[~label]
    edges = _edges(above, below, weight[label], weight[~label])
    place = _bins(score, edges)
    total = np.bincount(place, weight)
    fraction = np.bincount(place, weight * label) / total
    mean = np.bincount(place, weight * score) / total
    # Of the residual w (y - s): the spread of the score within a bin is no calibration error.
    residual = weight * (label - score)
    error = np.sqrt(np.bincount(place, residual**2)) / np.abs(total)
    value = float(np.divide((fraction - mean) ** 2, error**2, out=np.zeros_like(mean), where=error > 0).sum())
    gap = np.abs(fraction - mean)
    log_ratio = np.bincount(place, weight * np.clip(logit(score), -FARTHEST, FARTHEST)) / total
    known = (fraction > 0) & (fraction < 1)
    return CalibrationCurve(
        score=mean.tolist(),
        fraction=fraction.tolist(),
        error=error.tolist(),
        log_ratio=log_ratio.tolist(),
        log_fraction=[float(logit(f)) if k else None for f, k in zip(fraction, known, strict=True)],
        log_error=[float(e / (f * (1 - f))) if k else None for e, f, k in zip(error, fraction, known, strict=True)],
        chi2=value,
        ndf=len(mean),
        p_value=p_value(value, len(mean)),
        ece=float((np.abs(total) * gap).sum() / np.abs(total).sum()),
        mce=float(gap.max()),
    )


def p_value(chi2: float, ndf: int) -> float:
    """Give the upper tail of chi-squared as `scipy.stats` does, whose import takes most of a second; NaN without a degree of freedom."""
    return float(chdtrc(ndf, max(chi2, 0.0))) if ndf else float("nan")
