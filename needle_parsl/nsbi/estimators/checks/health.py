"""The health of an ensemble: do its members agree, do more of them help, and did they learn their own events by heart?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators.checks.distances import kolmogorov_smirnov
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.estimators.results import (
    Agreement,
    Correlation,
    GroupSpread,
    Losses,
    Overtraining,
    SeenAndFresh,
)

Floats = npt.NDArray[np.float64]
BINS = 30
"""Of the histograms of ln r in training and test events."""


def agreement(members: Floats) -> Agreement:
    """Compare members with each other.

    Args:
        members: Their log ratios on some events, shape (M, N).

    Returns:
        The spread falls with the root of the size of groups until what members have in common remains.
    """
    count = len(members)
    rows = []
    size = 1
    while 2 * size <= count:
        groups = count // size
        means = members[: groups * size].reshape(groups, size, -1).mean(axis=1)
        rows.append(GroupSpread(size, groups, float(np.sqrt(means.var(axis=0, ddof=1).mean()))))
        size *= 2
    return Agreement(_correlation(members), tuple(rows))


def _correlation(members: Floats) -> Correlation | None:
    if len(members) < 2 or not (members.std(axis=1) > 0).all():
        return None
    matrix: Floats = np.asarray(np.corrcoef(members))
    pairs = matrix[np.triu_indices(len(members), 1)]
    return Correlation(float(pairs.mean()), float(pairs.min()))


def overtraining(estimator: Estimator, trained: tuple[Events, Events], fresh: tuple[Events, Events]) -> Overtraining:
    """Compare events that trained with events that did not.

    Args:
        estimator: The ratio.
        trained: Some training events of numerator and denominator.
        fresh: Some test events of both.
    """
    learned = [[estimator.of(events, seen=seen) for events in pair] for seen, pair in ((True, trained), (False, fresh))]
    loss = Losses(*(_loss(values, pair) for values, pair in zip(learned, (trained, fresh), strict=True)))
    numerator, denominator = (
        _compared(learned[0][side], learned[1][side], (trained[side].weight, fresh[side].weight)) for side in (0, 1)
    )
    return Overtraining(loss, numerator, denominator)


def _compared(seen: Floats, fresh: Floats, weights: tuple[Floats, Floats]) -> SeenAndFresh:
    """Compare ln r of one class, by a test of Kolmogorov and Smirnov and by histograms that are normalised to one."""
    distance, p_value = kolmogorov_smirnov(seen, fresh, weights)
    low, high = np.percentile(np.concatenate([seen, fresh]), (0.1, 99.9))
    edges = np.linspace(low, high, BINS + 1)
    train, test = (
        np.histogram(v, edges, weights=w / w.sum())[0].tolist() for v, w in zip((seen, fresh), weights, strict=True)
    )
    return SeenAndFresh(distance=distance, p_value=p_value, edges=edges.tolist(), train=train, test=test)


def _loss(log_ratios: list[Floats], samples: tuple[Events, Events]) -> float:
    above, below = (
        float(np.average(np.logaddexp(0, sign * values), weights=events.weight))
        for sign, values, events in zip((-1, 1), log_ratios, samples, strict=True)
    )
    return (above + below) / 2
