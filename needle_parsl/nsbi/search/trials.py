"""Trials: settings that are tried, what was measured of them, and the objective that puts them in order. Records of `search/*.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from needle_parsl.analysis import catalogue
from needle_parsl.analysis.space import Value
from needle_parsl.json_records import JsonRecord

State = Literal["running", "ended", "complete", "failed"]


@dataclass(frozen=True)
class Measured(JsonRecord):
    """A metric of a trial."""

    value: float | None
    """Mean over replicas; None where one of them has none."""
    error: float
    """Standard error of the mean, without what all trials have in common; 0 for one replica."""
    replicas: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Rung(JsonRecord):
    """What was measured at the end of a rung."""

    epochs: int
    """Of training so far; 0 where its own end decides."""
    pack: str
    """The task that has trained it."""
    metrics: Mapping[str, Measured]
    """None where it has failed."""
    reason: str = ""
    """Why it has failed; empty if it has not."""


@dataclass(frozen=True, kw_only=True)
class Trial(JsonRecord):
    """Settings that are tried."""

    number: int
    settings: Mapping[str, Value]
    """Keys of the space."""
    bracket: int
    state: State = "running"
    """`ended` before the last rung, or `complete`."""
    rungs: tuple[Rung, ...] = field(default=())
    """Those that are measured, in their order."""

    def words(self) -> str:
        """Give the settings in words."""
        return ", ".join(
            f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
            for name, value in self.settings.items()
        )


def measured(values: Sequence[float]) -> Measured:
    """Give mean and standard error of what replicas give."""
    if not np.isfinite(values).all():
        return Measured(None, 0.0, tuple(value if math.isfinite(value) else None for value in values))
    error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0
    return Measured(float(np.mean(values)), error, tuple(float(value) for value in values))


PAIRED = 3
"""Trials from which on it is known what their replicas have in common."""


def paired(trials: Sequence[Trial], epochs: int) -> list[Trial]:
    """Take out of the errors at a length what replicas of the same number have in common in all trials.

    That is the events of their fold, which are easier or harder for every network, and say nothing of the settings: the median over trials of the distance of a replica from the mean of its trial.
    """
    there = {trial.number: rung for trial in trials for rung in trial.rungs if rung.epochs == epochs and rung.metrics}
    found = dict(there)
    for name in next(iter(there.values())).metrics if there else ():
        able = {number: rung.metrics[name] for number, rung in there.items() if rung.metrics[name].value is not None}
        if len(able) < PAIRED:
            continue
        away = {number: np.array(one.replicas) - one.value for number, one in able.items()}
        common = np.median(list(away.values()), axis=0)
        for number, one in able.items():
            error = measured(list(away[number] - common)).error
            metrics = {**found[number].metrics, name: replace(one, error=error)}
            found[number] = replace(found[number], metrics=metrics)
    return [_with(trial, found[trial.number]) if trial.number in found else trial for trial in trials]


def _with(trial: Trial, rung: Rung) -> Trial:
    return replace(trial, rungs=tuple(rung if own.epochs == rung.epochs else own for own in trial.rungs))


def objectives(rung: Rung, metrics: Sequence[str], risk: float) -> tuple[float, ...]:
    """Give what is minimised: of each metric the mean, with its sign turned where larger is better, and so many times its error."""
    signs = [-1.0 if catalogue.SEARCH_METRICS[name].larger else 1.0 for name in metrics]
    found = [rung.metrics[name] for name in metrics]
    return tuple(
        math.inf if one.value is None else sign * one.value + risk * one.error
        for sign, one in zip(signs, found, strict=True)
    )


def ranked(trials: Sequence[Trial], metrics: Sequence[str], risk: float, pick: str = "balanced") -> list[Trial]:
    """Put trials in order by their newest rung, the best first; those that have failed are left out.

    With several metrics the points of the Pareto front come first, then those of the front without them, and so on; within a front what has the best value of the
    metric `pick`, or whose ranks add up to the least.
    """
    able = [trial for trial in trials if trial.rungs and trial.state != "failed"]
    if not able:
        return []
    values = np.array([objectives(trial.rungs[-1], metrics, risk) for trial in able])
    ranks = values.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    second = values[:, list(metrics).index(pick)] if pick in metrics else ranks.sum(axis=1)
    order = sorted(range(len(able)), key=lambda k: (_depth(values)[k], second[k], able[k].number))
    return [able[k] for k in order]


def front(trials: Sequence[Trial], metrics: Sequence[str], risk: float) -> list[Trial]:
    """List the trials that no other one beats in all metrics, by number; of those that were trained to their end, if any was."""
    able = ranked([trial for trial in trials if trial.state == "complete"] or trials, metrics, risk)
    able = sorted(
        (trial for trial in able if all(map(math.isfinite, objectives(trial.rungs[-1], metrics, risk)))),
        key=lambda t: t.number,
    )
    values = np.array([objectives(trial.rungs[-1], metrics, risk) for trial in able])
    return [trial for trial, depth in zip(able, _depth(values), strict=True) if depth == 0]


def _depth(values: npt.NDArray[np.float64]) -> list[int]:
    """Give the front that each point is on, 0 for that which nothing dominates; values (N, M), smaller is better."""
    depth, left, level = np.zeros(len(values), np.int64), np.arange(len(values)), 0
    while len(left):
        own = values[left]
        beaten = np.all(own[None] <= own[:, None], axis=2) & np.any(own[None] < own[:, None], axis=2)
        dominated = np.any(beaten, axis=1)
        depth[left[~dominated]] = level
        left, level = left[dominated], level + 1
    return depth.tolist()
