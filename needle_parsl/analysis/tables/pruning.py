"""Variations that cannot matter."""

from __future__ import annotations

from dataclasses import dataclass, field

from needle_parsl.reading import within


@dataclass(frozen=True)
class Pruning:
    """`[pruning]`: variations whose trainings are spared, since yields and histograms of features show that they cannot matter (docs/statistics.md)."""

    prune: bool = False
    """Whether they are left out; `needle plan` lists them in any case."""
    threshold: float = field(default=0.05, metadata=within(0.0, above=True))
    """A variation cannot matter where it moves the parameter of interest by less than this, at most, as far as its histograms and yields tell. Unit: standard
    errors of the parameter. Example: `0.02`."""
