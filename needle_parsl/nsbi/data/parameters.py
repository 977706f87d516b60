"""Parameters as inputs of networks: events of a reference get values that nobody simulated them with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from needle_parsl import salts
from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.data.events import Events

SALT = salts.key("parameters")
"""Of the draw, so that it has nothing to do with how events are split."""


def attached(denominator: Events, numerator: Events, count: int) -> Events:
    """Draw parameters for events of the denominator, as often as the numerator's events have them.

    A classifier of (x, theta) then learns p(x, theta) / [p_0(x) p(theta)] = p(x | theta) / p_0(x). Values follow from the ids
    of events. One is drawn in proportion to |w|, and the sign of w goes to the weight, so that negative weights of the
    numerator count as they should.

    Args:
        denominator: With features (N, F).
        numerator: With features, then parameters.
        count: How many parameters.

    Returns:
        The denominator's events, with parameters behind their features.

    References:
        P. Baldi, K. Cranmer, T. Faucett, P. Sadowski, D. Whiteson, arXiv:1601.07913.
    """
    total = np.cumsum(np.abs(numerator.weight))
    place = np.searchsorted(total, hashing.uniform(denominator.id, SALT) * total[-1], side="right")
    place = np.minimum(place, len(numerator) - 1)
    x = np.concatenate([denominator.x, numerator.x[place, -count:]], axis=1)
    return replace(
        denominator, names=numerator.names, x=x, weight=denominator.weight * np.sign(numerator.weight[place])
    )
