"""Numbers of the checks in `fits/closure.json`, as checks, figures and page need them: in units of the error of the Asimov fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from needle_parsl.nsbi.report.gathering import Facts, asimov
from needle_parsl.nsbi.statistics.results import Injection, RatioScale, ToyScatter

PROCESSES = "@processes"
"""The group of the nominal ratios; those of variations are called after their process."""


@dataclass(frozen=True)
class Returned:
    """What has come back of one parameter of an injection."""

    injection: str
    parameter: str
    true: float
    value: float
    error: float
    """Of that fit, or of the Asimov fit where it has none, at a bound; NaN where neither has."""

    @property
    def pull(self) -> float:
        """Give the distance from the truth, in errors."""
        return (self.value - self.true) / self.error

    def sentence(self) -> str:
        """Say it."""
        return f"{self.parameter} = {self.value:.3g} ± {self.error:.2g}, {self.pull:+.2f} errors from the true {self.true:g}"


def scales(facts: Facts) -> dict[str, tuple[str, RatioScale]]:
    """Give slope and offset of each ratio, with the group that it is normalised in."""
    found = facts.inference.closure.normalisation if facts.inference.closure else {}
    return {ratio: (group, scale) for group, own in found.items() for ratio, scale in own.ratios.items()}


def information(facts: Facts) -> dict[str, tuple[float, float]]:
    """Give what ratios tell of the class of an event, in nats, by group: as networks gave them, and normalised.

    It is the entropy of the classes alone, at the yields, minus the cross-entropy of events that did not train.
    """
    closure, found = facts.inference.closure, {}
    for group, own in closure.normalisation.items() if closure else ():
        entropy = _entropy(
            [*closure.yields.values()] if closure and group == PROCESSES else [1.0] * (1 + len(own.ratios))
        )
        before, after = (number(x) for x in own.cross_entropy)
        found[group] = (entropy - before, entropy - after)
    return found


def _entropy(weights: Sequence[float]) -> float:
    share = np.array(weights, float) / np.sum(weights)
    return float(-(share * np.log(share)).sum())


def returned(facts: Facts, kind: str) -> dict[str, list[Returned]]:
    """Give what has come back of the injections of a kind that converged: `variations`, `signals` or `halves`."""
    return {
        one.name: [
            Returned(
                one.name, p.parameter, number(p.true), number(p.value), number(p.error or _error(facts, p.parameter))
            )
            for p in one.parameters
        ]
        for one in injected(facts, kind)
        if one.converged
    }


def injected(facts: Facts, kind: str) -> Sequence[Injection]:
    """Give the injections of a kind; none where ratios are normalised otherwise."""
    closure = facts.inference.closure
    kinds = {"variations": closure.variations, "signals": closure.signals, "halves": closure.halves} if closure else {}
    return kinds.get(kind, ())


def _error(facts: Facts, parameter: str) -> float | None:
    found = asimov(facts).get(parameter)
    return None if found is None else found.error


def number(value: float | None) -> float:
    """Read null as NaN."""
    return np.nan if value is None else float(value)


def expected(facts: Facts, one: Returned) -> float:
    """Give the scatter of a single half about the truth that is no alarm: the error, and twice that of the finite simulation."""
    fitted = asimov(facts).get(one.parameter)
    return float(np.hypot(one.error, 2 * ((fitted and fitted.simulation_error) or 0.0)))


def means(facts: Facts) -> list[Returned]:
    """Give the mean over both halves; the simulation that is common to them moves one up and the other down."""
    found = list(returned(facts, "halves").values())
    if len(found) < 2:
        return []
    return [
        Returned("mean", one.parameter, one.true, (one.value + other.value) / 2, (one.error + other.error) / 2)
        for one, other in zip(*found, strict=True)
    ]


def spread(found: ToyScatter) -> tuple[float, float]:
    """Give the spread of toys over the error of the fit, with its own error; NaN where the fit has none."""
    error = number(found.error)
    return number(found.spread) / error, number(found.spread_error) / error


def points(facts: Facts) -> str:
    """Say at which parameters ratios are normalised; empty where they are normalised otherwise."""
    found = facts.inference.closure.points if facts.inference.closure else ()
    said = [", ".join(f"{name} = {value:g}" for name, value in point.items()) for point in found]
    if len(said) < 2:
        return f"those of the nominal parameters, {said[0]}." if said else ""
    return (
        f"the mean of their sizes over {len(said)} points of the parameters, since a process vanishes or is negative at the nominal ones: "
        f"{'; '.join(said)}."
    )
