"""A look into the input files before anything runs: what is wrong with them, and what they are. A program of its own.

It runs in a child process, so that the process that submits imports neither uproot nor the user's modules.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from needle_parsl import refs
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import (
    columns,
    files,
    own_code,
    placeholders,
    sample_look,
    shared_events,
    user_functions,
    variation_effects,
)
from needle_parsl.nsbi.data.events import Events, Fractions
from needle_parsl.nsbi.data.files import FileState, Header
from needle_parsl.nsbi.data.placeholders import FeatureFacts
from needle_parsl.nsbi.data.recipes import InputFile, Recipe
from needle_parsl.nsbi.data.sample_look import Held, Look, guard
from needle_parsl.nsbi.data.user_functions import Throw
from needle_parsl.nsbi.stage_outputs import formats
from needle_parsl.nsbi.transforms.wanted import Wanted


def look(
    looks: list[Look],
    physics: tuple[str, str],
    fractions: Fractions,
    least: int,
    throws: Sequence[Throw] = (),
    known: Mapping[str, Any] | None = None,
    wanted: Wanted | None = None,
    resources: Sequence[str] = (),
    links: Sequence[str] = (),
) -> dict[str, Any]:
    """Look into everything that an analysis names, and notice which files the user's code opens on the way.

    See `_look`; `resources` are files that it opens in ways that nobody can notice.
    """
    before = set(sys.modules)
    with own_code.watching() as opened:
        found = _look(looks, physics, fractions, least, throws, known, wanted, links)
    modules = {str(Path(path).resolve()) for path in own_code.modules(set(sys.modules) - before, set())}
    read = sorted(opened - found["files"].keys() - set(resources) - modules)
    found["notes"] += [
        f"{path}: is opened by your code; what depends on that is made again when it changes" for path in read
    ]
    named = {text.rpartition(":")[0] for text in (*(i.generate for i in looks), *(t.reference for t in throws))}
    return found | {"code": digests(set(sys.modules) - before, named, {*read, *resources})}


def _look(
    looks: list[Look],
    physics: tuple[str, str],
    fractions: Fractions,
    least: int,
    throws: Sequence[Throw],
    known: Mapping[str, Any] | None,
    wanted: Wanted | None,
    links: Sequence[str],
) -> dict[str, Any]:
    """Look into everything that an analysis names.

    Args:
        looks: Its samples.
        physics: Text and path of the user's Python file; empty texts without one.
        fractions: How events are split.
        least: Effective events that every part of a sample must have.
        throws: Functions that make the events of toys.
        known: What an earlier look has found of the files.
        wanted: What is done to features before networks see them.
        links: Other files from which HDF5 files may take data.

    Returns:
        `problems`: each a sample, or "physics", and a message; `notes` of what is no mistake, one line each; `files`: what each
        is, by path; `samples`: by sample, its paths with the rows where they may be cut; `shared`: by sample, the features by whose values its
        events are found in its variations, if these are made of them; `effects`: by variation, how much it differs from its nominal sample; `exact`: whether `physics.py` has `log_density`; `outputs`: how many
        columns networks get of features and of particles, 0 where that is not known.
    """
    problems: list[tuple[str, str]] = []
    notes: list[str] = []
    exact = guard(problems, "physics", lambda: _has_density(*physics)) if physics[0] else False
    samples = {item.recipe.sample: guard(problems, item.recipe.sample, item.paths) or [] for item in looks}
    looked = files.states([path for paths in samples.values() for path in paths], known or {}, links)
    states = {path: found for path, found in looked.items() if isinstance(found, FileState)}
    for item in looks:
        guard(problems, item.recipe.sample, partial(_distinct, item, samples[item.recipe.sample], looked))
    borders: dict[str, dict[str, list[int]]] = {}
    seen: dict[str, int] = {}
    kept: dict[str, Events] = {}
    features: list[FeatureFacts] = []
    wanted = wanted or Wanted()
    held = Held(seen, features, wanted, kept)
    for item in looks:
        sample = item.recipe.sample
        if sample.partition(".")[0] in dict(problems):
            continue  # a variation has most mistakes of its sample, too
        if all(path in states for path in samples[sample]):
            inputs = [
                InputFile(path=path, tree=item.tree, label=states[path].digest, links=states[path].links)
                for path in samples[sample]
            ]
            cuts = guard(
                problems, sample, partial(sample_look.look, item, inputs, physics, fractions, least, notes, held)
            )
            borders[sample] = cuts or {}
    problems += [*_empty_regions(looks, seen), *placeholders.problems(features, wanted)]
    notes += placeholders.notes(features, wanted)
    shared, own = _shared(kept, notes)
    for throw in throws:
        guard(problems, "toys", partial(user_functions.thrown, throw, physics))
    return {
        "problems": list(dict.fromkeys(problems)),
        "notes": list(dict.fromkeys(notes)),
        "files": {path: asdict(state) for path, state in states.items()},
        "samples": {
            name: {path: borders.get(name, {}).get(path, []) for path in paths} for name, paths in samples.items()
        },
        "exact": bool(exact),
        "shared": shared,
        "effects": _effects(held, own),
        "outputs": (0, 0) if problems else placeholders.columns(features, wanted),
    }


def _empty_regions(looks: list[Look], seen: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Complain of binned regions in which no process has an event."""
    for region in dict.fromkeys(item.region for item in looks if item.region):
        counted = [
            item.recipe for item in looks if item.region == region and not item.recipe.sample.startswith("observed@")
        ]
        if all(seen.get(recipe.sample) == 0 for recipe in counted):
            where = f"{counted[0].selections[-1]!r}"
            yield f"@{region}", f"no simulated event is left after the selection {where}; change it"


def digests(imported: set[str], named: set[str], opened: Iterable[str] = ()) -> dict[str, str]:
    """Fingerprint what the user's code consists of, by path.

    Args:
        imported: Names of the modules that were imported.
        named: Modules that the analysis names.
        opened: Files that they have opened, or that the analysis names as their resources.
    """
    return {path: own_code.digest(path) for path in [*own_code.modules(imported, named), *sorted(opened)]}


def _distinct(item: Look, paths: Sequence[str], states: Mapping[str, FileState | InputError]) -> None:
    """Refuse files that are not there, or that are the same."""
    seen: dict[str, str] = {}
    wrong = []
    for path in paths:
        found = states[path]
        if isinstance(found, InputError):
            wrong.append(str(found))
        elif (other := seen.setdefault(found.digest, path)) != path and not _without_rows(path, item):
            wrong.append(
                f"sample {item.recipe.sample}: {path} has the same content as {other}; its events would count twice"
            )
    if wrong:
        raise InputError("\n".join(wrong))


def _without_rows(path: str, item: Look) -> bool:
    """Whether a file has no events: what selections leave of several parts may be equally empty."""
    with suppress(Exception):  # what cannot be read is said where it is
        (header,) = files.headers([InputFile(path=path, tree=item.tree, label="")], item.recipe)
        return isinstance(header, Header) and header.borders[-1] == 0
    return False


def _has_density(source: str, path: str) -> bool:
    try:
        return hasattr(refs.load_source(source, path), "log_density")
    except (Exception, SystemExit) as error:
        raise InputError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error


def _effects(held: Held, own: set[str]) -> dict[str, dict[str, float | str]]:
    """Compare every variation with its nominal sample, where both were read.

    Args:
        held: What was read.
        own: Variations with events of their own.
    """
    found = {}
    for name, shares in held.shares.items():
        nominal = sample_look.nominal_of(name)
        if nominal != name and np.isfinite([shares.total, held.shares[nominal].total]).all():
            independent = name.partition("@")[0] in own
            found[name] = variation_effects.compared(held.shares[nominal], shares, independent=independent)
    return found


def _shared(kept: Mapping[str, Events], notes: list[str]) -> tuple[dict[str, tuple[str, ...]], set[str]]:
    """Find samples whose variations are made of their events, note what is assumed of them, and name the variations with events of their own."""
    found, own = {}, set()
    for sample in [name for name in kept if "." not in name]:
        if varied := {name: events for name, events in kept.items() if name.startswith(f"{sample}.")}:
            same = shared_events.shared(kept[sample], varied)
            notes += [line] if (line := shared_events.note(sample, same)) else []
            if same.content and same.columns:
                found[sample] = same.columns
            own |= {*same.own}
    return found, own


def main(output: str) -> None:
    """Read a request as JSON from standard input, and write the answer to a file.

    Columns come first, since a misspelt one must not cost the time to read the events.
    """
    request = json.load(sys.stdin)
    refs.note_calls(output)
    wrong = columns.problems([columns.SampleFiles(**source) for source in request["columns"]])
    answer = {"columns": wrong} if wrong or not request["looks"] else {"columns": [], **_looked(request)}
    Path(output).write_text(json.dumps(answer), encoding="utf-8")


def _looked(request: Mapping[str, Any]) -> dict[str, Any]:
    source, path = request["physics"]
    physics = (source, path)
    looks = [
        Look(
            recipe=Recipe.of(r, physics, formats.given),
            files=tuple(r["paths"]),
            tree=r["tree"],
            generate=r["generate"],
            events=r["events"],
            skip=r["on_bad_file"] == "skip",
            region=r["region"],
        )
        for r in request["looks"]
    ]
    throws = [Throw(Recipe.of(r, physics, formats.given), r["reference"], r["parameters"]) for r in request["throws"]]
    return look(
        looks,
        physics,
        Fractions(**request["fractions"]),
        request["least"],
        throws,
        request["known"],
        _wanted(request),
        request["resources"],
        request["links"],
    )


def _wanted(request: Mapping[str, Any]) -> Wanted:
    """Read what is done to features."""
    plain: Mapping[str, Any] = request["wanted"]
    features, particles = (tuple((name, kind) for name, kind in plain[part]) for part in ("features", "particles"))
    return Wanted(features, particles, tuple(plain["missing"]), plain["nan"])


if __name__ == "__main__":
    main(sys.argv[1])
    refs.leave()
