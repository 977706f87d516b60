"""What the tasks of inference begin with: events with their ratios, functions that throw, and ratios that are made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from needle_parsl.plan import specs
from needle_parsl.plan.specs import Task

OBSERVED = "observed"
"""Observed events are converted like a sample of this name."""
ASIMOV = "asimov"
"""Simulated events of all processes."""
REFERENCE = "reference"
"""Events of the reference, with the log ratios of the model."""


@dataclass(frozen=True)
class RegionEvents:
    """The events of an unbinned region, with their log ratios."""

    asimov: Task
    observed: Task | None
    reference: Task | None
    """Given where toys are thrown from the model."""


@dataclass(frozen=True)
class Datasets:
    """Events with their log ratios, and counts."""

    regions: Mapping[str, RegionEvents]
    """Of the unbinned regions, the first one's own first; none in an analysis of binned regions alone."""
    counts: list[Task]
    """Of the binned regions."""
    validations: Sequence[Task] = ()
    """Of those that are only looked at."""

    @property
    def name(self) -> str:
        """Name what the headline fit is of: data, as far as they may be looked at."""
        seen = self.observed() or (self.binned and all(task.of(specs.Count).observed for task in self.counts))
        return OBSERVED if seen else ASIMOV

    @property
    def binned(self) -> bool:
        """Whether there are binned regions alone."""
        return not self.regions

    @property
    def several(self) -> tuple[str, ...]:
        """Name the unbinned regions; empty where there is one alone."""
        return tuple(self.regions) if len(self.regions) > 1 else ()

    def observed(self) -> list[Task]:
        """List the observed events of all regions; none as long as they are hidden."""
        return [own.observed for own in self.regions.values() if own.observed]

    def reference(self) -> list[Task]:
        """List the events that toys of the model are drawn from."""
        return [own.reference for own in self.regions.values() if own.reference]

    def simulated(self) -> list[Task]:
        """List what fits of Asimov data need."""
        return [*(own.asimov for own in self.regions.values()), *self.counts]

    def headline(self) -> list[Task]:
        """List what fits of the observed data need; of Asimov data without them."""
        return [*self.observed(), *self.simulated()]


@dataclass(frozen=True)
class ThrowerTasks:
    """A user's function that makes the events of toys."""

    spec: specs.Thrower
    estimators: tuple[Task, ...]


@dataclass(frozen=True)
class ReplicaSpec:
    """Ratios of the model that are made again."""

    spec: specs.Resampling
    before: tuple[Task, ...]
    """What they are made from."""
