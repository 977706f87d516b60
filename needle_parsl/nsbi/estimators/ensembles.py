"""How the members of an ensemble become one density ratio; `analysis/catalogue.py` lists the ways."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logsumexp

from needle_parsl import refs
from needle_parsl.analysis import catalogue
from needle_parsl.errors import InputError
from needle_parsl.nsbi.training import user_errors

Floats = npt.NDArray[np.float64]
TRIED, EVENTS = (1, 2, 5), 64
"""Members and events that a combiner of the user's is tried on."""
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


def find(name: str) -> Combiner:
    """Find a combiner by its name: one of needle's, or one that the user's analysis names.

    Raises:
        InputError: There is no such function, or only a file names it.
    """
    known = catalogue.COMBINERS.get(name)
    if known:
        found: Combiner = known.load()
        return found
    own = refs.named_by_file(name)
    if not callable(own):
        raise InputError(f"{refs.own_name(name)} is no function; expected one that is given ln r of the members")
    return partial(_combined, own, refs.own_name(name))


def _combined(own: Callable[[Floats], Any], name: str, log_ratios: Floats, _coefficients: Floats) -> Floats:
    """Call a function of the user's; what it changes in place is its own.

    Raises:
        InputError: It fails, or does not give one number of each event.
    """
    with user_errors.blamed(name):
        found = np.asarray(own(log_ratios.copy()), dtype=np.float64)
    if found.shape != log_ratios.shape[1:]:
        members, events = log_ratios.shape
        raise InputError(
            f"{name} gives shape {found.shape} for {members} members and {events} events; expected ln r of each event, shape ({events},)"
        )
    return found


def tried(name: str) -> None:
    """Try a combiner on members that are made up: one, and several.

    Raises:
        InputError: It cannot be used.
    """
    combine = find(name)
    for members in TRIED:
        log_ratios = np.random.default_rng(members).normal(size=(members, EVENTS))
        found = combine(log_ratios, equal(members))
        if not np.isfinite(found).all():
            raise InputError(
                f"{refs.own_name(name)} gives a number that is not finite for ln r of {members} members between -4 and 4"
            )
        alone = combine(log_ratios[:, :1], equal(members))
        if not np.allclose(alone, found[:1]):
            raise InputError(
                f"{refs.own_name(name)} gives an event another ln r when it comes alone; expected a function of its own column"
            )
