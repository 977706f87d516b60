"""What calls of the user's stages need to know, and merges of their outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from needle_parsl.analysis import Diagnostics
from needle_parsl.plan.keys import IF_SAID, NOT_IN_KEY
from needle_parsl.plan.specs.stores import File, Physics

Outputs = tuple[tuple[str, str], ...]
"""Names of outputs with their formats."""


@dataclass(frozen=True, kw_only=True)
class Before:
    """Outputs of an earlier stage, as an argument."""

    argument: str
    outputs: Outputs
    """Empty for a stage of needle's, of which paths are given."""
    items: tuple[str, ...]
    """Names under which several are given; empty where there is just one."""
    places: tuple[str, ...] = field(metadata=NOT_IN_KEY)
    """Relative to the run directory; as many as items, or one."""


@dataclass(frozen=True, kw_only=True)
class OwnCall:
    """One call of a function or command of the user's."""

    work: str
    """The function, or the command line with its placeholders."""
    physics: Physics | None = field(metadata=NOT_IN_KEY)
    """Where the function is; None for a command."""
    code: str
    """The digest of what the function consists of."""
    given: tuple[tuple[str, Any], ...]
    """Arguments by name: values, tables, or a `File`."""
    files: tuple[str, ...] = ()
    """Names of the files among them, without their folders: a function may read a number from one."""
    before: tuple[Before, ...]
    outputs: Outputs
    resources: tuple[str, ...] = ()
    """Digests of files that a command runs or reads."""
    folder: str = field(default="", metadata=NOT_IN_KEY)
    """Where a command runs: beside the analysis."""


@dataclass(frozen=True, kw_only=True)
class OwnMerge:
    """Merge the outputs of all calls of a stage, in their order."""

    how: str
    """`sum`, `concatenate`, or a function of the user's."""
    physics: Physics | None = field(metadata=NOT_IN_KEY)
    """Where the function is; None for a merge of needle's."""
    code: str
    """The digest of what the function consists of."""
    outputs: Outputs
    places: tuple[str, ...] = field(metadata=NOT_IN_KEY)
    """Relative to the run directory."""


@dataclass(frozen=True, kw_only=True)
class NetworksSection:
    """Write the section of the report on the networks of an analysis that a stage names."""

    stage: str
    ratios: tuple[str, ...]
    thresholds: Diagnostics
    """Of that analysis."""
    region: bool = field(default=False, metadata=IF_SAID)
    """Whether it is an unbinned region, and no stage."""


@dataclass(frozen=True, kw_only=True)
class StagesReport:
    """A report of the user's stages alone."""

    name: str
    seed: int
    sections: tuple[str, ...] = field(metadata=NOT_IN_KEY)
    """Paths of the sections, relative to the run directory."""
    warnings: tuple[str, ...] = ()


__all__ = ["Before", "File", "NetworksSection", "OwnCall", "OwnMerge", "StagesReport"]
