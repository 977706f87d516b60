"""What conversion needs to know."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from needle_parsl.analysis import Particles
from needle_parsl.densities import Density
from needle_parsl.plan.keys import IF_SAID, NOT_IN_KEY, content

REGION = "@"
"""Between a sample and the binned region, in the name of a store."""
WHOLE = "@"
"""Stands for a region: the events that a stated yield is of. No region has such a name."""


def whole(sample: str) -> str:
    """Name the store of the events that the stated yield of a sample is of, where these are not those of the region."""
    return f"{sample}{REGION}{WHOLE}"


@dataclass(frozen=True)
class Physics:
    """The user's Python file; it travels as text."""

    source: str
    path: str = field(metadata=NOT_IN_KEY)
    """That file, or the analysis without one; modules beside it can be imported."""
    imported: tuple[str, ...] = ()
    """Digests of the user's other modules that it imports, or that the analysis names."""
    names: tuple[str, ...] = field(default=(), metadata=NOT_IN_KEY)
    """What files of the run may name of it: the analysis' own networks, and what combines them."""


@dataclass(frozen=True)
class Generate:
    """Run a user's generator function in a process of its own."""

    reference: str
    physics: Physics
    events: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class File:
    """An input file."""

    path: str = field(metadata=NOT_IN_KEY)
    """Empty for the file that the sample's generator writes."""
    digest: str
    """Of its content; the key of the generator's task for a generated file."""
    stamp: tuple[object, ...] = field(default=(), metadata=NOT_IN_KEY)
    """Its state when it was looked at."""
    borders: tuple[int, ...] = field(default=(), metadata=NOT_IN_KEY)
    """Rows at which reading may start, from 0 to their number; empty where that is not known."""
    size: int = field(default=0, metadata=NOT_IN_KEY)
    """Bytes."""
    links: tuple[str, ...] = field(default=(), metadata=NOT_IN_KEY)
    """Other files from which it takes data; its digest is of these, too."""


@dataclass(frozen=True)
class Piece:
    """A range of rows of a file."""

    file: File
    start: int = 0
    stop: int | None = None
    """None: to the end of the file."""
    share: float = field(default=0.0, metadata=NOT_IN_KEY)
    """Part of the sample's bytes that the whole file is."""


@dataclass(frozen=True)
class Joint:
    """What is known jointly of the events of a ratio."""

    ratio: str
    text: str
    """An expression in the columns."""
    score: bool
    """Whether it is a probability, and not a ratio."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a stage of the user's has made, as an argument of a function that makes a column."""

    argument: str
    outputs: tuple[tuple[str, str], ...]
    """Names with their formats; empty for a file whose path is given."""
    place: str = field(metadata=NOT_IN_KEY)
    digest: str


@dataclass(frozen=True, kw_only=True)
class ComputedSpec:
    """A column that a function makes."""

    function: str
    columns: tuple[str, ...]
    derived: tuple[tuple[str, str], ...] = field(default=(), metadata=IF_SAID)
    """Names and expressions of further columns that it gets."""
    given: tuple[Given, ...] = field(default=(), metadata=IF_SAID)


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Turn one sample's files into a store."""

    sample: str
    files: tuple[File, ...]
    tree: str
    features: tuple[str, ...]
    weight: str | float
    selections: tuple[str, ...]
    id: tuple[str, ...]
    salt: int
    derived: tuple[tuple[str, str], ...]
    """Names and expressions of the computed columns that are used, each after those it uses."""
    on_bad_file: str
    """`stop`, or `skip`."""
    computed: tuple[tuple[str, ComputedSpec], ...]
    """Names of the columns that functions make, and how."""
    particles: Particles | None
    physics: Physics | None
    """Where the functions are; None without any."""
    joint: tuple[Joint, ...] = ()
    content: tuple[str, ...] = ()
    """Features by whose values an event is known, where no column names it."""
    nan: float | None = None
    """What NaN in a feature is stored as; None where it is refused."""
    pieces: tuple[Piece, ...] = field(default=(), metadata=NOT_IN_KEY)
    """What this task reads itself; equal files give equal stores however they are cut."""
    parts: tuple[str, ...] = field(default=(), metadata=NOT_IN_KEY)
    """What other tasks have read or merged: their names, with the stage."""
    memory: int = field(default=2**30, metadata=NOT_IN_KEY)
    """Bytes that the task may use, about."""
    region: str = field(default="", metadata=NOT_IN_KEY)
    """The binned region whose events these are; a process may have none there."""

    def plain(self) -> dict[str, Any]:
        """Give plain values of what is kept of the events, with where that lies which columns are computed from."""
        computed = [[name, asdict(how)] for name, how in self.computed]
        return {**content(self), "computed": computed}


@dataclass(frozen=True)
class Read:
    """Read some pieces of a sample into a part of its store."""

    sample: Convert
    """Without files and pieces."""
    pieces: tuple[Piece, ...]
    bits: int
    """Leading bits of the hash that cut all parts into the same cells."""


@dataclass(frozen=True)
class Merge:
    """Merge one range of the hash out of all parts."""

    parts: tuple[str, ...]
    share: tuple[int, int]
    """(k, n): the k-th of n ranges."""
    memory: int = field(metadata=NOT_IN_KEY)


@dataclass(frozen=True)
class Share:
    """A density and the expected events it stands for."""

    density: Density
    yield_: float | None
    """None: the sum of the weights."""
    of: str | None = field(default=None, metadata=IF_SAID)
    """The selection of the events that the stated yield is of; None where these are those of the density."""

    @property
    def counted(self) -> str:
        """Name the store of the events that the yield is of."""
        return self.density.name if self.of is None else whole(self.density.name)
