"""The members for which stages of the user's are called: combinations of lists, files by pattern, and names for folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

from needle_parsl import addresses
from needle_parsl.analysis import Analysis, OwnStage
from needle_parsl.analysis.tables.stages import LISTS, MADE
from needle_parsl.densities import Density
from needle_parsl.plan.builder import Item
from needle_parsl.plan.keys import digest
from needle_parsl.plan.specs import File

MERGED, WHOLE = "merged", "all"
"""Names of the output of a merge, and of a stage that is called once."""
LONGEST = 80
"""Bytes of the name of an item."""


def items(analysis: Analysis, own: OwnStage, files: Mapping[str, Sequence[File]]) -> Iterator[Item]:
    """List the combinations of the lists of a stage, the last list varying fastest; one without members if there are no lists."""
    found: list[Item] = [{}]
    for name, said in own.over.items():
        found = [{**item, name: member} for item in found for member in _members(analysis, said, item, files)]
    yield from found


def _members(
    analysis: Analysis, said: str | Sequence[Any], item: Item, files: Mapping[str, Sequence[File]]
) -> Iterable[Any]:
    if not isinstance(said, str):
        return said
    if said not in LISTS:
        return files[said]
    if said == "files":
        wanted = [str(item["sample"])] if item.get("sample") in analysis.samples else list(analysis.samples)
        patterns = dict.fromkeys(
            text for name in wanted for text in analysis.samples[name].files if not text.startswith(MADE)
        )
        return dict.fromkeys(chain.from_iterable(files[text] for text in patterns))
    together = [Density(sample, at=one.point()) for sample, one in analysis.joint()]
    varied = [f"{nuisance}.{side}" for _, nuisance, side, _ in analysis.varied()]
    varied += [density.variation for density in together]
    ratios = [name for name in analysis.ratios.targets if not analysis.reference_of(name)]
    ratios += [f"{sample}.{nuisance}.{side}" for sample, nuisance, side, _ in analysis.varied()]
    ratios += [density.name for density in together]
    lists: dict[str, Iterable[Any]] = {
        "samples": analysis.samples,
        "variations": dict.fromkeys(["nominal", *varied]),
        "ratios": ratios,
        "members": range(analysis.training.count()),
    }
    return lists[said]


def patterns(analysis: Analysis) -> list[tuple[str, str]]:
    """List the patterns of files over which stages go, each with its key."""
    found = [
        (f"stages.{name}.over.{axis}", said)
        for name, own in analysis.stages.items()
        for axis, said in own.over.items()
        if isinstance(said, str) and said not in LISTS
    ]
    if any(said == "files" for own in analysis.stages.values() for said in own.over.values()):
        for name, sample in analysis.samples.items():
            found += [(f"samples.{name}.files", text) for text in sample.files if not text.startswith(MADE)]
    return found


def offered(own: OwnStage) -> list[str]:
    """List the names of the arguments that a call may take."""
    found = [key for name in own.over for key in fields(own, name)]
    return list(dict.fromkeys([*own.over, *found, *own.after, *own.params, *own.outputs]))


def fields(own: OwnStage, name: str) -> list[str]:
    """List the fields of the members of a list, without their names."""
    said = own.over[name]
    members = [one for one in said if isinstance(one, dict)] if not isinstance(said, str) else []
    return [key for one in members for key in one if key != "name"]


def named(found: Iterable[Item], kind: str = "", taken: Iterable[str] = (MERGED,)) -> Iterator[tuple[str, Item]]:
    """Give each item a name of its own, that of a folder; with what its kind is called in front, and none that is taken."""
    items = list(found)
    names = ["-".join([*([kind] if kind else []), *map(label, item.values())]) or WHOLE for item in items]
    yield from zip(distinct(list(map(_short, names)), taken), items, strict=True)


def _short(name: str) -> str:
    """Cut a name that is too long for a file."""
    if len(name.encode()) <= LONGEST:
        return name
    return f"{name.encode()[: LONGEST - 9].decode(errors='ignore')}-{digest(name)[:8]}"


def label(member: Any) -> str:
    """Name a member of a list, without what a folder's name may not have."""
    text = identity(member)
    text = PurePosixPath(addresses.name(text)).stem if isinstance(member, File) else text
    return re.sub(r"[^\w+.]", "_", text).lstrip(".") or "_"


def identity(member: Any) -> str:
    """Tell members apart: the path of a file, the name of a table, a value."""
    if isinstance(member, File):
        return member.path
    return str(member["name"]) if isinstance(member, Mapping) else str(member)


def distinct(names: Sequence[str], taken: Iterable[str] = ()) -> tuple[str, ...]:
    """Number names that occur more than once, or are taken; no number makes a name that another one has."""
    seen, known = set(taken), {*names, *taken}
    found = []
    for name in names:
        own, number = name, 1
        while own in seen or (number > 1 and own in known):
            number += 1
            own = f"{name}.{number}"
        seen.add(own)
        found.append(own)
    return tuple(found)
