"""The search: its space, metrics and scheduler."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from needle_parsl.analysis import catalogue, space
from needle_parsl.analysis.rules import training
from needle_parsl.analysis.rules.common import known_as
from needle_parsl.analysis.space import Axis, Value
from needle_parsl.analysis.tables import Training
from needle_parsl.analysis.tables.search import TOP
from needle_parsl.errors import InputError, near
from needle_parsl.reading import Places, TableReader

if TYPE_CHECKING:
    from needle_parsl.analysis.rules.common import Complain
    from needle_parsl.analysis.tables import Analysis, Search

SEARCHED = (
    "layers", "nodes", "learning_rate", "weight_decay", "dropout", "batch_size", "label_smoothing", "optimizer", "schedule", "loss", "epochs",
    "patience",
)  # fmt: skip
"""Keys of `[training]` that may vary."""
COMBINED = ("ensemble.combine", "ensemble.calibration")
"""Keys of `[ensemble]` that may vary: they say how the networks of a trial become one ratio."""
FIXED = {
    "members": "says how many networks the ensemble has; [search] replicas says how many a trial has",
    "folds": "decides which events validate, so that trials would not be compared on the same",
    "validation": "decides which events validate, so that trials would not be compared on the same",
    "bootstrap": "decides which events train, and is part of what the ensemble is meant to estimate",
    "ensemble.normalise": "is measured on events that no trial sees, and decides which tasks there are; compare two runs",
    "ensemble.quorum": "changes no ratio, but whether a run ends with too few networks",
}
"""Keys that cannot, and why."""
MOST_FOLDS = 10
"""Of cross-fitting where nothing is said of it."""
MOST = 1000
"""Values of a key of a grid."""
SCHEDULERS = ("none", "halving", "hyperband")


def check(analysis: Analysis, complain: Complain) -> None:
    """Check what is searched; the analysis has all that it leaves open filled in."""
    search = analysis.search
    if search is None:
        return
    if analysis.stages_alone or analysis.binned:
        complain("search", "has nothing to train here; leave the table out")
        return
    axes = _space(analysis, search, complain)
    _scheduler(analysis, search, complain)
    _metrics(analysis, search, complain)
    _ensemble(analysis, search, complain)
    _ratios(analysis, search, complain)
    _sampler(search, axes, complain)


def _sampler(search: Search, axes: Mapping[str, Axis], complain: Complain) -> None:
    """Complain of a sampler that cannot choose from such ranges, or by so many metrics."""
    if search.sampler == "grid":
        for name, axis in axes.items():
            if not axis.count():
                complain(
                    f"search.space.{name}",
                    'has no steps, and sampler = "grid" tries all values; write "grid:" with a list',
                )
            elif axis.count() > MOST:
                complain(
                    f"search.space.{name}",
                    f'has {axis.count()} values, and sampler = "grid" tries all; expected at most {MOST}',
                )
    if not catalogue.SAMPLERS[search.sampler].numbers:
        return
    if len(search.metrics()) > 1:
        complain("search.sampler", f'"{search.sampler}" knows one metric alone; write "tpe" for several')
    if axes and all(axis.choices for axis in axes.values()):
        complain("search.sampler", f'"{search.sampler}" learns of numbers, and the space has lists alone; write "tpe"')


def _space(analysis: Analysis, search: Search, complain: Complain) -> dict[str, Axis]:
    """Read every range, and try its ends where they will stand."""
    found, said = {}, space.flat(search.space)
    if not said:
        complain("search.space", "is empty; name what is to vary")
    for name, text in said.items():
        key = f"search.space.{name}"
        try:
            axis = space.parse(text)
        except InputError as error:
            complain(key, str(error))
            continue
        wrong = next(_unsuited(analysis, search, name, axis), "")
        if wrong:
            complain(key, wrong)
        else:
            found[name] = axis
    _together(analysis, {name: axis for name, axis in found.items() if name in SEARCHED}, complain)
    return found


def _together(analysis: Analysis, axes: Mapping[str, Axis], complain: Complain) -> None:
    """Hold the ends of ranges, one by one and in pairs, against each other and against what the other tables say."""
    pairs: list[tuple[str, ...]] = [(name,) for name in axes]
    pairs += itertools.combinations(axes, 2)
    known = set(_said(analysis, {}))
    for names in pairs:
        for values in itertools.product(*(axes[name].extremes() for name in names)):
            settings = dict(zip(names, values, strict=True))
            for key, message in _said(analysis, settings):
                if (key, message) not in known:
                    known.add((key, message))
                    also = "".join(f" with {name} = {settings[name]}" for name in names[1:])
                    complain(f"search.space.{names[0]}", f"reaches {values[0]}{also}, where {key} {message}")


def _said(analysis: Analysis, settings: Mapping[str, Value]) -> list[tuple[str, str]]:
    """List what the rules of `[training]` say of settings."""
    found: list[tuple[str, str]] = []
    tried = replace(analysis, training=replace(analysis.training, **settings))  # type: ignore[arg-type]  # every value is one of its key
    training.check(tried, lambda key, message: found.append((key, message)))
    return found


def _unsuited(analysis: Analysis, search: Search, name: str, axis: Axis) -> Iterator[str]:
    """Say why a key cannot be searched, or not through such values."""
    network, _ = analysis.training.architecture()
    if name.startswith(space.ARGUMENT):
        if network in catalogue.NETWORKS:
            yield f'"{network}" takes no arguments; search layers and nodes instead'
        return
    if name in COMBINED:
        yield from _uncombined(analysis, search, name, axis)
    elif name in FIXED:
        yield f"cannot be searched: it {FIXED[name]}"
    elif name not in SEARCHED:
        known = (*SEARCHED, *COMBINED)
        meant = near(name, known)
        hint = f'; did you mean "{meant}"?' if meant else f"; what can is {', '.join(known)}, and network.NAME"
        yield f"cannot be searched{hint}"
    elif name == "epochs" and search.scheduler.name != "none":
        yield "is decided by the scheduler; leave it out"
    elif name in ("layers", "nodes") and network not in catalogue.NETWORKS:
        yield f'"{network}" has no such argument of needle\'s; search its own as network.NAME'
    elif name == "loss" and "val_loss" in search.metrics():
        yield "makes val_loss another quantity in each trial; choose another metric"
    elif name == "loss" and any(
        catalogue.loss(str(one)).classes != catalogue.loss(analysis.training.loss).classes for one in axis.choices
    ):
        yield f'must be of the kind of "{analysis.training.loss}": of many classes, or of two'
    else:
        yield from _refused(name, axis)


def _uncombined(analysis: Analysis, search: Search, name: str, axis: Axis) -> Iterator[str]:
    """Say why a key of `[ensemble]` cannot be searched, or not through such values."""
    key = name.removeprefix(space.ENSEMBLE)
    known = [one for one, own in catalogue.COMBINERS.items() if not own.fitted]
    if key == "calibration":
        known = [catalogue.NO_CALIBRATION, *catalogue.CALIBRATIONS]
    other = next((one for one in axis.values() if one not in known), None) if axis.choices else axis.low
    if catalogue.combiner(analysis.ensemble.combine).fitted:
        yield f'cannot be searched with ensemble.combine = "{analysis.ensemble.combine}", whose weights are fitted to events that no trial sees'
    elif other is not None:
        fitted = other in catalogue.COMBINERS
        why = ", whose weights are fitted to events that no trial sees" if fitted else ""
        yield f"has {other}{why}; expected some of {', '.join(known)}"
    elif catalogue.loss(analysis.training.loss).joint:
        yield f"is judged by the class of each event, which {analysis.training.loss} does not see; leave it out"
    elif all(catalogue.SEARCH_METRICS[one].networks for one in search.metrics() if one in catalogue.SEARCH_METRICS):
        yield f'changes no {" and no ".join(search.metrics())}, which is of networks one by one; choose another metric, such as "closure_chi2"'


def _refused(name: str, axis: Axis) -> Iterator[str]:
    """Try the ends of a range in `[training]`."""
    if name == "loss" and any(one not in catalogue.LOSSES for one in axis.choices):
        yield "may only be losses of needle's"
    for value in axis.extremes():
        reader = TableReader(Places(Path("analysis.toml"), []))
        reader.table(Training, {name: value})
        said = (problem.message.partition(", ")[2] or problem.message for problem in reader.problems)
        decimals = "; write randint:, lograndint: or qrandint:" if isinstance(value, float) else ""
        verb = "has" if axis.choices else "reaches"
        yield from (f"{verb} {value}; {one.partition('; ')[0]}{decimals if 'whole' in one else ''}" for one in said)


def _scheduler(analysis: Analysis, search: Search, complain: Complain) -> None:
    how, key = search.scheduler, "search.scheduler"
    if how.name == "asha":
        complain(
            f"{key}.name",
            '"asha" decides by whichever trial comes first, so that another machine finds something else; write "halving", which waits for whole rungs',
        )
    else:
        known_as(how.name, SCHEDULERS, "scheduler", f"{key}.name", complain)
    longest = how.max_epochs or analysis.training.epochs
    if how.name in ("halving", "hyperband") and longest is None:
        complain(
            f"{key}.max_epochs", "is missing; say how long a whole training is, in epochs: that of the ensemble, too"
        )
    elif how.name in ("halving", "hyperband") and longest == 1:
        complain(f"{key}.max_epochs", f'found 1 epoch, which leaves "{how.name}" nothing to end early; write "none"')
    elif how.grace_period and longest and how.grace_period >= longest:
        complain(
            f"{key}.grace_period",
            f"found {how.grace_period}, expected less than the {longest} epochs of a whole training",
        )


def _metrics(analysis: Analysis, search: Search, complain: Complain) -> None:
    names = search.metrics()
    if not names:
        complain("search.metric", "is empty; name a metric")
    if len(set(names)) < len(names):
        complain("search.metric", "names a metric twice")
    for name in names:
        known = catalogue.SEARCH_METRICS.get(name)
        if known and known.several and search.replicas < 2:
            complain("search.replicas", f'"{name}" compares replicas; expected at least 2')
        if known and known.labels and catalogue.loss(analysis.training.loss).joint:
            complain(
                "search.metric",
                f'"{name}" needs the class of each event, which {analysis.training.loss} does not see; write "val_loss"',
            )
        if known and known.fitted:
            _fitted(analysis, name, complain)
    if search.pick != "balanced":
        known_as(search.pick, names, 'metric of this search, nor "balanced"', "search.pick", complain)


def _fitted(analysis: Analysis, name: str, complain: Complain) -> None:
    """Complain of a metric that fits the parameter of interest where a network does not know all processes."""
    learned = {*analysis.ratios.targets, *analysis.ratios.reference}
    if not analysis.model.processes:
        complain("search.metric", f'"{name}" fits a parameter, and there is no [model]')
    elif not catalogue.loss(analysis.training.loss).classes:
        complain("search.metric", f'"{name}" needs one network for all processes: training.loss = "multiclass"')
    elif len(analysis.ratios.reference) > 1 or not set(analysis.model.processes) <= learned:
        complain("search.metric", f'"{name}" needs a reference of one sample, and all processes among [ratios]')


def _ensemble(analysis: Analysis, search: Search, complain: Complain) -> None:
    if not TOP.fullmatch(search.ensemble):
        complain("search.ensemble", f'found "{search.ensemble}", expected "winner", or "top:5" for the five best')
    if isinstance(analysis.training.members, tuple):
        complain(
            "training.members",
            'is a list, and [search] chooses settings; give a number, and search.ensemble = "top:5" for several',
        )
        return
    members, taken = analysis.training.count(), search.taken()
    if taken > search.trials:
        complain("search.ensemble", f"asks for the {taken} best of {search.trials} trials")
    elif members < taken:
        complain("search.ensemble", f"makes an ensemble of {taken} settings, and training.members is {members}")
    # How many folds there are by default follows from the events, which are read later: here, the larger number.
    folds = analysis.split.cross if analysis.split.cross is not None else MOST_FOLDS
    networks = (members // taken) * max(folds or analysis.training.folds or 1, 1)
    if members >= taken and search.replicas > networks:
        complain(
            "search.replicas",
            f"found {search.replicas}, and an ensemble has {networks} networks of the same settings; expected at most as many",
        )


def _ratios(analysis: Analysis, search: Search, complain: Complain) -> None:
    classes = catalogue.loss(analysis.training.loss).classes
    for name in search.ratios:
        known_as(name, analysis.ratios.targets, "target of [ratios]", "search.ratios", complain)
    if classes and search.ratios:
        complain(
            "search.ratios",
            'has no meaning with training.loss = "multiclass", where one network gives all ratios; leave it out',
        )
    if classes and search.per_ratio:
        complain(
            "search.per_ratio",
            'has no meaning with training.loss = "multiclass", where one network gives all ratios; leave it out',
        )
