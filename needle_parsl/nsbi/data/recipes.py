"""What is to be made of the rows of a sample's files: which columns, features, weights, ids and selections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from needle_parsl import expressions
from needle_parsl.nsbi.data.particles import ParticleRecipe

ReadOutputs = Callable[[str, Sequence[Sequence[str]]], Any]
"""Reads what a stage of the user's has made: its place, and the names of outputs with their formats."""
OBSERVED = "observed"
"""The sample of observed data, which alone may have no events: nothing observed is a result, too."""


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One file to read."""

    path: str
    tree: str
    label: str
    """What the ids of its events are made from, where no column names them: the digest of its content."""
    stamp: tuple[object, ...] = ()
    """Its state when it was looked at; empty for a file that nobody else writes."""
    share: float = 0.0
    """Its part of the bytes of the sample."""
    links: tuple[str, ...] = ()
    """Other files from which it takes data."""


@dataclass(frozen=True)
class FileRange:
    """A range of rows of a file."""

    file: InputFile
    start: int = 0
    stop: int | None = None
    """None: to the end of the file."""


@dataclass(frozen=True)
class ComputedColumn:
    """A column that a function makes."""

    name: str
    function: str
    """`"physics.py:NAME"`; it takes an awkward array of events and returns a number for each."""
    columns: tuple[str, ...]
    """What it is given, flat or jagged."""
    derived: tuple[tuple[str, str], ...] = ()
    """Names and expressions of further columns that it is given."""
    given: tuple[tuple[str, Any], ...] = ()
    """Further arguments by name: what stages of the user's have made."""

    @staticmethod
    def of(name: str, how: Mapping[str, Any], read: ReadOutputs) -> ComputedColumn:
        """Make one of the plain values of a plan's spec."""
        given = tuple((one["argument"], read(one["place"], one["outputs"])) for one in how.get("given", ()))
        derived = tuple((name, text) for name, text in how.get("derived", ()))
        return ComputedColumn(name, how["function"], tuple(how["columns"]), derived, given)


@dataclass(frozen=True)
class JointColumns:
    """What is known of an event beyond what can be observed: its joint score or joint ratio."""

    ratio: str
    """The ratio that it is for."""
    text: str
    """An expression in the columns."""
    score: bool
    """Whether it is a probability, and not a ratio."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to make of the rows of a sample's files."""

    sample: str
    features: tuple[str, ...]
    weight: str | float
    selections: tuple[str, ...]
    """Expressions that must all hold."""
    id: tuple[str, ...]
    """Columns that name an event; empty: content of the file and row."""
    derived: tuple[tuple[str, str], ...] = ()
    """Names and expressions of derived columns, each after those it uses."""
    computed: tuple[ComputedColumn, ...] = ()
    """Columns that functions of the user make; derived ones may use them."""
    particles: ParticleRecipe | None = None
    physics: tuple[str, str] = ("", "")
    """Text and path of the file that the functions are in."""
    joint: tuple[JointColumns, ...] = ()
    """What is known jointly of each event."""
    content: tuple[str, ...] = ()
    """Features by whose values an event is known, where no column names it; empty for the content of the file and the row."""
    nan: float | None = None
    """What NaN in a feature, or in one of a particle, is stored as; None where it is refused."""

    @staticmethod
    def of(spec: Mapping[str, Any], physics: tuple[str, str], read: ReadOutputs) -> Recipe:
        """Make a recipe of the plain values of a plan's spec.

        Args:
            spec: Of a conversion.
            physics: Text and path of the user's Python file.
            read: Reads what stages of the user's have made for columns.
        """
        jets = spec["particles"]
        chosen = (
            ParticleRecipe(tuple(jets["names"]), jets["collection"], jets["max"], jets["sort"], jets["selection"])
            if jets
            else None
        )
        return Recipe(
            sample=spec["sample"],
            features=tuple(spec["features"]),
            weight=spec["weight"],
            selections=tuple(spec["selections"]),
            id=tuple(spec["id"]),
            derived=tuple((name, text) for name, text in spec["derived"]),
            computed=tuple(ComputedColumn.of(name, how, read) for name, how in spec["computed"]),
            particles=chosen,
            physics=physics,
            joint=tuple(JointColumns(**known) for known in spec["joint"]),
            content=tuple(spec["content"]),
            nan=spec["nan"],
        )

    def columns(self) -> list[str]:
        """List the columns that must be read, in a fixed order."""
        names = set(self.features) | set(self.id)
        known = (joint.text for joint in self.joint)
        for text in (*self.selections, self.weight, *(text for _, text in self.derived), *known):
            names |= expressions.parse(text).names() if isinstance(text, str) else set()
        made = {name for name, _ in self.derived} | {column.name for column in self.computed}
        return sorted(names - made)

    def lists(self) -> list[str]:
        """List the columns that may be jagged, in a fixed order."""
        used = {name for column in self.computed for name in column.columns}
        return sorted(used - set(self.columns()) | set(self.particles.columns() if self.particles else ()))

    def known(self, columns: Iterable[str]) -> list[str]:
        """List the names that expressions may use: the columns of a file, and the derived ones."""
        return [*columns, *(name for name, _ in self.derived), *(column.name for column in self.computed)]
