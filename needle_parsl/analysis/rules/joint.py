"""Joint variations: what one network must know to learn several nuisance parameters of a sample at once."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

from needle_parsl.analysis import catalogue
from needle_parsl.analysis.rules.common import known_as
from needle_parsl.analysis.rules.data import varied

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from needle_parsl.analysis.rules.common import Complain
    from needle_parsl.analysis.tables import Analysis, JointVariation, Nuisance, Sample

QUADRATIC = "exp_quadratic"
"""The interpolation that is what the network learns."""
LEFT_OUT: dict[str, Callable[[Nuisance], object]] = {
    "symmetrise": lambda own: own.symmetrise,
    "smooth": lambda own: own.smooth,
    "regions": lambda own: own.regions,
}
"""Keys of a nuisance parameter that one of several cannot have."""


def check(analysis: Analysis, complain: Complain) -> None:
    """Check all samples that have some."""
    crossed = {name: sample for name, sample in analysis.samples.items() if sample.joint}
    for name, sample in crossed.items():
        key = f"samples.{name}.joint"
        for place, one in enumerate(sample.joint):
            _point(analysis, one, sample.joint[:place], f"{key}[{place}]", complain)
            varied(analysis, one, f"{key}[{place}]", complain)
        _pairs(sample, key, complain)
        for nuisance in dict.fromkeys(n for one in sample.joint for n, _ in one.point()):
            _nuisance(analysis, name, nuisance, complain)
    if crossed:
        _beside(analysis, complain)


def _point(
    analysis: Analysis, one: JointVariation, before: Sequence[JointVariation], key: str, complain: Complain
) -> None:
    for name, value in one.at.items():
        known_as(name, analysis.model.nuisances, "nuisance parameter of the model", f"{key}.at.{name}", complain)
        if not math.isfinite(value):
            complain(f"{key}.at.{name}", f"found {value:g}, expected a number of standard deviations")
    moved = one.point()
    if not moved:
        complain(
            f"{key}.at", "moves nothing; give the nuisance parameters that are not 0, as in { jes = 1.0, met = 1.0 }"
        )
    elif moved in [other.point() for other in before]:
        complain(f"{key}.at", "stands there twice; give each point once, with all of its files")
    elif len(moved) == 1 and abs(moved[0][1]) == 1:
        name, side = moved[0][0], "up" if moved[0][1] > 0 else "down"
        complain(
            f"{key}.at", f"moves {name} alone, as variations.{name}.{side} does; leave it out, or move another one, too"
        )


def _pairs(sample: Sample, key: str, complain: Complain) -> None:
    """Insist on a point for each pair, at which these alone are moved: cross terms are read off there."""
    there = [{name for name, _ in one.point()} for one in sample.joint]
    names = sorted(set().union(*there))
    if names and all(len(own) < 2 for own in there):
        complain(
            key,
            f"moves {' and '.join(names)} one by one; add points at which two are moved at once, or leave joint out",
        )
        return
    for pair in combinations(names, 2):
        if set(pair) not in there:
            first, second = pair
            complain(
                key, f"has no point at which {first} and {second} alone are moved, and what they do together is not known; add at = {{ {first} = 1.0, {second} = 1.0 }}"
            )  # fmt: skip


def _nuisance(analysis: Analysis, sample: str, name: str, complain: Complain) -> None:
    """Check what a nuisance parameter of a joint variation is in the model, and on its own."""
    if name not in analysis.model.nuisances:
        return  # said at the point
    own, key = analysis.samples[sample].variations.get(name), f"samples.{sample}.variations.{name}"
    if own is None or own.up is None or own.down is None:
        complain(key, f"needs up and down, since joint variations of {sample} move {name}, too")
    nuisance, key = analysis.model.nuisances[name], f"model.nuisances.{name}"
    if nuisance.interpolation != QUADRATIC:
        complain(
            f"{key}.interpolation", f'found "{nuisance.interpolation}"; joint variations of {sample} need "{QUADRATIC}", which is what their network learns'
        )  # fmt: skip
    for which in (which for which, said in LEFT_OUT.items() if said(nuisance)):
        complain(
            f"{key}.{which}",
            f"cannot be said of one of several nuisance parameters that joint variations of {sample} move; leave it out",
        )
    if sample in nuisance.rate:
        complain(
            f"{key}.rate.{sample}",
            f"has no meaning, since the yields of {sample} are those of its joint variations; leave it out",
        )


def _beside(analysis: Analysis, complain: Complain) -> None:
    """Name what does not go together with joint variations."""
    ensemble, search = analysis.ensemble, analysis.search
    given = {
        "features.parameters": bool(analysis.features.parameters),
        "features.particles": analysis.features.particles is not None,
        "ensemble.combine": catalogue.combiner(ensemble.combine).fitted,
        "ensemble.calibration": ensemble.calibration != catalogue.NO_CALIBRATION,
        "search.space": bool(search and search.combines()),
    }
    for key in (key for key, there in given.items() if there):
        complain(
            key,
            "does not go together with joint variations of a sample, whose ratios are those of one network; leave one of the two out",
        )
