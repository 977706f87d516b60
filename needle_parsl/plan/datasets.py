"""What the tasks of inference begin with: events with their ratios, functions that throw, and ratios that are made again."""

from __future__ import annotations

from dataclasses import dataclass

from needle_parsl.plan import specs
from needle_parsl.plan.specs import Task

OBSERVED = "observed"
"""Observed events are converted like a sample of this name."""
ASIMOV = "asimov"
"""Simulated events of all processes."""


@dataclass(frozen=True)
class Datasets:
    """Events with their log ratios, and counts."""

    asimov: Task | None
    """None in an analysis of binned regions alone."""
    observed: Task | None
    reference: Task | None
    """Given where toys are thrown from the model."""
    counts: list[Task]
    """Of the binned regions."""

    @property
    def name(self) -> str:
        """Name what the headline fit is of: data, as far as they may be looked at."""
        seen = self.observed or (self.binned and all(task.of(specs.Count).observed for task in self.counts))
        return OBSERVED if seen else ASIMOV

    @property
    def binned(self) -> bool:
        """Whether there are binned regions alone."""
        return self.asimov is None

    def simulated(self) -> list[Task]:
        """List what fits of Asimov data need."""
        return [*([self.asimov] if self.asimov else []), *self.counts]

    def headline(self) -> list[Task]:
        """List what fits of the observed data need; of Asimov data without them."""
        return [*([self.observed] if self.observed else []), *self.simulated()]


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
