"""The look into an analysis' files: asked of a child process, and remembered as long as nothing has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from needle_parsl import initial_weights as initial
from needle_parsl import plan, stamps
from needle_parsl.addresses import is_remote
from needle_parsl.analysis import Analysis, Search, Training, applied, extras
from needle_parsl.analysis.file import Loaded, match
from needle_parsl.analysis.tables.limits import seconds
from needle_parsl.errors import InputError, Problem
from needle_parsl.plan import stage_rules
from needle_parsl.plan.columns import key_of, wanted
from needle_parsl.salts import key
from needle_parsl.workflow import forms, programs


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What a look has told; kept in `run.json` under `inputs`."""

    signature: str
    """Of what was asked: paths, sizes and times of the files, and all settings that matter."""
    files: Mapping[str, Mapping[str, Any]]
    """Digest, state and size of each input file, by path."""
    samples: Mapping[str, Mapping[str, list[int]]]
    """For each sample its files, with the rows at which reading may start."""
    notes: list[str]
    """What was seen and is no mistake."""
    exact: bool
    """Whether `physics.py` knows the densities."""
    code: Mapping[str, str]
    """Digests of the user's other modules, by absolute path."""
    engine: str = ""
    """Which engine trains a network of the user's; empty for one of needle's."""
    reason: str = ""
    """Why no faster one does."""
    shared: Mapping[str, list[str]] = field(default_factory=dict)
    """Features by whose values the events of a sample are found in its variations, which are made of them."""
    effects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """How much each varied sample differs from its nominal one."""
    initial: Mapping[str, str] = field(default_factory=dict)
    """Digests of the weights that trainings start from, by what the analysis calls them."""


FORM = {
    "signature": str,
    "files": forms.Each({"digest": str, "stamp": list, "size": int, "links?": [str]}),
    "samples": forms.Each(forms.Each([int])),
    "notes": [str],
    "exact": bool,
    "code": forms.Each(str),
    "engine?": str,
    "reason?": str,
    "shared?": forms.Each([str]),
    "effects?": forms.Each(
        {
            "feature": str,
            "shape": float,
            "change": float,
            "relative": float,
            "error": float,
            "total": float,
        }
    ),
    "initial?": forms.Each(str),
}


NOTHING = Looked(signature="", files={}, samples={}, notes=[], exact=False, code={})
"""Where there are no files of samples, or not yet, since stages of the user's make them."""


def probe(
    loaded: Loaded,
    remembered: Mapping[str, Any] | None = None,
    columns: Mapping[str, plan.ComputedSpec] | None = None,
) -> tuple[plan.Inputs, Looked]:
    """Look into the files of an analysis, unless that was done and nothing has changed.

    Args:
        loaded: The analysis.
        remembered: A `Looked` as a table; anything else is as good as nothing.
        columns: Computed columns that take what stages of the user's have made; None until these are done.

    Raises:
        InputError: Something is wrong with the analysis or its files; one line per mistake.
    """
    lacking = _lacking(loaded)
    if loaded.problems or lacking:
        raise InputError.of([*mistakes(loaded), *lacking])
    if loaded.analysis.stages_alone or (columns is None and stage_rules.first(loaded.analysis)):
        if wrong := mistakes(loaded):
            raise InputError.of(wrong)
        return plan.Inputs(files={}, physics=_physics(loaded), exact=False), NOTHING
    starts = _starts(loaded)
    paths = {name: match(loaded.path, source.files) for name, source in plan.sources(loaded.analysis).items()}
    inputs = [path for found in paths.values() for path in found]
    looked = _recall(remembered)
    request = _request(loaded, paths, columns or {}) | {
        "initial": {said: plan.content(own) for said, own in starts.items()}
    }
    # What a server holds may have changed, so that it is always asked.
    if (
        looked is None
        or any(map(is_remote, inputs))
        or looked.signature != _signature(request, [*inputs, *request["links"], *looked.code])
    ):
        looked = _look(loaded, request, inputs, looked.files if looked else {}, starts)
    files = {
        name: tuple(_file(looked, path, borders) for path, borders in found.items())
        for name, found in looked.samples.items()
    }
    shared = {name: tuple(columns) for name, columns in looked.shared.items()}
    effects = {name: plan.VariationEffect(**own) for name, own in looked.effects.items()}
    physics = _physics(loaded, tuple(looked.code.values()))
    return plan.Inputs(
        files=files, physics=physics, exact=looked.exact, exports=extras.here("onnx"), initial=starts, shared=shared, effects=effects, columns=columns or {}
    ), looked  # fmt: skip


Starts = Mapping[str, Mapping[str, plan.InitialSpec]]
"""Weights that trainings start from, by what the analysis calls them and by what is learned."""


def _starts(loaded: Loaded) -> Starts:
    """Find the weights that trainings start from.

    Raises:
        InputError: There is no such file.
    """
    found, wrong = {}, []
    for where, said in loaded.analysis.training.starts():
        try:
            found[said] = initial.found(initial.path(loaded, said))
        except InputError as error:
            wrong.append(Problem(str(error), *loaded.places.find(where), where))
    if wrong:
        raise InputError.of(wrong)
    return found


def _lacking(loaded: Loaded) -> list[Problem]:
    """List the packages that the analysis asks for and that are not installed."""
    return [Problem(message, *loaded.places.find(key), key) for key, message in extras.demanded(loaded.analysis)]


def _look(
    loaded: Loaded, request: Mapping[str, Any], inputs: list[str], known: Mapping[str, Any], starts: Starts
) -> Looked:
    """Ask, and make one message of all mistakes."""
    answer = programs.ask(loaded, {**request, "known": known}, programs.INSPECTION, _limit(loaded))
    tried = _tried(loaded, answer.pop("outputs", (0, 0)), starts)
    if wrong := [*_told(loaded, answer), *(Problem(m, *loaded.places.find(k), k) for k, m in tried.pop("problems"))]:
        raise InputError.of(wrong)
    answer["code"] |= tried.pop("code")
    answer["notes"] += [
        *filter(None, (initial.note(initial.path(loaded, said), loaded) for said in starts)),
        *tried.pop("notes"),
    ]
    answer["initial"] = {said: plan.digest(list(own.values())) for said, own in starts.items()}
    answer |= tried
    del answer["columns"], answer["problems"]
    return Looked(signature=_signature(request, [*inputs, *request["links"], *answer["code"]]), **answer)


def _limit(loaded: Loaded) -> float:
    return seconds(loaded.analysis.limits.check)


def _tried(loaded: Loaded, columns: Sequence[int], starts: Starts) -> dict[str, Any]:
    """Ask whether networks of the user's can be trained, and start from the weights that they name.

    Args:
        loaded: The analysis.
        columns: Those of features and of particles, 0 where unknown.
        starts: Weights.
    """
    known = {name: count for name, count in zip(("features", "particles"), columns, strict=True) if count}
    found: dict[str, Any] = {"problems": [], "notes": [], "code": {}}
    engines: dict[str, str] = {}
    chosen = applied.first(loaded.analysis.search) if loaded.analysis.search else {}
    for place, (where, own_table) in enumerate(loaded.analysis.training.each()):
        table = applied.apply(own_table, chosen)
        if not (table.tried() or table.initial):
            continue
        request = _network(loaded, table) | known | {"initial": _start(loaded, place, table, starts)}
        if loaded.analysis.search:
            request["further"] = _further(own_table, loaded.analysis.search)
        answer = programs.ask(loaded, request, programs.TRIAL, _limit(loaded))
        found["problems"] += [(f"{where}.{name}", message) for name, message in answer["problems"]]
        found["problems"] += [(f"search.space.{name}", message) for name, message in answer["space"]]
        found["notes"] += answer["notes"]
        found["code"] |= answer["code"]
        engines[answer["engine"]] = answer["reason"]
    for own in loaded.analysis.ensemble.own_code():
        physics = _physics(loaded)
        request = {"combine": own, "physics": [physics.source, physics.path]}
        answer = programs.ask(loaded, request, programs.COMBINATION, _limit(loaded))
        found["problems"] += [("ensemble.combine", message) for message in answer["problems"]]
        found["code"] |= answer["code"]
    reasons = "; ".join(filter(None, engines.values()))
    return {**found, "engine": ", ".join(filter(None, engines)), "reason": reasons}


def _further(training: Training, search: Search) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """List the other values of a search with what to train: a value is refused that goes neither with the first nor with the last of the others."""
    return [
        (name, str(value), [plan.content(replace(applied.apply(training, own), initial="")) for own in settings])
        for name, value, settings in applied.further(search)
    ]


def _start(loaded: Loaded, place: int, table: Training, starts: Starts) -> dict[str, Any] | None:
    """Say what weights the members of an entry start from, and what they learn."""
    if not table.initial:
        return None
    paths = {name: match(loaded.path, source.files) for name, source in plan.sources(loaded.analysis).items()}
    tasks = plan.build(
        loaded.analysis, plan.Inputs(files=_unread(paths), physics=_physics(loaded), exact=False), pack=1
    ).tasks
    learned = {t.spec.ratio.name: t.spec.ratio for t in tasks if isinstance(t.spec, plan.Train) and not t.spec.replica}
    classes = {n: [d.name for d in r.samples] if isinstance(r, plan.Classes) else [] for n, r in learned.items()}
    features = loaded.analysis.features
    return {
        "path": table.initial,
        "files": {name: own.files for name, own in starts[table.initial].items()},
        "learned": classes,
        "features": [*features.names, *features.parameters],
        "members": loaded.analysis.training.numbers(place),
    }


def timed(loaded: Loaded) -> float:
    """Measure how long trainings take on this machine, in seconds per event, epoch and member."""
    (_, table), *_ = loaded.analysis.training.each()
    return float(programs.ask(loaded, _network(loaded, table), programs.TIMING)["seconds"])


def _network(loaded: Loaded, table: Training) -> dict[str, Any]:
    """Say what it takes to build a network."""
    analysis, physics = loaded.analysis, _physics(loaded)
    jets = analysis.features.particles
    return {
        "table": plan.content(replace(table, initial="")),
        "features": len(analysis.features.names),
        "particles": len(jets.names) if jets else 0,
        "physics": [physics.source, physics.path],
    }


def _file(looked: Looked, path: str, borders: list[int]) -> plan.File:
    found = looked.files[path]
    return plan.File(
        path=path,
        digest=found["digest"],
        stamp=tuple(found["stamp"]),
        borders=tuple(borders),
        size=found["size"],
        links=tuple(found.get("links", ())),
    )


def mistakes(loaded: Loaded) -> list[Problem]:
    """List the mistakes of an analysis, with those of its columns: files are opened, and no event is read."""
    columns = _columns(loaded)
    if not columns:
        return [*loaded.problems]
    answer = programs.ask(loaded, {"columns": columns, "looks": []}, programs.INSPECTION)
    return [*loaded.problems, *_told(loaded, answer)]


def _columns(loaded: Loaded) -> list[dict[str, Any]]:
    """Ask whether the files that exist have the columns that the analysis names."""
    found = []
    for item in wanted(loaded.analysis):
        try:
            files = match(loaded.path, item.files)
        except InputError:
            continue  # already a mistake of the analysis
        if files:
            found.append({**asdict(item), "files": files, "links": _links(loaded)})
    return found


def _links(loaded: Loaded) -> list[str]:
    """List the files to which HDF5 inputs may lead."""
    try:
        return match(loaded.path, loaded.analysis.links)
    except InputError:
        return []  # already a mistake of the analysis


def _told(loaded: Loaded, answer: Mapping[str, Any]) -> list[Problem]:
    """Give what a look has found its place in the analysis."""
    located = [(key, message) for key, message in answer["columns"]]
    located += [(key_of(loaded.analysis, subject), message) for subject, message in answer.get("problems", ())]
    return [Problem(message, *loaded.places.find(key), key) for key, message in located]


def _recall(remembered: Mapping[str, Any] | None) -> Looked | None:
    if not forms.fits(remembered, FORM):
        return None
    names = {one.name for one in fields(Looked)}
    return Looked(**{name: value for name, value in (remembered or {}).items() if name in names})


def _signature(request: Mapping[str, Any], paths: list[str]) -> str:
    return plan.digest([request, [state(path) for path in paths]])


def state(path: str) -> list[object]:
    """Size, times and number of a file; nothing for one that has gone."""
    try:
        stat = Path(path).stat()
    except OSError:
        return [path]
    return [path, *stamps.of(stat)]


def _physics(loaded: Loaded, imported: tuple[str, ...] = ()) -> plan.Physics:
    path = loaded.path.parent / (loaded.analysis.physics or loaded.path.name)
    return plan.Physics(loaded.source, str(path.resolve()), imported)


def _request(
    loaded: Loaded, paths: Mapping[str, list[str]], columns: Mapping[str, plan.ComputedSpec]
) -> dict[str, Any]:
    """Ask what conversion will be asked: the same specs, with the paths, without digests and without the trainings."""
    analysis, physics = loaded.analysis, _physics(loaded)
    analysis = replace(analysis, training=replace(analysis.training, members=1, folds=None), search=None)
    inputs = plan.Inputs(files=_unread(paths), physics=physics, exact=False, columns=columns)
    tasks = plan.build(analysis, inputs, pack=1).tasks
    throwers = {t.spec.thrower for t in tasks if isinstance(t.spec, plan.ToysSpec) and t.spec.thrower}
    generators = {task.name: task.spec for task in tasks if isinstance(task.spec, plan.Generate)}
    split = analysis.split

    def look(name: str, spec: plan.Convert) -> dict[str, Any]:
        made = generators.get(name)
        own = {"generate": made.reference, "events": made.events} if made else {"generate": "", "events": 0}
        return {**spec.plain(), "paths": paths[name], "region": spec.region, **own}

    return {
        "columns": _columns(loaded),
        "looks": [look(task.name, task.spec) for task in tasks if isinstance(task.spec, plan.Convert)],
        "throws": [
            {**thrower.kept.plain(), "reference": thrower.reference, "parameters": _nominal(analysis)}
            for thrower in throwers
        ],
        "physics": [physics.source, physics.path],
        "resources": match(loaded.path, analysis.resources),
        "links": _links(loaded),
        "fractions": {
            **dict(zip(("train", "combine", "test"), split.fractions(), strict=True)),
            "salt": key(analysis.seed, "split"),
            "crossed": split.cross != 0 or analysis.binned,
        },
        "least": 0 if analysis.binned else split.min_events,
        "wanted": plan.content(plan.training.wanted(analysis)),
        "training": _tried_code(analysis),
        **({"space": loaded.analysis.search.space} if loaded.analysis.search and _tried_code(analysis) else {}),
        # A look of an earlier version of needle may know nothing of them.
        **({"effects": True} if analysis.pruning.prune else {}),
    }  # fmt: skip


def _tried_code(analysis: Analysis) -> Any:
    """Give what of the user's trains and combines networks; it is tried again when that changes."""
    training = plan.content(analysis.training) if analysis.training.own_code() else None
    return [training, *analysis.ensemble.own_code()] if analysis.ensemble.own_code() else training


def _unread(paths: Mapping[str, Sequence[str]]) -> dict[str, tuple[plan.File, ...]]:
    """Give files whose content nobody has looked at."""
    return {name: tuple(plan.File(path=path, digest="") for path in found) for name, found in paths.items()}


def _nominal(analysis: Analysis) -> dict[str, float]:
    """Give the values of all parameters where a function that throws toys is tried."""
    physics = {name: parameter.nominal for name, parameter in analysis.model.parameters.items()}
    return physics | dict.fromkeys(analysis.model.nuisances, 0.0)
