"""Several unbinned regions: the analysis of each is that of the file, with what the region says of itself in the place of the top's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from needle_parsl.analysis.tables import MAIN, Analysis
from needle_parsl.errors import Problem
from needle_parsl.reading import Places, TableReader
from needle_parsl.salts import key

INHERITED = ("features", "ratios", "training", "ensemble")
"""Tables of which a region may say single keys; all others are those of the top."""
Table = Mapping[str, Any]


def names(analysis: Analysis) -> tuple[str, ...]:
    """Name the unbinned regions; none where there is one alone, which needs no name.

    The events of `[features] selection` are one of them if there is such a selection.
    """
    own = tuple(name for name, region in analysis.model.regions.items() if region.unbinned)
    return (MAIN, *own) if own and analysis.features.selection else own


def table(whole: Table, name: str) -> dict[str, Any]:
    """Put what a region says into the place of what the top of the file says; without the unbinned regions.

    Args:
        whole: The file.
        name: The region.
    """
    regions = whole["model"]["regions"]
    binned = {other: said for other, said in regions.items() if not _is_unbinned(said)}
    found = {**whole, "model": {**whole["model"], "regions": binned}}
    if name == MAIN:
        return found
    own = regions[name]
    said = {one: own[one] for one in INHERITED if isinstance(own.get(one), Mapping)}
    said["features"] = {**said.get("features", {}), "selection": own.get("selection", "")}
    return found | {one: {**_table(whole.get(one)), **keys} for one, keys in said.items()}


def _table(said: object) -> Table:
    return said if isinstance(said, Mapping) else {}


def _is_unbinned(said: object) -> bool:
    return isinstance(said, Mapping) and said.get("unbinned") is True


def settled(analysis: Analysis, name: str, whole: str, *, first: bool) -> Analysis:
    """Say which region an analysis is of; only the first one has the stages, and what is fitted of all.

    Args:
        analysis: From its table.
        name: The region.
        whole: The selection at the top of the file, of whose events stated yields are; empty for all.
        first: Whether it is the first.
    """
    analysis = replace(analysis, region=name, stated=None if name == MAIN else whole)
    if first:
        return analysis
    model = replace(analysis.model, regions={})
    # 63 bits: what a seed may be.
    seed = key(analysis.seed, "region", name) >> 1
    return replace(analysis, model=model, seed=seed, stages={})


class RegionReader(TableReader):
    """Reads the table of a region; what is wrong in it is told at the key at which the file says it."""

    def __init__(self, places: Places, whole: Table, region: str) -> None:
        """Remember what the region says."""
        super().__init__(places)
        self.whole, self.region = whole, region

    def problem(self, key: str, message: str) -> Problem:
        """Give a message its place in the file."""
        return super().problem(key_in_file(self.whole, self.region, key), message)


def key_in_file(whole: Table, region: str, key: str) -> str:
    """Give the key at which the file says what stands at a key of a region's table."""
    own = _table(whole["model"]["regions"].get(region))
    name, _, rest = key.partition(".")
    inner = rest.partition(".")[0].partition("[")[0]
    if key == "features.selection" and own:
        return f"model.regions.{region}.selection"
    return f"model.regions.{region}.{key}" if inner in _table(own.get(name)) else key


def problems(readers: Sequence[RegionReader]) -> Iterator[Problem]:
    """List what is wrong with regions; of what is wrong with some alone, and said by tables of all, say with which."""
    for own in readers:
        for one in own.problems:
            common = all(one in other.problems for other in readers) or one.key.startswith("model.regions.")
            yield one if common else replace(one, message=f"{one.message} (in the region {own.region})")
