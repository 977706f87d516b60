"""The health of an ensemble: do its members agree, do more of them help, and did they learn their own events by heart?"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators.checks.distances import kolmogorov_smirnov
from needle_parsl.nsbi.estimators.estimator import Estimator

Floats = npt.NDArray[np.float64]
BINS = 30
"""Of the histograms of ln r in training and test events."""
SUPPORT_BINS = 50
LEAST = 10.0
"""Effective events of the reference below which a bin is said to be without support."""


def agreement(members: Floats) -> dict[str, Any]:
    """Compare members with each other.

    Args:
        members: Their log ratios on some events, shape (M, N).

    Returns:
        `correlation`: mean and smallest correlation of ln r of two members, null for a single one. `spread`: for sizes 1, 2,
        4 ... up to half of the members, the root mean square standard deviation of the mean of so many, from groups that have
        no member in common; it falls with the root of the size until what members have in common remains.
    """
    count = len(members)
    rows = []
    size = 1
    while 2 * size <= count:
        groups = count // size
        means = members[: groups * size].reshape(groups, size, -1).mean(axis=1)
        rows.append({"size": size, "groups": groups, "spread": float(np.sqrt(means.var(axis=0, ddof=1).mean()))})
        size *= 2
    return {"correlation": _correlation(members), "spread": rows}


def _correlation(members: Floats) -> dict[str, float] | None:
    if len(members) < 2 or not (members.std(axis=1) > 0).all():
        return None
    matrix: Floats = np.asarray(np.corrcoef(members))
    pairs = matrix[np.triu_indices(len(members), 1)]
    return {"mean": float(pairs.mean()), "smallest": float(pairs.min())}


def support(above: Floats, below: Floats, target: Floats, reference: Floats) -> float:
    """Give the share of the numerator in bins of ln r where the reference has fewer than 10 effective events.

    Args:
        above: ln r of the numerator, shape (N,).
        below: ln r of the reference, shape (R,).
        target: Weights of the numerator.
        reference: Weights of the reference.
    """
    edges = np.quantile(above, np.linspace(0, 1, SUPPORT_BINS + 1)[1:-1])
    place, other = np.searchsorted(edges, above), np.searchsorted(edges, below)
    total, squares = (np.bincount(other, w, SUPPORT_BINS) for w in (reference, reference**2))
    effective = np.divide(total**2, squares, out=np.zeros(SUPPORT_BINS), where=squares > 0)
    share = np.bincount(place, target, SUPPORT_BINS) / target.sum()
    return float(share[effective < LEAST].sum())


def overtraining(estimator: Estimator, trained: tuple[Events, Events], fresh: tuple[Events, Events]) -> dict[str, Any]:
    """Compare events that trained with events that did not.

    Args:
        estimator: The ratio.
        trained: Some training events of numerator and denominator.
        fresh: Some test events of both.

    Returns:
        `loss`: the cross-entropy of both, with balanced classes; `numerator` and `denominator`: `distance` and `p_value` of a
        Kolmogorov-Smirnov test of ln r, with histograms of both, normalised to one, between common `edges`.
    """
    learned = [[estimator.of(events, seen=seen) for events in pair] for seen, pair in ((True, trained), (False, fresh))]
    loss = [_loss(values, pair) for values, pair in zip(learned, (trained, fresh), strict=True)]
    sides = {}
    for side, name in enumerate(("numerator", "denominator")):
        one, other = learned[0][side], learned[1][side]
        weights = (trained[side].weight, fresh[side].weight)
        low, high = np.percentile(np.concatenate([one, other]), (0.1, 99.9))
        edges = np.linspace(low, high, BINS + 1)
        shares = [
            np.histogram(v, edges, weights=w / w.sum())[0].tolist() for v, w in zip((one, other), weights, strict=True)
        ]
        drawn = {"edges": edges.tolist(), "train": shares[0], "test": shares[1]}
        sides[name] = {**kolmogorov_smirnov(one, other, weights), **drawn}
    return {"loss": {"train": loss[0], "test": loss[1]}, **sides}


def _loss(log_ratios: list[Floats], samples: tuple[Events, Events]) -> float:
    above, below = (
        float(np.average(np.logaddexp(0, sign * values), weights=events.weight))
        for sign, values, events in zip((-1, 1), log_ratios, samples, strict=True)
    )
    return (above + below) / 2
