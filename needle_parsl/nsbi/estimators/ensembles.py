"""How the members of an ensemble become one density ratio, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

Floats = npt.NDArray[np.float64]


def mean_ratio(log_ratios: Floats) -> Floats:
    """Average the ratios of the members: ln r = ln (1/M) sum_m exp(f_m).

    Keeps E_ref[r] = 1 if each member does (Jensen's inequality breaks that for a mean of logarithms).

    Args:
        log_ratios: Shape (M, N).

    Returns:
        Shape (N,).
    """
    mean: Floats = logsumexp(log_ratios, axis=0) - np.log(len(log_ratios))
    return mean


COMBINERS: dict[str, Callable[[Floats], Floats]] = {"mean_ratio": mean_ratio}
"""Each takes the members' log ratios (M, N) and gives one of shape (N,)."""
