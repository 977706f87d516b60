"""Mistakes that only show between tables: names that do not exist, sums that do not fit."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING

from needle_parsl import expressions
from needle_parsl.analysis.tables import JOINT_LOSSES, NETWORKS, WALL, Grid
from needle_parsl.errors import InputError, closest
from needle_parsl.refs import split

if TYPE_CHECKING:
    from needle_parsl.analysis.tables import (
        Analysis,
        Data,
        Nuisance,
        Particles,
        Plane,
        Sample,
        Scan,
        Source,
        Toys,
        Variation,
    )

    Complain = Callable[[str, str], None]

LONGEST = 100
"""Characters of a name."""
OBSERVED = "observed"
"""What observed data is called in a run directory."""
TAKEN = {OBSERVED: "the data that [fit] names", "mixture": "all processes together"}
"""What else is called by a name in a run directory."""
LEAST_GRID = 3
"""Values of a Neyman grid, at least."""


def check(analysis: Analysis, complain: Complain) -> None:
    """Hold the tables of an analysis against each other.

    Args:
        analysis: What was read.
        complain: Called with key and message for each mistake.
    """
    model = (_ratios, _parameters, _processes, _nuisances, _regions)
    for part in (
        _names,
        _features,
        _units,
        _diagnostics,
        _split,
        _samples,
        _training,
        _ensemble,
        *model,
        _fit,
        _toys,
        _intervals,
    ):
        part(analysis, complain)


def _known(name: str, known: Collection[str], what: str, key: str, complain: Complain) -> None:
    if name not in known:
        complain(key, f'"{name}" is no {what}{closest(name, known)}')


def _expression(text: str | float, key: str, complain: Complain) -> expressions.Expression | None:
    if not isinstance(text, str):
        return expressions.number(text)
    try:
        return expressions.parse(text)
    except InputError as error:
        complain(key, str(error))
        return None


def _names(analysis: Analysis, complain: Complain) -> None:
    """Names of runs and samples become folders, names of parameters stand in expressions."""
    for key, name in [("name", analysis.name), *((f"samples.{s}", s) for s in analysis.samples)]:
        if not name or not all(c.isalnum() or c in "-_+" for c in name):
            complain(key, f'"{name}" is no name; use letters, digits, "-", "_" and "+"')
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
    if not names:
        complain("features.names", "is empty; name at least one column")
    for name in sorted({n for n in names if names.count(n) > 1}):
        complain("features.names", f'"{name}" stands there more than once')
    if analysis.features.parameters:
        _inputs(analysis, complain)
    if analysis.features.selection:
        _expression(analysis.features.selection, "features.selection", complain)
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
    if loss in (*JOINT_LOSSES, "multiclass"):
        complain(key, f'have no meaning with training.loss = "{loss}"; say "carl" or "mlc"')
    for name in analysis.ratios.targets:
        if name in analysis.ratios.reference and not analysis.reference_of(name):
            complain(
                key, f'"{name}" is a target and in the reference, which depends on no parameter; leave it out of one'
            )


def _computed(analysis: Analysis, complain: Complain) -> None:
    for name, column in analysis.features.computed.items():
        key = f"features.computed.{name}"
        if name in analysis.features.derived:
            complain(key, f"features.derived.{name} has the same name; choose another")
        if not (name.isascii() and name.isidentifier()) or name in expressions.RESERVED:
            complain(key, "is no name; use letters, digits and _, and no word of the expressions")
        if not column.columns:
            complain(f"{key}.columns", "is empty; name at least one column")
        _reference(analysis, column.function, f"{key}.function", complain)


def _particles(particles: Particles, complain: Complain) -> None:
    if not particles.names:
        complain("features.particles.names", "is empty; name at least one feature")
    for name in sorted({n for n in particles.names if particles.names.count(n) > 1}):
        complain("features.particles.names", f'"{name}" stands there more than once')
    if particles.selection:
        _expression(particles.selection, "features.particles.selection", complain)


def _derived(derived: dict[str, str], complain: Complain) -> None:
    """Check each derived column, and then, if all can be read, that none needs itself."""
    trees = []
    for name, text in derived.items():
        key = f"features.derived.{name}"
        if not (name.isascii() and name.isidentifier()) or name in expressions.RESERVED:
            complain(key, "is no name; use letters, digits and _, and no word of the expressions")
        trees.append(tree := _expression(text, key, complain))
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


def _split(analysis: Analysis, complain: Complain) -> None:
    total = analysis.split.train + analysis.split.combine + analysis.split.test
    if total > 1 + 1e-9:
        complain("split", f"train, combine and test add up to {total:g}; expected at most 1")


def _training(analysis: Analysis, complain: Complain) -> None:
    name, _ = analysis.training.architecture()
    key = "training.network"
    if not name:
        complain(key, 'has no "_target_"; name the class, as in { _target_ = "physics.py:Name" }')
    elif ":" in name:
        _reference(analysis, name, key, complain)
    elif "." not in name:
        _known(name, NETWORKS, "network", key, complain)
    if name in ("deepset", "transformer") and not analysis.features.particles:
        complain(key, f"{name} is a network of particles; name them in [features] particles")
    if analysis.training.loss in JOINT_LOSSES:
        _joint(analysis, complain)
    if analysis.training.loss == "multiclass":
        _classes(analysis, complain)


def _classes(analysis: Analysis, complain: Complain) -> None:
    """Check what contradicts a network of many classes."""
    training = analysis.training
    if training.architecture()[0] == "flow":
        complain("training.loss", "multiclass has no meaning for a flow, which holds two densities")
    if training.metrics:
        complain("training.metrics", "are those of one ratio, and multiclass learns all at once; leave them out")
    if training.label_smoothing:
        complain("training.label_smoothing", "is for two classes; leave it out with multiclass")


def _joint(analysis: Analysis, complain: Complain) -> None:
    """Check what contradicts a loss that has no labels."""
    training, loss = analysis.training, analysis.training.loss
    if not analysis.ratios.joint:
        what = "joint score" if loss == "alice" else "joint ratio"
        complain("training.loss", f"{loss} learns the {what} of events, and [ratios] joint names none")
    if training.architecture()[0] == "flow":
        complain("training.loss", f"{loss} has no meaning for a flow, which is fitted to the events of each class")
    if training.metrics:
        complain("training.metrics", f"need the class of each event, which {loss} does not see; leave them out")
    if loss == "regression" and training.label_smoothing:
        complain("training.label_smoothing", "has no meaning with regression, which has no labels")


def _samples(analysis: Analysis, complain: Complain) -> None:
    for name, sample in analysis.samples.items():
        key = f"samples.{name}"
        _origin(analysis, sample, key, complain)
        _expression(sample.weight, f"{key}.weight", complain)
        if sample.selection:
            _expression(sample.selection, f"{key}.selection", complain)
        for nuisance, variation in sample.variations.items():
            _variation(analysis, variation, f"{key}.variations.{nuisance}", complain)


def _origin(analysis: Analysis, source: Sample | Data, key: str, complain: Complain) -> None:
    if source.files and source.generate:
        complain(key, "has both files and generate; leave one of them out")
    elif not source.files and not source.generate:
        complain(f"{key}.files", "is missing; name files, or a function with generate")
    _reference(analysis, source.generate, f"{key}.generate", complain)


def _reference(analysis: Analysis, reference: str, key: str, complain: Complain) -> None:
    if not reference:
        return
    try:
        module, _ = split(reference)
    except InputError as error:
        complain(key, str(error))
        return
    if module.endswith(".py") and module != analysis.physics:
        complain(key, f'"{module}" is not the analysis\' physics file; set physics = "{module}" at the top of the file')


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
            _varied(analysis, source, f"{key}.{side}", complain)


def _varied(analysis: Analysis, source: Source, key: str, complain: Complain) -> None:
    if source.files and source.generate:
        complain(key, "has both files and generate; leave one of them out")
    if not (source.files or source.generate or source.weight != ""):
        complain(key, "varies nothing; give files, generate or weight")
    _reference(analysis, source.generate, f"{key}.generate", complain)
    if source.weight != "":
        _expression(source.weight, f"{key}.weight", complain)


def _ratios(analysis: Analysis, complain: Complain) -> None:
    for part, names in (("reference", analysis.ratios.reference), ("targets", analysis.ratios.targets)):
        if not names:
            complain(f"ratios.{part}", "is empty; name at least one sample")
        for name in names:
            _known(name, analysis.samples, "sample", f"ratios.{part}", complain)
    learned = [name for name in analysis.ratios.targets if not analysis.reference_of(name)]
    learned += [f"{name}.{nuisance}.{side}" for name, nuisance, side, _ in analysis.varied()]
    for name, text in analysis.ratios.joint.items():
        _known(name, learned, "ratio that is learned", f"ratios.joint.{name}", complain)
        _expression(text, f"ratios.joint.{name}", complain)


def _units(analysis: Analysis, complain: Complain) -> None:
    for name in analysis.features.units:
        _known(name, analysis.features.names, "feature", f"features.units.{name}", complain)


def _diagnostics(analysis: Analysis, complain: Complain) -> None:
    for name, (yellow, red) in asdict(analysis.diagnostics).items():
        if (red > yellow) if name == "p_value" else (red < yellow):
            order = "smaller" if name == "p_value" else "larger"
            complain(
                f"diagnostics.{name}", f"found [{yellow:g}, {red:g}], expected [yellow, red] with the {order} one last"
            )


def _ensemble(analysis: Analysis, complain: Complain) -> None:
    ensemble = analysis.ensemble
    if ensemble.combine == "wifi" and ensemble.calibration != "none":
        complain(
            "ensemble.calibration",
            'has no meaning with combine = "wifi", whose weights are a calibration already, and would break their covariance; '
            'say "none", or choose another combine',
        )


def _parameters(analysis: Analysis, complain: Complain) -> None:
    for name, parameter in analysis.model.parameters.items():
        low, high = parameter.bounds
        if not low < high:
            complain(f"model.parameters.{name}.bounds", f"found [{low:g}, {high:g}], expected [smaller, larger]")
        elif not low <= parameter.nominal <= high:
            complain(f"model.parameters.{name}.nominal", f"{parameter.nominal:g} is outside [{low:g}, {high:g}]")
    pois = _interesting(analysis)
    if not pois:
        complain("model.parameters", 'has no parameter with role = "poi"')
    for name in pois[1:]:
        complain(f"model.parameters.{name}", f'only {pois[0]} can have an interval; give {name} role = "free"')


def _processes(analysis: Analysis, complain: Complain) -> None:
    if not analysis.model.processes:
        complain("model.processes", "is empty; name at least one sample")
    used: set[str] = set()
    for name, multiplier in analysis.model.processes.items():
        key = f"model.processes.{name}"
        _known(name, analysis.samples, "sample", key, complain)
        targets = analysis.ratios.targets
        if name in analysis.samples and targets and name not in targets and not analysis.reference_of(name):
            complain(key, f'has no density ratio; add "{name}" to ratios.targets')
        if (tree := _expression(multiplier, key, complain)) is not None:
            used |= tree.names()
            _multiplier(analysis, tree, key, complain)
    for name, parameter in analysis.model.parameters.items():
        if name not in used and analysis.model.processes:
            role = "parameter of interest" if parameter.role == "poi" else "parameter"
            complain(f"model.parameters.{name}", f"no process depends on this {role}")


def _multiplier(analysis: Analysis, tree: expressions.Expression, key: str, complain: Complain) -> None:
    unknown = sorted(tree.names() - set(analysis.model.parameters))
    for name in unknown:
        _known(name, analysis.model.parameters, "parameter of the model", key, complain)
    try:
        for name in tree.names():
            tree.derivative(name)
    except InputError as error:
        complain(key, str(error))
        return
    if not unknown:
        _values(analysis, tree, key, complain)


def _values(analysis: Analysis, tree: expressions.Expression, key: str, complain: Complain) -> None:
    """Evaluate a multiplier where fits will go: at the nominal parameters, and along the bounds of each."""
    parameters = analysis.model.parameters
    nominal = {name: parameter.nominal for name, parameter in parameters.items()}
    if (value := _value(tree, nominal)) < 0:
        complain(key, f"is {value:g} at the nominal parameters; expected 0 or more events")
    for name in sorted(tree.names()):
        low, high = parameters[name].bounds
        for x in (nominal[name], low, *(low + (high - low) * i / 8 for i in range(1, 8)), high):
            if not math.isfinite(_value(tree, nominal | {name: x})):
                complain(key, f"has no number as its value at {name} = {x:g}; change it, or the bounds of {name}")
                return


def _value(tree: expressions.Expression, values: dict[str, float]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return float(tree(values))
        except (ArithmeticError, TypeError, ValueError):
            return math.nan


def _nuisances(analysis: Analysis, complain: Complain) -> None:
    varied = {nuisance for name in analysis.model.processes for nuisance in _variations(analysis, name)}
    for name, nuisance in analysis.model.nuisances.items():
        key = f"model.nuisances.{name}"
        _constraint(nuisance, key, complain)
        if name in analysis.model.parameters:
            complain(key, "is a parameter of the model, too; choose another name")
        if not nuisance.rate and name not in varied:
            complain(
                key, f"has no effect: no process has variations.{name}, and there is no rate{closest(name, varied)}"
            )
        for process, sides in nuisance.rate.items():
            _known(process, analysis.model.processes, "process of the model", f"{key}.rate", complain)
            if min(sides) <= 0:
                complain(f"{key}.rate.{process}", f"found {list(sides)}, expected relative yields above 0")
    for name in sorted(varied - set(analysis.model.nuisances)):
        complain("model.nuisances", f'"{name}" varies a sample but is not listed; add nuisances.{name} = {{}}')


def _constraint(nuisance: Nuisance, key: str, complain: Complain) -> None:
    """Bounds must hold the nominal value, and a constraint only has the numbers that belong to it."""
    nominal = 1.0 if nuisance.constraint == "lognormal" else 0.0
    if nuisance.bounds:
        low, high = nuisance.bounds
        if not low < high:
            complain(f"{key}.bounds", f"found [{low:g}, {high:g}], expected [smaller, larger]")
        elif not low <= nominal <= high:
            complain(f"{key}.bounds", f"leave out {nominal:g}, the nominal value; widen them")
    for name, kind in (("sigma", "lognormal"), ("events", "poisson")):
        default = type(nuisance).__dataclass_fields__[name].default
        if nuisance.constraint != kind and getattr(nuisance, name) != default:
            complain(
                f"{key}.{name}", f'has no meaning with constraint = "{nuisance.constraint}"; it belongs to "{kind}"'
            )


def _regions(analysis: Analysis, complain: Complain) -> None:
    for name, region in analysis.model.regions.items():
        key = f"model.regions.{name}"
        if not name or not all(c.isalnum() or c in "-_+" for c in name):
            complain(key, f'"{name}" is no name; use letters, digits, "-", "_" and "+"')
        if not region.selection:
            complain(f"{key}.selection", "is empty; every event would be in this region and in the fit")
        elif region.selection == analysis.features.selection:
            complain(f"{key}.selection", "is that of [features]; its events would count twice")
        else:
            _expression(region.selection, f"{key}.selection", complain)
        edges = region.binning.edges
        if len(edges) < 2 or any(a >= b for a, b in pairwise(edges)):
            complain(f"{key}.binning.edges", f"found {list(edges)}, expected two or more ascending numbers")
        _expression(region.binning.column, f"{key}.binning.column", complain)


def _variations(analysis: Analysis, sample: str) -> Collection[str]:
    return analysis.samples[sample].variations if sample in analysis.samples else ()


def _fit(analysis: Analysis, complain: Complain) -> None:
    if isinstance(analysis.fit.data, tuple):
        if not analysis.fit.data:
            complain("fit.data", "is empty; name at least one file, or leave it out")
    elif analysis.fit.data is not None:
        _origin(analysis, analysis.fit.data, "fit.data", complain)
        _expression(analysis.fit.data.weight, "fit.data.weight", complain)
    if not analysis.fit.asimov and analysis.data() is None:
        complain("fit.asimov", "is false and there is no data that may be looked at; nothing would be fitted")
    if analysis.fit.scan:
        _scan(analysis, analysis.fit.scan, complain)
    if analysis.fit.plane:
        _plane(analysis, analysis.fit.plane, complain)


def _scan(analysis: Analysis, scan: Scan, complain: Complain) -> None:
    _ascending("fit.scan", scan.start, scan.stop, complain)
    if scan.parameter:
        _parameter(analysis, scan.parameter, "fit.scan.parameter", complain)
    chosen = analysis.intervals.parameter
    if scan.parameter and chosen and scan.parameter != chosen:
        complain(
            "fit.scan.parameter", f'is "{scan.parameter}", and intervals.parameter is "{chosen}"; name one of them'
        )
    _inside(analysis, _measured(analysis), (scan.start, scan.stop), "fit.scan", complain)


def _measured(analysis: Analysis) -> str:
    """Name the parameter that gets an interval; empty if there is none, which is said elsewhere."""
    return analysis.poi() if _interesting(analysis) or analysis.intervals.parameter else ""


def _ascending(key: str, start: float, stop: float, complain: Complain) -> None:
    if not start < stop:
        complain(key, f"runs from {start:g} to {stop:g}; expected start below stop")


def _interesting(analysis: Analysis) -> list[str]:
    return [name for name, parameter in analysis.model.parameters.items() if parameter.role == "poi"]


def _parameter(analysis: Analysis, name: str, key: str, complain: Complain) -> None:
    _known(name, analysis.model.parameters, "parameter of the model", key, complain)


def _inside(analysis: Analysis, name: str, values: Collection[float], key: str, complain: Complain) -> None:
    """Values of a parameter must be within its bounds; nuisance parameters end at their walls."""
    parameters = analysis.model.parameters
    if name not in parameters and name not in analysis.model.nuisances:
        return  # said elsewhere
    own = parameters[name].bounds if name in parameters else analysis.model.nuisances[name].bounds
    low, high = own or (-WALL, WALL)
    outside = [value for value in values if not low <= value <= high]
    if outside:
        complain(key, f"{outside[0]:g} leaves the bounds [{low:g}, {high:g}] of {name}")


def _plane(analysis: Analysis, plane: Plane, complain: Complain) -> None:
    known = (*analysis.model.parameters, *analysis.model.nuisances)
    for name in plane.parameters:
        _known(name, known, "parameter of the model", "fit.plane.parameters", complain)
    if plane.parameters[0] == plane.parameters[1]:
        complain("fit.plane.parameters", f'names "{plane.parameters[0]}" twice; expected two parameters')
    for name, (low, high) in zip(plane.parameters, plane.ranges or (), strict=False):
        _ascending("fit.plane.ranges", low, high, complain)
        _inside(analysis, name, (low, high), "fit.plane.ranges", complain)


def _toys(analysis: Analysis, complain: Complain) -> None:
    toys = analysis.toys
    if toys is None:
        return
    _reference(analysis, toys.generate, "toys.generate", complain)
    if toys.generate and toys.source == "model":
        complain("toys.generate", 'has no meaning with source = "model", which throws from the learned ratios')
    if not toys.at:
        complain("toys.at", "is empty; name at least one point, { } is the nominal one")
    if toys.coverage and toys.source == "model":
        complain(
            "toys.coverage",
            'needs toys of the simulation; with source = "model" they are blind to errors of the ratios',
        )
    for place, point in enumerate(toys.at):
        _thrown(analysis, toys, point, f"toys.at[{place}]", complain)
    if _measured(analysis):
        for point in analysis.truths()[len(toys.at) :]:
            _thrown(analysis, toys, point, "toys.coverage", complain)


def _thrown(analysis: Analysis, toys: Toys, point: Mapping[str, float], key: str, complain: Complain) -> None:
    known = (*analysis.model.parameters, *analysis.model.nuisances)
    for name, value in point.items():
        _known(name, known, "parameter of the model", f"{key}.{name}", complain)
        _inside(analysis, name, (value,), f"{key}.{name}", complain)
    if toys.source == "simulation" and not toys.generate and all(name in known for name in point):
        _drawable(analysis, point, key, complain)


def _drawable(analysis: Analysis, point: Mapping[str, float], key: str, complain: Complain) -> None:
    """Test events can only stand for nominal shapes, and only for processes that add events."""
    remedy = 'name a function in toys.generate, or set toys.source = "model"'
    shapes = {nuisance for _, nuisance, _, _ in analysis.varied()}
    for name in sorted(name for name in shapes & set(point) if point[name] != 0):
        complain(f"{key}.{name}", f"is not 0, and simulated events have no shape in between their variations; {remedy}")
    values = {n: point.get(n, p.nominal) for n, p in analysis.model.parameters.items()}
    for process, multiplier in analysis.model.processes.items():
        tree = _expression(multiplier, f"model.processes.{process}", lambda *_: None)
        if tree is not None and tree.names() <= set(values) and _value(tree, values) < 0:
            complain(
                key, f"gives {process} the multiplier {_value(tree, values):g}, and events cannot be drawn less than never; {remedy}"
            )  # fmt: skip


def _thrown_beside(analysis: Analysis, name: str, complain: Complain) -> None:
    intervals = analysis.intervals
    if intervals.background is not None:
        _inside(analysis, name, (intervals.background,), "intervals.background", complain)
    for key, given in (
        ("background", intervals.background is not None),
        ("rounds", intervals.rounds),
        ("smooth", not intervals.smooth),
        ("statistic", intervals.statistic != "t_mu"),
    ):
        if given and intervals.method != "neyman":
            complain(f"intervals.{key}", f'has no meaning with method = "{intervals.method}"; say method = "neyman"')


def _intervals(analysis: Analysis, complain: Complain) -> None:
    intervals = analysis.intervals
    if not intervals.level:
        complain("intervals.level", "is empty; name at least one confidence level")
    if intervals.parameter:
        _parameter(analysis, intervals.parameter, "intervals.parameter", complain)
    name = _measured(analysis)
    if intervals.grid is not None and intervals.method != "neyman":
        complain(
            "intervals.grid",
            f'has no meaning with method = "{intervals.method}"; say method = "neyman", or leave it out',
        )
    _thrown_beside(analysis, name, complain)
    if isinstance(intervals.grid, Grid):
        _ascending("intervals.grid", intervals.grid.start, intervals.grid.stop, complain)
        _inside(analysis, name, (intervals.grid.start, intervals.grid.stop), "intervals.grid", complain)
    elif intervals.grid is not None:
        _inside(analysis, name, intervals.grid, "intervals.grid", complain)
    if intervals.method == "neyman" and intervals.grid is None:
        complain("intervals.grid", 'is missing; method = "neyman" needs values, as a list or { start, stop, points }')
    elif intervals.method == "neyman" and len(set(analysis.grid())) < LEAST_GRID:
        complain("intervals.grid", f"has {len(set(analysis.grid()))} values; expected at least {LEAST_GRID}")
