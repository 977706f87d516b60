"""How much a varied sample differs from its nominal one, in its yield and in histograms of its features, before anything is trained.

    q = sum_b (p'_b - p_b)^2 / p_b,    p, p' the shares of the weight in the bins of a feature

For nu expected events of the process, sqrt(nu q) is by how many standard errors data of this process alone would see the variation in that feature. Between samples of
events of their own q has noise, sum_b (s_b^2 + s'_b^2) / p_b with the errors s of the shares: it is taken away, and twice its scatter added, so that what is left is an upper bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.data.events import Events

Floats = npt.NDArray[np.float64]
BINS = 20
"""Of each feature, with equal weights of the nominal sample."""
ROWS = 300_000
"""Events in the histograms of a sample, at most, the first ones."""
SIGMAS = 2.0
"""By how many standard deviations noise may be larger than its mean."""
LARGEST = 1e6
"""Where a variation is in bins that the nominal sample has nothing in."""


@dataclass(frozen=True)
class Shares:
    """What is kept of a sample."""

    edges: Mapping[str, Floats]
    """By feature, between its bins, shape (B - 1,)."""
    share: Mapping[str, Floats]
    """Of the weight, shape (B,)."""
    error: Mapping[str, Floats]
    """Statistical, shape (B,)."""
    total: float
    """Sum of the weights; NaN where not all events were read."""
    total_error: float

    @staticmethod
    def of(events: Events, *, complete: bool, edges: Mapping[str, Floats] | None = None) -> Shares | None:
        """Fill the histograms; None where the weights add up to nothing.

        Args:
            events: Of the sample.
            complete: Whether these are all.
            edges: Those of the nominal sample; left out, they are made.
        """
        weight, columns = events.weight[:ROWS], events.x[:ROWS].T.astype(np.float64)
        if not len(weight) or weight.sum() <= 0:
            return None
        made = edges or {name: _edges(x, weight) for name, x in zip(events.names, columns, strict=False)}
        share, error = {}, {}
        for name, x in zip(events.names, columns, strict=False):
            place, size = np.searchsorted(made[name], x, side="right"), len(made[name]) + 1
            share[name] = np.bincount(place, weight, size) / weight.sum()
            # Of a share: the total fluctuates with it.
            squares = np.bincount(place, weight**2, size)
            own = squares * (1 - 2 * share[name]) + share[name] ** 2 * squares.sum()
            error[name] = np.sqrt(np.maximum(own, 0.0)) / weight.sum()
        total = float(events.weight.sum()) if complete else float("nan")
        return Shares(made, share, error, total, float(np.sqrt((events.weight**2).sum())))


def _edges(x: Floats, weight: Floats) -> Floats:
    """Divide a column into bins of equal weight; values that are no numbers are in the last one, as a placeholder is in one of its own."""
    order = np.argsort(x, kind="stable")
    sums = np.cumsum(np.abs(weight[order]))
    rows = np.searchsorted(sums, np.linspace(0, 1, BINS + 1)[1:-1] * sums[-1])
    return np.unique(x[order][rows])


def compared(nominal: Shares, varied: Shares, *, independent: bool) -> dict[str, float | str]:
    """Compare a variation with its nominal sample.

    Args:
        nominal: The nominal sample.
        varied: The variation, in the same bins.
        independent: Whether it has events of its own.

    Returns:
        `feature` with the largest `shape`, an upper bound of q; `change`, the largest relative one of a bin there; `relative`, the yield over the
        nominal one, with its `error`; and the `total` weight of the nominal sample.
    """
    bounds = {name: _bound(nominal, varied, name, independent=independent) for name in nominal.share}
    feature = max(bounds, key=lambda name: bounds[name], default="")
    p, other = (own.share.get(feature, np.zeros(0)) for own in (nominal, varied))
    changes = np.abs(np.divide(other, p, out=np.ones_like(p), where=p > 0) - 1)
    relative = varied.total / nominal.total
    error = relative * np.hypot(varied.total_error / varied.total, nominal.total_error / nominal.total)
    return {
        "feature": feature,
        "shape": float(bounds.get(feature, 0.0)),
        "change": float(changes.max(initial=0.0)),
        "relative": float(relative),
        "error": float(error) if independent else 0.0,
        "total": nominal.total,
    }


def _bound(nominal: Shares, varied: Shares, name: str, *, independent: bool) -> float:
    p, other = nominal.share[name], varied.share[name]
    known = p > 0
    if (other[~known] > 0).any():
        return LARGEST
    q = float(((other - p)[known] ** 2 / p[known]).sum())
    if not independent:
        return q
    noise = (nominal.error[name] ** 2 + varied.error[name] ** 2)[known] / p[known]
    return max(q - float(noise.sum()), 0.0) + SIGMAS * float(np.sqrt(2 * (noise**2).sum()))
