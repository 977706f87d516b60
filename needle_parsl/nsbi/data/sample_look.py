"""A look into the files of one sample: their headers, the content of as many rows as are enough, and what its features are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import (
    acceptance,
    conversion,
    files,
    placeholders,
    shared_events,
    user_functions,
    variation_effects,
)
from needle_parsl.nsbi.data.events import Events, Fractions
from needle_parsl.nsbi.data.files import Header
from needle_parsl.nsbi.data.placeholders import FeatureFacts
from needle_parsl.nsbi.data.readers import source
from needle_parsl.nsbi.data.recipes import OBSERVED, InputFile, Recipe
from needle_parsl.nsbi.transforms.wanted import Wanted

ROWS = 1_000_000
"""Rows of a sample whose content is looked at; conversion looks at all of them."""


@dataclass(frozen=True, kw_only=True)
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
class Held:
    """What the looks at samples leave."""

    counts: dict[str, int]
    """Events of each sample that was read to its end."""
    features: list[FeatureFacts]
    wanted: Wanted
    events: dict[str, Events]
    """Those of each sample that were read, without their particles."""
    shares: dict[str, variation_effects.Shares] = field(default_factory=dict)
    """Histograms of each sample that was read, those of variations in the bins of the nominal one."""


def guard(problems: list[tuple[str, str]], subject: str, work: Callable[[], Any]) -> Any:
    """Give what some work gives; where the input is wrong, nothing, with its problems noted under a subject."""
    try:
        return work()
    except InputError as error:
        problems.extend((subject, line) for line in str(error).splitlines())
        return None


def look(
    item: Look,
    inputs: Sequence[InputFile],
    physics: tuple[str, str],
    fractions: Fractions,
    least: int,
    notes: list[str],
    held: Held,
) -> dict[str, list[int]]:
    """Look into a sample; give the rows at which its files may be cut, and leave what was seen."""
    sample = item.recipe.sample
    if item.generate:
        enough = 0 if item.region else least
        trial = user_functions.generated(item.recipe, item.generate, physics, item.events, fractions, enough)
        _keep(trial, item, held, complete=False)
        return {}
    problems: list[str] = []
    good = _headers(inputs, item.recipe, problems, notes)
    chunks: list[tuple[int, Events]] = []
    found: list[tuple[str, str]] = []
    for file in inputs:
        if file.path in good:
            left = ROWS - sum(rows for rows, _ in chunks)
            chunks += guard(found, file.path, partial(_content, file, item.recipe, left)) or []
    problems += [message for _, message in found]
    if problems and not item.skip:
        raise InputError("\n".join(problems))
    notes += [f"{line} (the file will be left out)" for line in problems]
    complete = sum(rows for rows, _ in chunks) < ROWS
    events = Events.join([events for _, events in chunks], item.recipe.features)
    _keep(events, item, held, complete=complete)
    if len(events) and not item.region and sample != OBSERVED:
        most = shared_events.ROWS if "." in sample else shared_events.NOMINAL
        held.events[sample] = replace(events.take(slice(0, most)), particles=None)
    _fill(events, sample, held, complete=complete)
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


def _keep(events: Events, item: Look, held: Held, *, complete: bool) -> None:
    """Note what the features of a sample are."""
    if not item.region:
        jets = item.recipe.particles.names if item.recipe.particles else ()
        held.features.append(
            placeholders.see(item.recipe.sample, events, held.wanted, complete=complete, particles=jets)
        )


def _fill(events: Events, sample: str, held: Held, *, complete: bool) -> None:
    """Keep the histograms of a sample, where its nominal one has any."""
    nominal = nominal_of(sample)
    if sample.startswith(OBSERVED) or (nominal != sample and nominal not in held.shares):
        return
    edges = None if nominal == sample else held.shares[nominal].edges
    if found := variation_effects.Shares.of(events, complete=complete, edges=edges):
        held.shares[sample] = found


def nominal_of(sample: str) -> str:
    """Name the nominal sample of a variation, in the same region: `background@low` for `background.jes.up@low`."""
    name, at, region = sample.partition("@")
    return f"{name.partition('.')[0]}{at}{region}"


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
