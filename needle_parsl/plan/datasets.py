"""What the tasks of inference begin with: events with their ratios, functions that throw, and ratios that are made again."""

from __future__ import annotations

from dataclasses import dataclass

from needle_parsl.plan import specs
from needle_parsl.plan.specs import Task


@dataclass(frozen=True)
class Datasets:
    """Events with their log ratios."""

    asimov: Task
    observed: Task | None
    reference: Task | None
    """Given where toys are thrown from the model."""
    counts: list[Task]
    """Of the binned regions."""

    def simulated(self) -> list[Task]:
        """List what fits of Asimov data need."""
        return [self.asimov, *self.counts]

    def headline(self) -> list[Task]:
        """List what fits of the observed data need; of Asimov data without them."""
        return [*([self.observed] if self.observed else []), *self.simulated()]


@dataclass(frozen=True)
class Thrower:
    """A user's function that makes the events of toys."""

    spec: specs.Thrower
    estimators: tuple[Task, ...]


@dataclass(frozen=True)
class Redone:
    """Ratios of the model that are made again."""

    spec: specs.Again
    before: tuple[Task, ...]
    """What they are made from."""
