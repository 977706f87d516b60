"""Metrics of ensembles: the replicas of a trial that learned from the same events, combined as `[ensemble]` says, on events that trained none of them.

References:
    The jackknife: B. Efron, C. Stein, Ann. Statist. 9 (1981) 586.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from needle_parsl.analysis import catalogue
from needle_parsl.analysis.space import ENSEMBLE, Value
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.estimators import ensembles
from needle_parsl.nsbi.search import metrics
from needle_parsl.nsbi.search.metrics import Fitted, Replica, ratios

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Combination:
    """How members become one ratio; the words of `[ensemble]`."""

    combine: str
    """A name in `catalogue.COMBINERS` whose weights are not fitted."""
    calibration: str
    """`none`, or a name in `catalogue.CALIBRATIONS`."""


def measure(
    names: Sequence[str], replicas: Sequence[Replica], fitted: Fitted | None, how: Combination
) -> dict[str, list[float]]:
    """Compute metrics by name, those of networks as without a combination.

    Of combined networks a metric has the value V of all of a fold, and V_{-i} without one of them. Each of the m networks is given
    V + (m - 1) (mean of V_{-i} - V_{-i}): the mean of these numbers is V, and its standard error that of the jackknife.

    Args:
        names: In `catalogue.SEARCH_METRICS`.
        replicas: Of one trial and one ratio, each with what all others say of its events.
        fitted: Where a metric fits the parameter of interest.
        how: The combination.

    Returns:
        Of each metric a number for each replica.

    Raises:
        TaskError: The networks cannot be combined so.
    """
    single = [name for name in names if catalogue.SEARCH_METRICS[name].networks]
    found = metrics.measure(single, replicas, fitted)
    joined = [name for name in names if name not in single]
    if not all(replica.finite for replica in replicas):
        return found | {name: [float("nan")] * len(replicas) for name in joined}
    values = {name: [float("nan")] * len(replicas) for name in joined}
    for places in _folds(replicas):
        for name, numbers in _fold(joined, replicas, places, fitted, how).items():
            for place, number in zip(places, numbers, strict=True):
                values[name][place] = number
    return {name: (found | values)[name] for name in names}


def _folds(replicas: Sequence[Replica]) -> list[list[int]]:
    """Group replicas by fold."""
    groups: dict[int, list[int]] = {}
    for place, replica in enumerate(replicas):
        groups.setdefault(replica.fold, []).append(place)
    return list(groups.values())


def _fold(
    names: Sequence[str], replicas: Sequence[Replica], places: Sequence[int], fitted: Fitted | None, how: Combination
) -> dict[str, list[float]]:
    """Measure the combination of the networks of a fold, and those without one of them."""

    def value(own: Sequence[int]) -> dict[str, float]:
        return {n: v for n, (v,) in metrics.measure(names, [together(replicas, own, how)], fitted).items()}

    whole, count = value(places), len(places)
    if count == 1:
        return {name: [number] for name, number in whole.items()}
    without = [value([own for own in places if own != place]) for place in places]
    left = {name: np.array([one[name] for one in without]) for name in names}
    return {name: list(whole[name] + (count - 1) * (own.mean() - own)) for name, own in left.items()}


def together(replicas: Sequence[Replica], places: Sequence[int], how: Combination) -> Replica:
    """Combine networks of a fold on the events of its first one.

    Args:
        replicas: Of the trial.
        places: Which of them.
        how: The combination.

    Returns:
        The combination, as if it were one network; its outputs are ln r, of classes with 0 for the first.
    """
    first = replicas[places[0]]
    seen = [first.others[place - (place > places[0])] if place != places[0] else first.logit for place in places]
    log_ratios = np.stack([ratios(one).reshape(len(first.label), -1) for one in seen])
    coefficients = _coefficients([replicas[place].loss for place in places], how.combine)
    combine = ensembles.find(how.combine)
    columns = [combine(log_ratios[:, :, k], coefficients) for k in range(log_ratios.shape[2])]
    several = first.logit.ndim == 2
    calibrated = [_calibrated(own, first, k + 1 if several else 0, how.calibration) for k, own in enumerate(columns)]
    logit = np.column_stack([np.zeros(len(first.label)), *calibrated]) if several else calibrated[0]
    return replace(first, logit=logit, others=())


def _coefficients(losses: Sequence[float], combine: str) -> Floats:
    if not catalogue.combiner(combine).by_loss:
        return ensembles.equal(len(losses))
    try:
        return ensembles.inverse_loss(np.array(losses))
    except ValueError as error:
        raise TaskError(str(error)) from error


def _calibrated(log_ratio: Floats, events: Replica, number: int, method: str) -> Floats:
    """Calibrate each half of the events by the other: what it is fitted on would look too good.

    Args:
        log_ratio: Shape (N,).
        events: With labels and weights.
        number: Of the class in the numerator; 0 for two classes.
        method: As in `Combination`.
    """
    if method == catalogue.NO_CALIBRATION:
        return log_ratio
    above = events.label == number if number else events.label > 0
    known, found = above | (events.label == 0), np.empty_like(log_ratio)
    halves = np.empty(len(log_ratio), np.int64)
    halves[np.argsort(events.label, kind="stable")] = np.arange(len(log_ratio)) % 2  # every other event of each class
    for half in (0, 1):
        own = halves == half
        rows = own & known
        if not (above[rows].any() and (~above[rows]).any()):
            raise TaskError("there are too few validation events to calibrate by half of them")
        found[~own] = catalogue.CALIBRATIONS[method].load()(log_ratio[rows], above[rows], events.weight[rows])(
            log_ratio[~own]
        )
    return found


def of_settings(settings: Mapping[str, Value], combine: str, calibration: str) -> Combination | None:
    """Give how a trial combines its networks; None where that is not searched.

    Args:
        settings: Of the trial.
        combine: Of `[ensemble]`.
        calibration: Likewise.
    """
    own = {name.removeprefix(ENSEMBLE): str(v) for name, v in settings.items() if name.startswith(ENSEMBLE)}
    return Combination(**{"combine": combine, "calibration": calibration, **own}) if own else None
