"""A look into the input files before anything runs: what is wrong with them, and what they are. A program of its own.

It runs in a child process, so that the process that submits imports neither uproot nor the user's modules.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from needle_parsl import refs
from needle_parsl.errors import InputError, closest
from needle_parsl.nsbi.data import acceptance, columns, conversion, files, generation, own_code, placeholders, sharing
from needle_parsl.nsbi.data.events import Events, Fractions
from needle_parsl.nsbi.data.files import Header, State
from needle_parsl.nsbi.data.placeholders import Seen
from needle_parsl.nsbi.data.readers import source
from needle_parsl.nsbi.data.recipes import OBSERVED, InputFile, Recipe
from needle_parsl.nsbi.transforms.wanted import Wanted

ROWS = 1_000_000
"""Rows of a sample whose content is looked at; conversion looks at all of them."""
TRIAL = 100
"""Events that a generator is asked for."""


@dataclass(frozen=True)
class Look:
    """One sample to look at."""

    recipe: Recipe
    files: tuple[str, ...]
    """Paths, addresses, and patterns of addresses."""
    tree: str
    generate: str
    """The generator function, if it has one instead of files."""
    events: int
    """How many events it is asked for."""
    skip: bool = False
    """Bad files are left out."""
    region: str = ""
    """The binned region whose events these are; a process may have none there."""

    def paths(self) -> list[str]:
        """List its files, with the patterns of addresses expanded."""
        return [path for name in self.files for path in (source.expand(name) if source.is_remote(name) else [name])]


@dataclass(frozen=True)
class Throw:
    """A function that makes the events of toys."""

    recipe: Recipe
    reference: str
    parameters: Mapping[str, float]
    """Where it is tried."""


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
    read = sorted(opened - found["files"].keys() - set(resources))
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
        events are found in its variations, if these are made of them; `exact`: whether `physics.py` has `log_density`; `outputs`: how many
        columns networks get of features and of particles, 0 where that is not known.
    """
    problems: list[tuple[str, str]] = []
    notes: list[str] = []
    exact = _guard(problems, "physics", lambda: _has_density(*physics)) if physics[0] else False
    samples = {item.recipe.sample: _guard(problems, item.recipe.sample, item.paths) or [] for item in looks}
    looked = files.states([path for paths in samples.values() for path in paths], known or {}, links)
    states = {path: found for path, found in looked.items() if isinstance(found, State)}
    for item in looks:
        _guard(problems, item.recipe.sample, partial(_distinct, item, samples[item.recipe.sample], looked))
    borders: dict[str, dict[str, list[int]]] = {}
    seen: dict[str, int] = {}
    kept: dict[str, Events] = {}
    features: list[Seen] = []
    wanted = wanted or Wanted()
    held = _Held(seen, features, wanted, kept)
    for item in looks:
        sample = item.recipe.sample
        if sample.partition(".")[0] in dict(problems):
            continue  # a variation has most mistakes of its sample, too
        if all(path in states for path in samples[sample]):
            inputs = [
                InputFile(path, item.tree, states[path].digest, links=states[path].links) for path in samples[sample]
            ]
            cuts = _guard(problems, sample, partial(_sample, item, inputs, physics, fractions, least, notes, held))
            borders[sample] = cuts or {}
    problems += [*_empty_regions(looks, seen), *placeholders.problems(features, wanted)]
    notes += placeholders.notes(features, wanted)
    shared = _shared(kept, notes)
    for throw in throws:
        _guard(problems, "toys", partial(_thrown, throw, physics))
    return {
        "problems": list(dict.fromkeys(problems)),
        "notes": list(dict.fromkeys(notes)),
        "files": {path: asdict(state) for path, state in states.items()},
        "samples": {
            name: {path: borders.get(name, {}).get(path, []) for path in paths} for name, paths in samples.items()
        },
        "exact": bool(exact),
        "shared": shared,
        "outputs": (0, 0) if problems else placeholders.columns(features, wanted),
    }


@dataclass(frozen=True)
class _Held:
    """What the looks at samples leave."""

    counts: dict[str, int]
    """Events of each sample that was read to its end."""
    features: list[Seen]
    wanted: Wanted
    events: dict[str, Events]
    """Those of each sample that were read, without their particles."""


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


def _distinct(item: Look, paths: Sequence[str], states: Mapping[str, State | InputError]) -> None:
    """Refuse files that are not there, or that are the same."""
    seen: dict[str, str] = {}
    wrong = []
    for path in paths:
        found = states[path]
        if isinstance(found, InputError):
            wrong.append(str(found))
        elif (other := seen.setdefault(found.digest, path)) != path:
            wrong.append(
                f"sample {item.recipe.sample}: {path} has the same content as {other}; its events would count twice"
            )
    if wrong:
        raise InputError("\n".join(wrong))


def _guard(problems: list[tuple[str, str]], subject: str, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except InputError as error:
        problems.extend((subject, line) for line in str(error).splitlines())
        return None


def _has_density(source: str, path: str) -> bool:
    try:
        return hasattr(refs.load_source(source, path), "log_density")
    except (Exception, SystemExit) as error:
        raise InputError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error


def _sample(
    item: Look,
    inputs: Sequence[InputFile],
    physics: tuple[str, str],
    fractions: Fractions,
    least: int,
    notes: list[str],
    held: _Held,
) -> dict[str, list[int]]:
    """Look into a sample; give the rows at which its files may be cut, and leave what was seen."""
    sample = item.recipe.sample
    if item.generate:
        trial = _generated(item, physics, fractions, least)
        _keep(trial, item, held, complete=False)
        return {}
    problems: list[str] = []
    good = _headers(inputs, item.recipe, problems, notes)
    chunks: list[tuple[int, Events]] = []
    found: list[tuple[str, str]] = []
    for file in inputs:
        if file.path in good:
            left = ROWS - sum(rows for rows, _ in chunks)
            chunks += _guard(found, file.path, partial(_content, file, item.recipe, left)) or []
    problems += [message for _, message in found]
    if problems and not item.skip:
        raise InputError("\n".join(problems))
    notes += [f"{line} (the file will be left out)" for line in problems]
    complete = sum(rows for rows, _ in chunks) < ROWS
    events = Events.join([events for _, events in chunks], item.recipe.features)
    _keep(events, item, held, complete=complete)
    if len(events) and not item.region and sample != OBSERVED:
        most = sharing.ROWS if "." in sample else sharing.NOMINAL
        held.events[sample] = replace(events.take(slice(0, most)), particles=None)
    if not complete:  # conversion judges the sample
        return {path: header.borders for path, header in good.items()}
    held.counts[sample] = len(events)
    if not item.region:
        paths = [file.path for file in inputs]
        acceptance.judge(events, paths, item.recipe)
        notes += [f"{acceptance.empty(paths, item.recipe)}: the fits are those of nothing observed"] * (not len(events))
        if sample != OBSERVED:
            _enough(events, sample, fractions, least)
    return {path: header.borders for path, header in good.items()}


def _shared(kept: Mapping[str, Events], notes: list[str]) -> dict[str, tuple[str, ...]]:
    """Find samples whose variations are made of their events, and note what is assumed of them."""
    found = {}
    for sample in [name for name in kept if "." not in name]:
        if varied := {name: events for name, events in kept.items() if name.startswith(f"{sample}.")}:
            same = sharing.shared(kept[sample], varied)
            notes += [line] if (line := sharing.note(sample, same)) else []
            if same.content and same.columns:
                found[sample] = same.columns
    return found


def _keep(events: Events, item: Look, held: _Held, *, complete: bool) -> None:
    """Note what the features of a sample are."""
    if not item.region:
        jets = item.recipe.particles.names if item.recipe.particles else ()
        held.features.append(
            placeholders.see(item.recipe.sample, events, held.wanted, complete=complete, particles=jets)
        )


def _headers(inputs: Sequence[InputFile], recipe: Recipe, bad: list[str], notes: list[str]) -> dict[str, Header]:
    """Open all files of a sample, and compare them; give the headers of the good ones."""
    good = {}
    for file, header in zip(inputs, files.headers(inputs, recipe), strict=True):
        if isinstance(header, InputError):
            bad += str(header).splitlines()
            continue
        good[file.path] = header
        if header.borders[-1] == 0:
            notes.append(f"{file.path}: sample {recipe.sample}: has no events")
    wrong, odd = files.disagreements(good, recipe.sample)
    bad += wrong
    notes += odd
    return good


def _content(file: InputFile, recipe: Recipe, most: int) -> list[tuple[int, Events]]:
    """Read chunks of a file until a number of rows is reached, each with the number of rows it came from."""
    found: list[tuple[int, Events]] = []
    if most > 0:
        for rows, events in conversion.read(file, recipe):
            found.append((rows, events))
            if (most := most - rows) <= 0:
                break
    return found


def _generated(item: Look, physics: tuple[str, str], fractions: Fractions, least: int) -> Events:
    """Try a generator with a few events, and judge from them how many effective ones there will be; give these few."""
    made = generation.generate(item.generate, *physics, TRIAL, seed=0)
    sample = item.recipe.sample
    trial = _tried(made, item.recipe, item.generate)
    if item.region:
        return trial
    expected = trial.effective() * item.events / TRIAL
    smallest = (1.0 if fractions.crossed else min(fractions.train, fractions.combine, fractions.test)) * expected
    if sample != OBSERVED and smallest < least:
        raise InputError(
            f"sample {sample}: {item.events} generated events leave about {smallest:.0f} effective ones in the smallest "
            f"part; expected at least {least}; ask for more events, or set split.min_events lower"
        )
    return trial


def _thrown(throw: Throw, physics: tuple[str, str]) -> None:
    """Try a function that makes toys, at the nominal parameters."""
    generator = np.random.default_rng(0)
    columns = generation.pseudo_data(throw.reference, *physics, generator, throw.parameters)
    _tried(columns, throw.recipe, throw.reference)


def _tried(columns: generation.Columns, recipe: Recipe, reference: str) -> Events:
    """Keep what a recipe says of what a function has made."""
    missing = [name for name in recipe.columns() if name not in columns]
    if missing:
        known = recipe.known(columns)
        lines = [f'sample {recipe.sample}: {reference} makes no column "{m}"{closest(m, known)}' for m in missing]
        raise InputError("\n".join(lines))
    conversion.distinct(recipe, columns, f"sample {recipe.sample}: {reference}")
    return conversion.select(columns, recipe, reference)


def _enough(events: Events, sample: str, fractions: Fractions, least: int) -> None:
    if fractions.crossed:
        if (effective := events.effective()) < least:
            raise InputError(
                f"sample {sample}: has {effective:.0f} effective events; expected at least {least}; use more events, "
                "or set split.min_events lower"
            )
        return
    few = []
    for part in ("train", "combine", "test"):
        effective = events.part(part, fractions).effective()
        if effective < least:
            few.append(f"{effective:.0f} in {part}")
    if few:
        raise InputError(
            f"sample {sample}: has too few effective events: {', '.join(few)}; expected at least {least} in each part; "
            "use more events, another split, or set split.min_events lower"
        )


def main(output: str) -> None:
    """Read a request as JSON from standard input, and write the answer to a file.

    Columns come first, since a misspelt one must not cost the time to read the events.
    """
    request = json.load(sys.stdin)
    wrong = columns.problems([columns.Source(**source) for source in request["columns"]])
    answer = {"columns": wrong} if wrong or not request["looks"] else {"columns": [], **_looked(request)}
    Path(output).write_text(json.dumps(answer), encoding="utf-8")


def _looked(request: Mapping[str, Any]) -> dict[str, Any]:
    source, path = request["physics"]
    physics = (source, path)
    looks = [
        Look(
            Recipe.of(r, physics),
            tuple(r["paths"]),
            r["tree"],
            r["generate"],
            r["events"],
            r["on_bad_file"] == "skip",
            r["region"],
        )
        for r in request["looks"]
    ]
    throws = [Throw(Recipe.of(r, physics), r["reference"], r["parameters"]) for r in request["throws"]]
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
