"""The look at the user's stages: asked of a child process, and remembered as long as nothing has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from needle_parsl import plan
from needle_parsl.addresses import is_remote
from needle_parsl.analysis import Analysis, OwnStage
from needle_parsl.analysis.file import Loaded, match
from needle_parsl.analysis.tables.limits import seconds
from needle_parsl.analysis.tables.stages import MADE, words
from needle_parsl.errors import InputError, Problem
from needle_parsl.plan import stage_items, stage_rules
from needle_parsl.workflow import forms, probe, programs

FORM = {
    "signature": str,
    "takes": dict,
    "files": forms.Each({"digest": str, "stamp": list, "size": int, "links?": [str]}),
    "code": forms.Each(str),
    "functions": forms.Each(str),
}


@dataclass(frozen=True, kw_only=True)
class StagesLooked:
    """What a look has told; kept in `run.json` under `stage_inputs`."""

    signature: str
    """Of what was asked."""
    takes: Mapping[str, list[str] | None]
    files: Mapping[str, Mapping[str, Any]]
    code: Mapping[str, str]
    """Digests of all modules and further files of the user's code, by path."""
    functions: Mapping[str, str]
    """Digests of what a function consists of, by its reference."""


def mistakes(loaded: Loaded) -> list[Problem]:
    """List what is wrong with the order of stages."""
    return [Problem(message, *loaded.places.find(key), key) for key, message in stage_rules.problems(loaded.analysis)]


def look(loaded: Loaded, remembered: Any = None) -> tuple[plan.StageInputs | None, StagesLooked | None]:
    """Look at the stages, unless that was done and nothing has changed; nothing without stages.

    Args:
        loaded: The analysis.
        remembered: A `StagesLooked` as a table; anything else is as good as nothing.

    Raises:
        InputError: Something is wrong with them; one line per mistake.
    """
    analysis = loaded.analysis
    if not analysis.stages:
        return None, None
    if wrong := [*loaded.problems, *mistakes(loaded)]:
        raise InputError.of(wrong)
    patterns = _patterns(loaded)
    named = {name: _named_files(loaded, own.command) for name, own in analysis.stages.items()}
    resources = match(loaded.path, analysis.resources)
    paths = sorted({path for found in (*patterns.values(), *named.values()) for path in found})
    request = {
        "stages": _requests(analysis),
        "physics": [loaded.source, str(_file(loaded))],
        "paths": paths,
        "resources": resources,
    }
    known = StagesLooked(**remembered) if forms.fits(remembered, FORM) else None
    inputs = [*paths, *resources]
    if known is None or any(map(is_remote, inputs)) or known.signature != _signature(request, [*inputs, *known.code]):
        known = _asked(loaded, request, inputs, known.files if known else {})
    return _inputs(loaded, known, patterns, named), known


def _asked(loaded: Loaded, request: Mapping[str, Any], inputs: list[str], files: Mapping[str, Any]) -> StagesLooked:
    answer = programs.ask(loaded, {**request, "known": files}, programs.STAGES, seconds(loaded.analysis.limits.check))
    if answer["problems"]:
        raise InputError.of([Problem(message, *loaded.places.find(key), key) for key, message in answer["problems"]])
    return StagesLooked(
        signature=_signature(request, [*inputs, *answer["code"]]),
        takes=answer["takes"],
        files=answer["files"],
        code=answer["code"],
        functions=answer["functions"],
    )


def _signature(request: Mapping[str, Any], paths: list[str]) -> str:
    return plan.digest([request, [probe.state(path) for path in paths]])


def _requests(analysis: Analysis) -> list[dict[str, Any]]:
    return [
        {
            "key": f"stages.{name}",
            "name": name,
            "function": own.function,
            "merge": own.merge if ":" in own.merge else "",
            "offered": stage_items.offered(own),
            "params": list(own.params),
            "merged": {axis: stage_items.fields(own, axis) for axis in _merged(analysis, own)},
            "outputs": list(own.outputs),
        }
        for name, own in analysis.stages.items()
    ]


def _merged(analysis: Analysis, own: OwnStage) -> list[str]:
    """Name the lists that a merge puts together, without those by which a call gets another output of an earlier stage."""
    aligned = {axis for name in own.after if name in analysis.stages for axis in analysis.stages[name].over}
    return [axis for axis in own.over if own.merge and axis not in own.apart() and axis not in aligned]


def _inputs(
    loaded: Loaded, looked: StagesLooked, patterns: Mapping[str, list[str]], named: Mapping[str, list[str]]
) -> plan.StageInputs:
    takes = {name: None if names is None else tuple(names) for name, names in looked.takes.items()}
    files = {text: tuple(_state(looked, path) for path in paths) for text, paths in patterns.items()}
    digests = {name: tuple(looked.files[path]["digest"] for path in paths) for name, paths in named.items()}
    own = tuple(looked.code[path] for path in match(loaded.path, loaded.analysis.resources))
    return plan.StageInputs(
        takes=takes,
        files=files,
        physics=plan.Physics(loaded.source, str(_file(loaded)), tuple(looked.code.values())),
        functions=looked.functions,
        resources={name: (*found, *own) for name, found in digests.items()},
        folder=str(loaded.path.resolve().parent),
    )


def _state(looked: StagesLooked, path: str) -> plan.File:
    found = looked.files[path]
    return plan.File(path=path, digest=found["digest"], stamp=tuple(found["stamp"]), size=found["size"])


def _file(loaded: Loaded) -> Path:
    """Give the user's Python file, or the analysis without one."""
    return (loaded.path.parent / (loaded.analysis.physics or loaded.path.name)).resolve()


def _patterns(loaded: Loaded) -> dict[str, list[str]]:
    """List the files over which stages go, by pattern.

    Raises:
        InputError: A pattern matches none.
    """
    found, wrong = {}, []
    for key, text in stage_items.patterns(loaded.analysis):
        try:
            found[text] = match(loaded.path, (text,))
        except InputError as error:
            wrong.append(Problem(f'"{text}": {error}', *loaded.places.find(key), key))
    if wrong:
        raise InputError.of(wrong)
    return found


def _named_files(loaded: Loaded, command: str) -> list[str]:
    """List the files that a command line names, such as a script."""
    paths = [loaded.path.parent / word for word in words(command)]
    return [str(path.resolve()) for path in paths if path.is_file()]


def with_made(loaded: Loaded, root: Path, made: Mapping[str, list[str]]) -> Loaded:
    """Put the files that stages have made in the place of the stages.

    Args:
        loaded: The analysis.
        root: The run directory.
        made: Files relative to it, by key and text.
    """

    def files(key: str, given: tuple[str, ...]) -> tuple[str, ...]:
        named = [
            [str(root.resolve() / one) for one in made[f"{key} {text}"]] if text.startswith(MADE) else [text]
            for text in given
        ]
        return tuple(name for names in named for name in names)

    analysis = loaded.analysis
    samples = {}
    for name, sample in analysis.samples.items():
        variations = {}
        for nuisance, own in sample.variations.items():
            sides = {
                side: replace(source, files=files(f"samples.{name}.variations.{nuisance}.{side}.files", source.files))
                for side, source in (("up", own.up), ("down", own.down))
                if source is not None
            }
            variations[nuisance] = replace(own, up=sides.get("up"), down=sides.get("down"))
        joint = tuple(
            replace(one, files=files(f"samples.{name}.joint[{number}].files", one.files))
            for number, one in enumerate(sample.joint)
        )
        own_files = files(f"samples.{name}.files", sample.files)
        samples[name] = replace(sample, files=own_files, variations=variations, joint=joint)
    fit = analysis.fit
    if data := analysis.data():
        fit = replace(fit, data=replace(data, files=files("fit.data", data.files)))
    return replace(loaded, analysis=replace(analysis, samples=samples, fit=fit))
