"""How the members of an ensemble become one density ratio, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logsumexp

Floats = npt.NDArray[np.float64]
Combiner = Callable[[Floats, Floats], Floats]
"""Takes the members' log ratios (M, N) and coefficients (M,), and gives one log ratio per event, shape (N,)."""


def mean_ratio(log_ratios: Floats, coefficients: Floats) -> Floats:
    """Average the ratios of the members: ln r = ln sum_m c_m exp(f_m), sum_m c_m = 1.

    Keeps E_ref[r] = 1 if each member does (Jensen's inequality breaks that for a mean of logarithms).
    """
    mean: Floats = logsumexp(log_ratios, axis=0, b=coefficients[:, None])
    return mean


def mean_score(log_ratios: Floats, coefficients: Floats) -> Floats:
    """Average the scores: ln r = ln (s / (1 - s)), s = sum_m c_m / (1 + exp(-f_m)); one minus s is summed, too."""
    odds: Floats = np.log(coefficients @ expit(log_ratios)) - np.log(coefficients @ expit(-log_ratios))
    return odds


def mean_log(log_ratios: Floats, coefficients: Floats) -> Floats:
    """Add up the logarithms: ln r = sum_m c_m f_m."""
    return coefficients @ log_ratios


def median_ratio(log_ratios: Floats, coefficients: Floats) -> Floats:
    """Take the median of the ratios, which are all positive; between two of them, the mean ratio.

    The coefficients, which are equal, do not matter.
    """
    ordered, middle = np.sort(log_ratios, axis=0), len(coefficients) // 2
    low, high = ordered[(len(coefficients) - 1) // 2], ordered[middle]
    median: Floats = np.logaddexp(low, high) - np.log(2)
    return median


def equal(members: int) -> Floats:
    """Give every member the same coefficient."""
    return np.full(members, 1 / members)


def inverse_loss(losses: Floats) -> Floats:
    """Weight members by 1 / validation loss.

    Args:
        losses: Of the best epoch, shape (M,).

    Raises:
        ValueError: A loss is not above zero, so that it has no useful inverse.
    """
    unfit = losses[~((losses > 0) & (losses < np.inf))]
    if len(unfit):
        raise ValueError(f"a validation loss is {unfit[0]:g}; weights from its inverse need a number above 0")
    weights: Floats = (1 / losses) / (1 / losses).sum()
    return weights


COMBINERS: dict[str, Combiner] = {
    "mean_ratio": mean_ratio,
    "mean_score": mean_score,
    "mean_log": mean_log,
    "median_ratio": median_ratio,
    "weighted": mean_ratio,
    "wifi": mean_log,
}
"""How members are put together; `weighted` and `wifi` are what they are by their coefficients."""
