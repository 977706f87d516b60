"""All tasks of a run, and parts of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

from needle_parsl.errors import InputError, closest
from needle_parsl.plan import pruning
from needle_parsl.plan.specs import Task
from needle_parsl.plan.stages import ALL, STAGES, Stage


@dataclass(frozen=True)
class Plan:
    """All tasks of a run."""

    tasks: tuple[Task, ...]
    networks: int
    shared: int = 0
    """Calls of the user's stages that are made from the same as another one, and so need no task."""
    kept: int = 0
    """Networks of the ensembles that the search has trained."""
    trials: int = 0
    """Networks that the search trains."""
    verdicts: tuple[pruning.VariationVerdict, ...] = ()
    """Variations that cannot matter, or by their yield alone, whether they are left out or not."""
    regions: tuple[str, ...] = ()
    """Unbinned regions beside the first one: their tasks are of the run's own stages."""

    def stages(self) -> dict[str, int]:
        """Count the tasks by stage, in order."""
        counts = Counter(task.stage.name for task in self.tasks)
        return {stage.name: counts[stage.name] for stage in self.order() if stage.name in counts}

    def order(self) -> tuple[Stage, ...]:
        """List the stages: those of needle, and those that only this plan has, each where its first task is."""
        found = {stage.name: stage for stage in ALL}
        last = ""
        for task in self.tasks:
            if task.stage.name not in found:
                names = list(found)
                place = names.index(last) + 1 if last else 0
                found = dict(
                    [*list(found.items())[:place], (task.stage.name, task.stage), *list(found.items())[place:]]
                )
            last = task.stage.name
        return tuple(found.values())

    def needed(self, held: Collection[str]) -> Plan:
        """Leave out tasks whose outputs only pass on to tasks that are done.

        Args:
            held: Keys of the tasks that are done.
        """
        kept: list[Task] = []
        wanted: set[str] = set()
        for task in reversed(self.tasks):
            if task.stage.temporary and task.key not in wanted:
                continue
            kept.append(task)
            if task.key not in held:
                wanted.update(task.after)
        return replace(self, tasks=tuple(reversed(kept)))

    def until(self, stage: str) -> Plan:
        """Keep the stages up to one.

        Raises:
            InputError: There is no such stage.
        """
        names = [known.name for known in self.order()]
        parts = {task.part for task in self.tasks if task.part}
        if stage not in {*names, *parts}:
            raise InputError(f"--until {stage}: there is no such stage{closest(stage, [*names, *parts])}")
        kept = names[: names.index(stage) + 1] if stage in STAGES else [stage]
        return self._leading_to(kept)

    def _leading_to(self, stages: Collection[str]) -> Plan:
        """Keep some stages, or analyses of stages, and what they need."""
        wanted: set[str] = set()
        for task in reversed(self.tasks):
            own = task.part == "" or task.part in self.regions
            if (own and task.stage.name in stages) or task.part in stages or task.key in wanted:
                wanted |= {task.key, *task.after}
        return replace(self, tasks=tuple(task for task in self.tasks if task.key in wanted))
