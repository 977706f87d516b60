"""What a run writes down as its tasks end: a line of the ledger for each, and `run.json` at most once a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from needle_parsl import __version__, rundir
from needle_parsl.errors import InputError
from needle_parsl.files import write_json
from needle_parsl.plan import Plan, Task
from needle_parsl.records import Record
from needle_parsl.workflow import cost, failure_reasons, ledger, run_state
from needle_parsl.workflow.prepared_run import Prepared


@dataclass
class Outcome:
    """How a run goes, and in the end went."""

    done: list[Record] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    wrong_input: bool = False
    """A task found that the input is wrong."""

    def after(self, earlier: Outcome) -> Outcome:
        """Put it behind that of an earlier part of the run."""
        return Outcome([*earlier.done, *self.done], self.failed, self.wrong_input)


class Journal:
    """Writes down each task as it ends: a line in the ledger, and `run.json` at most once a second."""

    def __init__(self, prepared: Prepared, on_end: Callable[[Task, Record], None]) -> None:
        self.prepared, self.on_end, self.outcome = prepared, on_end, Outcome()
        self.lock, self.started, self.written = threading.Lock(), time.time(), 0.0

    def finished(self, task: Task, record: Record | None, error: BaseException | None) -> None:
        """Note a task that has ended; one that never ran, because one before it failed, is not noted."""
        if record is None and failure_reasons.not_run(task, error):
            return
        root, outcome = self.prepared.root, self.outcome
        ended = record or failure_reasons.record(task, error, root)
        with self.lock:
            ledger.append(root, ended)
            if record and task.stage.name == "convert":
                rundir.discard_parts(root / task.folder, task.own().name)
            (outcome.failed if ended.reason else outcome.done).append(ended)
            outcome.wrong_input |= isinstance(error, InputError)
            if time.time() - self.written > 1:
                self.state("running")
        with suppress(OSError):  # a terminal that has gone is no reason to end a run
            self.on_end(task, ended)

    def state(self, status: str) -> None:
        """Write `run.json`."""
        prepared, outcome, analysis = self.prepared, self.outcome, self.prepared.loaded.analysis
        self.written = time.time()
        facts = {
            "schema": run_state.SCHEMA,
            "name": analysis.name,
            "status": status,
            "analysis": str(prepared.loaded.path.resolve()),
            "seed": analysis.seed,
            "needle": __version__,
            "versions": run_state.versions(),
            "started": self.started,
            "seconds": round(self.written - self.started, 3),
            "tasks": {
                "total": len(prepared.plan.tasks),
                "done": len(outcome.done),
                "failed": len(outcome.failed),
                "reused": len(prepared.done),
            },
            "networks": prepared.plan.networks,
            "units": cost.units(prepared.plan.tasks),
            "stages": _stages(prepared.plan, [*prepared.done.values(), *outcome.done]),
            "unblinded": list(prepared.unblinded),
            "inputs": asdict(prepared.looked),
            **({"stage_inputs": asdict(prepared.stages)} if prepared.stages else {}),
            **({"stage_analyses": prepared.analyses} if prepared.analyses else {}),
            **({"region_inputs": prepared.regions} if prepared.regions else {}),
        }
        write_json(prepared.root / rundir.RUN, facts)


def _stages(planned: Plan, records: list[Record]) -> dict[str, dict[str, float]]:
    """Count tasks, and add up seconds, by stage."""
    return {
        stage: {
            "tasks": count,
            "done": sum(r.stage == stage for r in records),
            "seconds": round(sum(r.seconds for r in records if r.stage == stage), 3),
        }
        for stage, count in planned.stages().items()
    }
