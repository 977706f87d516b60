"""How strong the ridge of wifi weights is: the weakest with which they are no worse than equal ones on held-out events.

Half of the events fits, the other half judges, and the other way round; halves are by the events' ids, so that an event that
is in both classes is in one half. What a free weight costs of the held-out loss, by its statistical error from a half, is
about 2 (1/N_n + 1/N_d), a unit. A ridge is good enough if

    its loss is within three units of that of equal weights, which have no such error, and
    the upper end of its loss, two errors above it, is within five times sqrt(2 K) units of the lowest: so much does the cost
    of K free weights fluctuate. With negative weights the lowest loss alone may be that of weights which an event ran away with.

No ridge at all is taken without a look at others if it costs held-out events little more than those that it was fitted to:
there is nothing to gain. A ridge may leave no more directions free than there are tens of effective events in a class: a handful of them judges
nothing. Members of which the mean is wrong get no ridge so, and the covariance of free weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from needle_parsl import salts
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.estimators.wifi_design import SIGNS, Design
from needle_parsl.nsbi.estimators.wifi_loss import ClassEvents, Side

Floats = npt.NDArray[np.float64]
MOST = 100_000
"""Events of a class that choose, at most; the ridge of more is weaker in proportion."""
STRENGTHS = 7
"""Ridges that are tried beside none."""
WEAKEST, STRONGEST = 1e-2, 1e2
"""Of them: relative to the squared width of the narrowest direction, and of the widest."""
LEAST = 1e-11
"""The weakest is at least this part of the strongest."""
ERRORS, FLUCTUATIONS, WORSE = 2.0, 5.0, 3.0
"""How far above a loss its upper end is, in errors; how far above the lowest it may be, in sqrt(2 K) units; and how far the loss
above that of equal weights, in units."""
EVENTS = 10
"""Effective events that each class must have for every direction that a ridge leaves free."""
ENOUGH = 1e-10
"""How exact the minima of halves are."""


class NoWeightsError(TaskError):
    """No fitted weights can be had; equal ones can."""


@dataclass(frozen=True)
class HeldOutChoice:
    """What held-out events say."""

    ridges: tuple[float, ...]
    """The one to use, and stronger ones, in case that it leads nowhere with all events."""
    loss: float
    """On held-out events, of the first of them."""
    of_equal: float
    """The same of equal weights."""


@dataclass(frozen=True)
class _Tried:
    """A ridge, and what the halves say of it."""

    ridge: float
    loss: float
    """On held-out events; infinite where a half has no minimum."""
    upper: float
    """Its upper end."""
    fitted: float
    """The loss on the events that fitted."""
    starts: Sequence[Floats]
    """Where the halves have come to, for the next ridge."""


def choose(samples: tuple[ClassEvents, ClassEvents], design: Design) -> HeldOutChoice:
    """Choose a ridge.

    Raises:
        NoWeightsError: None makes the fit as good as equal weights, or there are too few events to tell.
    """
    few = tuple(_some(sample) for sample in samples)
    halves = [tuple(_half(sample, k) for sample in few) for k in (0, 1)]
    if not all(len(sample.weight) and sample.weight.sum() > 0 for half in halves for sample in half):
        raise NoWeightsError(
            "too few events to hold out a half (a half of a class is empty, or its weights do not add up to more than 0)"
        )
    of_equal, upper = _held_out(halves, [design.basis @ design.equal] * 2)
    unit = 2 * sum(1 / sample.effective() for sample in few)
    most = min(sample.effective() for sample in few) / EVENTS
    slack = FLUCTUATIONS * np.sqrt(2 * len(design.equal)) * unit

    def good(one: _Tried) -> bool:
        return one.loss <= of_equal + WORSE * unit and design.freedom(one.ridge) <= most

    none = _try(halves, design, 0.0, [design.equal] * 2)
    tried = [none]
    healthy = abs(none.loss - none.fitted) <= slack  # no ridge has more than that to gain
    if not (healthy and good(none) and none.upper <= upper + slack):
        tried += _ladder(halves, design)
    lowest = min(upper, *(one.upper for one in tried))
    ridges = [one.ridge for one in tried if good(one) and one.upper <= lowest + slack]
    if not ridges:
        raise NoWeightsError("no fitted weights do as well as equal ones on held-out events")
    first = next(one for one in tried if one.ridge == ridges[0])
    share = sum(len(sample.weight) for sample in few) / (2 * sum(len(sample.weight) for sample in samples))
    return HeldOutChoice(tuple(share * ridge for ridge in ridges), first.loss, of_equal)


def _some(sample: ClassEvents) -> ClassEvents:
    share = MOST / max(len(sample.weight), 1)
    return sample if share >= 1 else sample.take(hashing.uniform(sample.key, salts.key("wifi", "some")) < share)


def _half(sample: ClassEvents, half: int) -> ClassEvents:
    return sample.take(hashing.fold(sample.key, 2, salts.key("wifi", "halves")) == half)


def _ladder(halves: Sequence[tuple[ClassEvents, ...]], design: Design) -> list[_Tried]:
    """Try ridges from the strongest on, where each fit starts from the one before it; give the weakest first."""
    strongest = STRONGEST * float(design.widths[0]) ** 2
    weakest = max(WEAKEST * float(design.widths[-1]) ** 2, LEAST * strongest)
    starts: Sequence[Floats] = [design.equal] * 2
    tried: list[_Tried] = []
    for ridge in np.geomspace(strongest, weakest, STRENGTHS).tolist():
        tried.insert(0, _try(halves, design, ridge, starts))
        starts = tried[0].starts
    return tried


def _try(halves: Sequence[tuple[ClassEvents, ...]], design: Design, ridge: float, starts: Sequence[Floats]) -> _Tried:
    """Fit each half, and judge it by the other one."""
    losses = [design.loss(half, ridge) for half in halves]
    nothing = np.zeros_like(design.equal)
    found = [own.minimum(start, nothing, enough=ENOUGH) for own, start in zip(losses, starts, strict=True)]
    ends = [start if one is None else one[0] for one, start in zip(found, starts, strict=True)]
    known = [one for one in found if one is not None]
    if len(known) < len(halves):
        return _Tried(ridge, np.inf, np.inf, np.inf, ends)
    penalties = [own.ridge(at) for own, (at, _) in zip(losses, known, strict=True)]
    fitted = float(np.mean([moments.loss for _, moments in known]) - np.mean(penalties))
    return _Tried(ridge, *_held_out(halves, [design.basis @ at for at in ends]), fitted, ends)


def _held_out(halves: Sequence[tuple[ClassEvents, ...]], weights: Sequence[Floats]) -> tuple[float, float]:
    """Give the mean loss of the weights of each half on the other one, and its upper end; infinite if it is no number."""
    total, variance = 0.0, 0.0
    for other, own in zip(halves[::-1], weights, strict=True):
        for sample, sign in zip(other, SIGNS, strict=True):
            loss, square = Side(sample, sign).held_out(own)
            total, variance = total + loss / 2, variance + square / 4
    upper = float(total + ERRORS * np.sqrt(variance))
    return (total, upper) if np.isfinite(upper) else (np.inf, np.inf)
