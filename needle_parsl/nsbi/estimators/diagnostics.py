"""Is the ratio right? Numbers about one estimator, on events that neither trained nor combined it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators.estimator import Estimator, normalisation

Floats = npt.NDArray[np.float64]


def diagnose(
    estimator: Estimator, numerator: Events, denominator: Events, exact: tuple[Floats, Floats] | None
) -> dict[str, Any]:
    """Measure an estimator.

    Args:
        estimator: The ratio.
        numerator: Test events of the numerator.
        denominator: Test events of the denominator.
        exact: The true ln r of both, where it is known.

    Returns:
        `normalisation`: E_ref[r] and its error; `effective_events` of numerator, denominator, and of the denominator
        weighted with r; `member_spread`: root mean square over events of the members' standard deviation of ln r;
        `exact`: mean square error of ln r and its bias, null where the truth is not known.
    """
    mean, error = normalisation(estimator, denominator)
    learned = (estimator.log_ratio(numerator.x), estimator.log_ratio(denominator.x))
    spread = estimator.members(denominator.x[:: 1 + len(denominator) // 20_000]).std(axis=0)
    weighted = Events(denominator.names, denominator.x, denominator.weight * np.exp(learned[1]), denominator.id)
    return {
        "ratio": estimator.ratio,
        "members": len(estimator.weights),
        "normalisation": {"value": mean, "error": error},
        "effective_events": {
            "numerator": numerator.effective(),
            "denominator": denominator.effective(),
            "reweighted_denominator": weighted.effective(),
        },
        "member_spread": float(np.sqrt((spread**2).mean())),
        "exact": None if exact is None else _against(learned, exact, numerator, denominator),
    }


def _against(
    learned: tuple[Floats, Floats], exact: tuple[Floats, Floats], numerator: Events, denominator: Events
) -> dict[str, float]:
    """Compare with the truth, both classes with equal weight."""
    total, bias = 0.0, 0.0
    for ours, truth, events in zip(learned, exact, (numerator, denominator), strict=True):
        total += float(np.average((ours - truth) ** 2, weights=np.abs(events.weight))) / 2
        bias += float(np.average(ours - truth, weights=np.abs(events.weight))) / 2
    return {"mean_square_error": total, "bias": bias}
