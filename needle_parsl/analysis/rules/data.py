"""Names, features, samples and their variations, and the split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from needle_parsl import expressions
from needle_parsl.analysis import catalogue
from needle_parsl.analysis.rules.common import NO_NAME, comes_from, is_name, known_as, parsed, refers
from needle_parsl.errors import InputError

if TYPE_CHECKING:
    from needle_parsl.analysis.rules.common import Complain
    from needle_parsl.analysis.tables import Analysis, Particles, Source, Variation

LARGEST = 3.4028234663852886e38
"""The largest float32."""
LONGEST = 100
"""Characters of a name."""
OBSERVED = "observed"
"""What observed data is called in a run directory."""
TAKEN = {OBSERVED: "the data that [fit] names", "mixture": "all processes together"}
"""What else is called by a name in a run directory."""


def check(analysis: Analysis, complain: Complain) -> None:
    """Check what is read."""
    for part in (names, _features, _units, _split, _samples):
        part(analysis, complain)


def names(analysis: Analysis, complain: Complain) -> None:
    """Names of runs and samples become folders, names of parameters stand in expressions."""
    for key, name in [("name", analysis.name), *((f"samples.{s}", s) for s in analysis.samples)]:
        if not is_name(name):
            complain(key, f'"{name}" {NO_NAME}')
        elif len(name) > LONGEST:
            complain(key, f"has {len(name)} characters; expected at most {LONGEST}, since files are called after it")
    for name, what in TAKEN.items():
        if name in analysis.samples:
            complain(f"samples.{name}", f"is the name of {what}; choose another name")
    for part in ("parameters", "nuisances"):
        for name in getattr(analysis.model, part):
            if not (name.isascii() and name.isidentifier()) or name in expressions.RESERVED:
                complain(
                    f"model.{part}.{name}", "is no name; use letters, digits and _, and no word of the expressions"
                )


def _features(analysis: Analysis, complain: Complain) -> None:
    names = analysis.features.names
    if not names and not analysis.binned:
        complain("features.names", "is empty; name at least one column")
    for name in sorted({n for n in names if names.count(n) > 1}):
        complain("features.names", f'"{name}" stands there more than once')
    if analysis.features.parameters:
        _inputs(analysis, complain)
    _transforms(analysis, complain)
    if analysis.features.selection:
        parsed(analysis.features.selection, "features.selection", complain)
    _derived(analysis.features.derived, complain)
    _computed(analysis, complain)
    if analysis.features.particles:
        _particles(analysis.features.particles, complain)


def _inputs(analysis: Analysis, complain: Complain) -> None:
    """Check parameters that are inputs of networks."""
    key, names, loss = "features.parameters", analysis.features.parameters, analysis.training.loss
    for name in sorted({n for n in names if names.count(n) > 1 or n in analysis.features.names}):
        complain(key, f'"{name}" stands there more than once, or is a feature, too')
    if analysis.features.particles:
        complain(key, "cannot be inputs of networks of particles; leave one of the two out")
    if catalogue.loss(loss).joint or catalogue.loss(loss).classes:
        complain(key, f'have no meaning with training.loss = "{loss}"; say "carl" or "mlc"')
    for name in analysis.ratios.targets:
        if name in analysis.ratios.reference and not analysis.reference_of(name):
            complain(
                key, f'"{name}" is a target and in the reference, which depends on no parameter; leave it out of one'
            )


def _transforms(analysis: Analysis, complain: Complain) -> None:
    """Check which features are transformed, and what stands for nothing measured."""
    features, jets = analysis.features, analysis.features.particles
    tables = [("features.transform", features.transform, (*features.names, *features.parameters), "feature")]
    if jets:
        tables.append(("features.particles.transform", jets.transform, jets.names, "feature of a particle"))
    for key, table, known, what in tables:
        for name in table if isinstance(table, dict) else ():
            known_as(name, known, what, f"{key}.{name}", complain)
    for place, value in enumerate(features.missing):
        key = f"features.missing[{place}]"
        if value in features.missing[:place]:
            complain(key, f"{value} stands there more than once")
        if isinstance(value, float) and abs(value) > LARGEST:
            complain(key, f"found {value:g}; features are float32, whose largest number is {LARGEST:.4g}")


def _computed(analysis: Analysis, complain: Complain) -> None:
    for name, column in analysis.features.computed.items():
        key = f"features.computed.{name}"
        if name in analysis.features.derived:
            complain(key, f"features.derived.{name} has the same name; choose another")
        if not (name.isascii() and name.isidentifier()) or name in expressions.RESERVED:
            complain(key, "is no name; use letters, digits and _, and no word of the expressions")
        if bool(column.function) == bool(column.ratio):
            complain(
                key, "has both function and ratio; leave one out" if column.ratio else "has neither function nor ratio"
            )
        if column.function and not column.columns:
            complain(f"{key}.columns", "is empty; name at least one column")
        if column.ratio and (column.columns or column.after):
            complain(key, "has a ratio, which knows its columns itself; leave columns and after out")
        refers(analysis, column.function, f"{key}.function", complain)


def _particles(particles: Particles, complain: Complain) -> None:
    if not particles.names:
        complain("features.particles.names", "is empty; name at least one feature")
    for name in sorted({n for n in particles.names if particles.names.count(n) > 1}):
        complain("features.particles.names", f'"{name}" stands there more than once')
    if particles.selection:
        parsed(particles.selection, "features.particles.selection", complain)


def _derived(derived: dict[str, str], complain: Complain) -> None:
    """Check each derived column, and then, if all can be read, that none needs itself."""
    trees = []
    for name, text in derived.items():
        key = f"features.derived.{name}"
        if not (name.isascii() and name.isidentifier()) or name in expressions.RESERVED:
            complain(key, "is no name; use letters, digits and _, and no word of the expressions")
        trees.append(tree := parsed(text, key, complain))
        if tree is not None and not tree.names():
            complain(key, "uses no column; it would be the same number in every event")
    if None in trees:
        return
    for name in derived:
        try:
            expressions.ordered(derived, [name])
        except InputError as error:
            complain(f"features.derived.{name}", f"{error}; a derived column can only use others")
            return


def _units(analysis: Analysis, complain: Complain) -> None:
    for name in analysis.features.units:
        known_as(name, analysis.features.names, "feature", f"features.units.{name}", complain)


def _split(analysis: Analysis, complain: Complain) -> None:
    split = analysis.split
    total = sum(split.fractions())
    if total > 1 + 1e-9:
        complain("split", f"train, combine and test add up to {total:g}; expected at most 1")
    if split.cross == 1:
        complain(
            "split.cross",
            "found 1, expected 2 or more folds, or 0 for none; one fold would leave nothing to train with",
        )
    if split.cross and split.divides():
        complain(
            "split.cross",
            "evaluates every event out of its fold, so that train, combine and test have no meaning; leave them out",
        )
    if split.cross and analysis.training.folds is not None:
        complain("training.folds", "has no meaning with split.cross, which says how many folds there are; leave it out")
    if split.cross and catalogue.combiner(analysis.ensemble.combine).fitted:
        complain(
            "split.cross",
            f'cannot be used with combine = "{analysis.ensemble.combine}", whose weights need events that trained no member; say cross = 0',
        )
    if split.cross and analysis.features.parameters:
        complain(
            "split.cross",
            "cannot be used with [features] parameters, whose values are drawn for the reference; say cross = 0",
        )


def _samples(analysis: Analysis, complain: Complain) -> None:
    for name, sample in analysis.samples.items():
        key = f"samples.{name}"
        comes_from(analysis, sample, key, complain)
        parsed(sample.weight, f"{key}.weight", complain)
        if sample.selection:
            parsed(sample.selection, f"{key}.selection", complain)
        for nuisance, variation in sample.variations.items():
            _variation(analysis, variation, f"{key}.variations.{nuisance}", complain)


def _variation(analysis: Analysis, variation: Variation, key: str, complain: Complain) -> None:
    sides = (variation.up, variation.down)
    if sides == (None, None):
        complain(key, "needs up, down or both")
    elif None in sides and variation.one_sided is None:
        missing = "up" if variation.up is None else "down"
        complain(f"{key}.{missing}", 'is missing; add it, or say one_sided = "mirror" or "none"')
    elif None not in sides and variation.one_sided is not None:
        complain(f"{key}.one_sided", "has no meaning where up and down are both given")
    for side, source in (("up", variation.up), ("down", variation.down)):
        if source is not None:
            varied(analysis, source, f"{key}.{side}", complain)


def varied(analysis: Analysis, source: Source, key: str, complain: Complain) -> None:
    """Check where a varied sample's events come from."""
    if source.files and source.generate:
        complain(key, "has both files and generate; leave one of them out")
    if not (source.files or source.generate or source.weight != ""):
        complain(key, "varies nothing; give files, generate or weight")
    refers(analysis, source.generate, f"{key}.generate", complain)
    if source.weight != "":
        parsed(source.weight, f"{key}.weight", complain)
