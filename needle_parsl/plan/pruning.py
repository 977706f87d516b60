"""Variations that cannot matter: found from yields and histograms before anything is trained, and left out where that is asked for.

A nuisance parameter that changes the expected density of process j by delta moves the parameter of interest by at most

    |shift| / sigma <= sqrt( integral delta^2 / lambda )  <=  sqrt( nu_j q + nu_j (y - 1)^2 )

(Cauchy and Schwarz: the score of the parameter of interest has the variance 1 / sigma^2), with q of the shape and y of the yield as in `nsbi.data.variation_effects`. Histograms see q of
one feature at a time: of what a variation does to correlations alone they know nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from needle_parsl.analysis import Analysis, Variation
from needle_parsl.densities import Density
from needle_parsl.plan.builder import VariationEffect

ERRORS = 2.0
"""By how many of its errors a yield may be farther from the nominal one than it seems."""


@dataclass(frozen=True, kw_only=True)
class VariationVerdict:
    """What was found of a variation of a process."""

    process: str
    nuisance: str
    keep: Literal["nothing", "rate", "shape"]
    """What of it may matter."""
    shape: float
    """How far its shape moves the parameter of interest at most, in errors."""
    rate: float
    """Likewise its yield."""
    feature: str
    """In which the shape changes most."""
    change: float
    """Largest relative change of a bin there."""
    up: float
    """Yield over the nominal one at plus one sigma."""
    down: float

    def sentence(self, *, pruned: bool) -> str:
        """Say what it is, and what becomes of it."""
        numbers = (
            f"its shape moves the result by at most {self.shape:.2g} of its error (most in {self.feature}, where a bin changes by {100 * self.change:.2g} %), its yield by {self.rate:.2g} "
            f"({100 * (self.up - 1):+.2g} %, {100 * (self.down - 1):+.2g} %)"
        )
        if not pruned:
            what = f"{'cannot matter' if self.keep == 'nothing' else 'matters by its yield alone'} ([pruning] prune = true spares its trainings)"
        else:
            what = "is left out" if self.keep == "nothing" else "changes the yield alone, and is not trained"
        return f"the variation {self.nuisance} of {self.process} {what}: {numbers}"


def judged(analysis: Analysis, effects: Mapping[str, VariationEffect]) -> list[VariationVerdict]:
    """Judge every variation of which both sides are known.

    Args:
        analysis: As the user wrote it.
        effects: By varied sample.
    """
    pairs = dict.fromkeys(
        (process, nuisance)
        for process, nuisance, _, _ in analysis.varied()
        if nuisance not in analysis.samples[process].crossed()  # one network learns all of these
    )
    found = [_verdict(analysis, effects, *pair) for pair in pairs] if not analysis.binned else []
    return [one for one in found if one is not None]


def _verdict(
    analysis: Analysis, effects: Mapping[str, VariationEffect], process: str, nuisance: str
) -> VariationVerdict | None:
    variation = analysis.samples[process].variations[nuisance]
    wanted = [side for side, source in (("up", variation.up), ("down", variation.down)) if source is not None]
    known = {side: effects[name] for side in wanted if (name := Density(process, nuisance, side).name) in effects}
    places = [
        [name for name in _seen(analysis, nuisance) if f"{Density(process, nuisance, side).name}@{name}" not in effects]
        for side in wanted
    ]
    if len(known) < len(wanted) or any(places):
        return None
    squares = [_squares(analysis, effects, process, nuisance, side) for side in wanted]
    shape, rate = (math.sqrt(max(own)) for own in zip(*squares, strict=True))
    stated = process in analysis.model.nuisances[nuisance].rate
    limit = analysis.pruning.threshold
    keep: Literal["nothing", "rate", "shape"] = "shape"
    if shape < limit:
        keep = "rate" if stated or math.hypot(shape, rate) >= limit else "nothing"
    worst = max(known.values(), key=lambda own: own.shape)
    up, down = _relative(variation, known)
    if analysis.model.nuisances[nuisance].symmetrise:
        up, down = math.sqrt(up / down), math.sqrt(down / up)
    return VariationVerdict(
        process=process,
        nuisance=nuisance,
        keep=keep,
        shape=shape,
        rate=rate,
        feature=worst.feature,
        change=worst.change,
        up=up,
        down=down,
    )


def _seen(analysis: Analysis, nuisance: str) -> list[str]:
    """Name the binned regions in which a nuisance parameter acts; in others there is no variation to look at."""
    return [name for name in analysis.model.regions if analysis.model.nuisances[nuisance].acts(name)]


def _squares(
    analysis: Analysis, effects: Mapping[str, VariationEffect], process: str, nuisance: str, side: str
) -> tuple[float, float]:
    """Bound the squares of what shape and yield do; what a region sees beside the common yield counts as shape."""
    name = Density(process, nuisance, side).name
    own = effects[name]
    events = analysis.samples[process].yield_ or own.total
    shape, rate = events * own.shape, events * (abs(own.relative - 1) + ERRORS * own.error) ** 2
    for region in _seen(analysis, nuisance):
        there = effects[f"{name}@{region}"]
        beside = abs(there.relative / own.relative - 1) + ERRORS * math.hypot(there.error, own.error)
        shape += events * there.total / own.total * (there.shape + beside**2)
    return shape, rate


def _relative(variation: Variation, known: Mapping[str, VariationEffect]) -> tuple[float, float]:
    """Give the yields at plus and minus one sigma, with a missing side filled in."""
    own = {side: effect.relative for side, effect in known.items()}
    (one, *_) = own.values()
    other = 1 / one if variation.one_sided == "mirror" else 1.0
    return own.get("up", other), own.get("down", other)


def pruned(analysis: Analysis, verdicts: list[VariationVerdict]) -> Analysis:
    """Leave out of an analysis what cannot matter: variations whose yield alone may matter become relative yields.

    Args:
        analysis: As the user wrote it.
        verdicts: By `judged`.
    """
    dropped = {(one.process, one.nuisance) for one in verdicts if one.keep != "shape"}
    samples = {
        name: replace(sample, variations={n: own for n, own in sample.variations.items() if (name, n) not in dropped})
        for name, sample in analysis.samples.items()
    }
    nuisances = dict(analysis.model.nuisances)
    for one in verdicts:
        own = nuisances[one.nuisance]
        if one.keep == "rate" and one.process not in own.rate:
            nuisances[one.nuisance] = replace(own, rate={**own.rate, one.process: (one.up, one.down)})
    less = replace(analysis, samples=samples, model=replace(analysis.model, nuisances=nuisances))
    moved = {nuisance for _, nuisance, _, _ in less.varied()} | {*_named(analysis)}
    lost = {one.nuisance for one in verdicts} - moved
    left = {name: own for name, own in nuisances.items() if own.rate or name not in lost}
    return replace(less, model=replace(less.model, nuisances=left))


def _named(analysis: Analysis) -> Iterator[str]:
    """Name the parameters that the analysis speaks of elsewhere."""
    if analysis.fit.plane:
        yield from analysis.fit.plane.parameters
    for point in analysis.truths():
        yield from point
