"""A look into the input files before anything runs: what is wrong with them, and what they are. A program of its own.

It runs in a child process, so that the process that submits imports neither uproot nor the user's modules.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from needle_parsl import refs
from needle_parsl.errors import InputError, closest
from needle_parsl.nsbi.data import columns, conversion, generation
from needle_parsl.nsbi.data.conversion import InputFile, Recipe
from needle_parsl.nsbi.data.events import Events, Fractions

ROWS = 1_000_000
"""Rows of each file that are looked at; conversion looks at all of them."""
TRIAL = 100
"""Events that a generator is asked for."""


@dataclass(frozen=True)
class Look:
    """One sample to look at."""

    recipe: Recipe
    files: tuple[str, ...]
    tree: str
    generate: str
    """The generator function, if it has one instead of files."""
    events: int
    """How many events it is asked for."""


@dataclass(frozen=True)
class Throw:
    """A function that makes the events of toys."""

    recipe: Recipe
    reference: str
    parameters: Mapping[str, float]
    """Where it is tried."""


def look(
    looks: list[Look], physics: tuple[str, str], fractions: Fractions, least: int, throws: Sequence[Throw] = ()
) -> dict[str, Any]:
    """Look into everything that an analysis names.

    Args:
        looks: Its samples.
        physics: Text and path of the user's Python file; empty texts without one.
        fractions: How events are split.
        least: Effective events that every part of a sample must have.
        throws: Functions that make the events of toys.

    Returns:
        `problems`: each a sample, or "physics", and a message; `files`: digest by path; `exact`: whether `physics.py` has `log_density`;
        `code`: digests of the user's other modules that were imported on the way.
    """
    problems: list[tuple[str, str]] = []
    before = set(sys.modules)
    exact = _guard(problems, "physics", lambda: _has_density(*physics)) if physics[0] else False
    digests = {path: _digest(Path(path)) for path in sorted({path for item in looks for path in item.files})}
    for item in looks:
        _guard(problems, item.recipe.sample, partial(_distinct, item, digests))
    if not problems:
        for item in looks:
            if item.recipe.sample.partition(".")[0] in dict(problems):
                continue  # a variation has most mistakes of its sample, too
            _guard(problems, item.recipe.sample, partial(_sample, item, physics, digests, fractions, least))
        for throw in throws:
            _guard(problems, "toys", partial(_thrown, throw, physics))
    own = {str(Path(physics[1]).parent)} if physics[0] else set()
    named = {text.rpartition(":")[0] for text in (*(i.generate for i in looks), *(t.reference for t in throws))}
    code = {path: _digest(Path(path)) for path in _imported(set(sys.modules) - before, own, named)}
    return {"problems": list(dict.fromkeys(problems)), "files": digests, "exact": bool(exact), "code": code}


def _imported(modules: set[str], folders: set[str], named: set[str]) -> list[str]:
    """List the files of modules that the user wrote: beside `physics.py`, or named in the analysis."""
    found = []
    for name in sorted(modules):
        path = getattr(sys.modules.get(name), "__file__", None) or ""
        beside = any(Path(path).is_relative_to(folder) for folder in folders)
        if path and Path(path).is_file() and (name in named or (beside and "site-packages" not in path)):
            found.append(path)
    return found


def _distinct(item: Look, digests: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for path in item.files:
        other = seen.setdefault(digests[path], path)
        if other != path:
            raise InputError(
                f"sample {item.recipe.sample}: {path} has the same content as {other}; its events would count twice"
            )


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


def _sample(item: Look, physics: tuple[str, str], digests: dict[str, str], fractions: Fractions, least: int) -> None:
    if item.generate:
        _generated(item, physics, fractions, least)
        return
    files = tuple(InputFile(path, item.tree, digests[path]) for path in item.files)
    chunks = [list(islice(conversion.read(file, item.recipe), ROWS // conversion.STEP)) for file in files]
    if any(len(parts) == ROWS // conversion.STEP for parts in chunks):
        return  # not read to its end: conversion judges the sample as a whole
    events = Events.join([part for parts in chunks for part in parts], item.recipe.features)
    conversion.judge(events, files, item.recipe)
    if item.recipe.sample != "observed":
        _enough(events, item.recipe.sample, fractions, least)


def _generated(item: Look, physics: tuple[str, str], fractions: Fractions, least: int) -> None:
    """Try a generator with a few events, and judge from them how many effective ones there will be."""
    made = generation.generate(item.generate, *physics, TRIAL, seed=0)
    sample = item.recipe.sample
    trial = _tried(made, item.recipe, item.generate)
    expected = trial.effective() * item.events / TRIAL
    smallest = min(fractions.train, fractions.combine, fractions.test) * expected
    if sample != "observed" and smallest < least:
        raise InputError(
            f"sample {sample}: {item.events} generated events leave about {smallest:.0f} effective ones in the smallest "
            f"part; expected at least {least}; ask for more events, or set split.min_events lower"
        )


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


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _recipe(r: Mapping[str, Any]) -> Recipe:
    derived = tuple((name, text) for name, text in r["derived"])
    return Recipe(r["sample"], tuple(r["features"]), r["weight"], tuple(r["selections"]), tuple(r["id"]), derived)


def main(output: str) -> None:
    """Read a request as JSON from standard input, and write the answer to a file.

    Columns come first, since a misspelt one must not cost the time to read the events.
    """
    request = json.load(sys.stdin)
    wrong = columns.problems([columns.Source(**source) for source in request["columns"]])
    answer = {"columns": wrong} if wrong or not request["looks"] else {"columns": [], **_looked(request)}
    Path(output).write_text(json.dumps(answer), encoding="utf-8")


def _looked(request: Mapping[str, Any]) -> dict[str, Any]:
    looks = [Look(_recipe(r), tuple(r["paths"]), r["tree"], r["generate"], r["events"]) for r in request["looks"]]
    throws = [Throw(_recipe(r), r["reference"], r["parameters"]) for r in request["throws"]]
    source, path = request["physics"]
    return look(looks, (source, path), Fractions(**request["fractions"]), request["least"], throws)


if __name__ == "__main__":
    main(sys.argv[1])
