"""Batch jobs of a run, with a scheduler whose answers are the test's: what is written down of them, and what the user is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parsl.jobs.states import JobState

from needle_parsl.site import Site
from needle_parsl.workflow.executors import providers
from needle_parsl.workflow.executors.block_errors import BlockErrorHandler
from needle_parsl.workflow.executors.jobs import Jobs, SpentError
from needle_parsl.workflow.executors.patches.refusals import RefusedJobError

SITE = Site(
    description="t",
    scheduler="slurm",
    executor="htex",
    account="m1",
    walltime="01:00:00",
    workers_per_node=4,
    budget="1.5 node-hours",
)


class Executor:
    """What a handler of block errors looks at."""

    def __init__(self, provider: Any) -> None:
        self.provider, self.blocks_to_job_id = provider, {"0": "12"}

    def outstanding(self) -> int:
        return 1


@pytest.fixture
def slurm(scheduler: Any, tmp_path: Path) -> Any:
    scheduler.said = []
    made = providers.provider(SITE, "tasks", "needle-1a2b", Jobs(tmp_path, 1.5, scheduler.said.append))
    made.script_dir = str(tmp_path)
    return made


def test_a_job_is_written_down_from_its_submission_to_its_end(slurm: Any, scheduler: Any, tmp_path: Path) -> None:
    scheduler.answers |= {"sbatch": (0, "Submitted batch job 12\n", ""), "squeue": (0, "12 PD\n", "")}
    assert slurm.submit("true", 1) == "12"
    slurm.jobs.jobs["12"] = replace(slurm.jobs.jobs["12"], submitted=1.0)  # long ago
    (script,) = tmp_path.glob("needle-1a2b.tasks.*")
    assert "#SBATCH --account=m1" in script.read_text()
    assert slurm.status(["12"])[0].state == JobState.PENDING
    assert scheduler.said == ["job 12 [tasks] waits in the queue: 12 PD"]
    slurm.looked = 0.0
    scheduler.answers["squeue"] = (1, "", "slurm_load_jobs error: Invalid job id specified\n")
    assert slurm.status(["12"])[0].state == JobState.COMPLETED
    job = Jobs(tmp_path).jobs["12"]
    assert (job.shape, job.state) == ("tasks", "COMPLETED")
    assert job.ended >= job.submitted > 0
    assert slurm.cancel(["12"]) == [True]
    assert "scancel" not in scheduler.asked


def test_a_cancelled_job_is_none_that_ended_by_itself(slurm: Any, scheduler: Any, tmp_path: Path) -> None:
    scheduler.answers |= {
        "sbatch": (0, "Submitted batch job 12\n", ""),
        "squeue": (0, "12 R\n", ""),
        "scancel": (0, "", ""),
    }
    slurm.submit("true", 1)
    slurm.status(["12"])
    assert slurm.cancel(["12"]) == [True]
    assert Jobs(tmp_path).jobs["12"].state == "CANCELLED"
    assert not [words for words in scheduler.said if "has ended" in words]


def test_a_refusal_is_a_verdict_and_a_spent_budget_another(slurm: Any, scheduler: Any, tmp_path: Path) -> None:
    scheduler.answers["sbatch"] = (1, "", "sbatch: error: Invalid account\n")
    with pytest.raises(RefusedJobError, match="Invalid account"):
        slurm.submit("true", 1)
    handler, executor = BlockErrorHandler(tmp_path), Executor(slurm)
    assert handler._refused(executor, {}) == "the scheduler refuses the job: Invalid account"
    slurm.again = 0.0
    scheduler.answers |= {"sbatch": (0, "Submitted batch job 12\n", ""), "squeue": (0, "12 R\n", "")}
    slurm.submit("true", 1)
    assert (slurm.refused, slurm.hopeless()) == ((), False)
    with pytest.raises(SpentError, match="has no room for one more job of 1"):
        slurm.submit("true", 1)
    assert handler._refused(executor, {}).startswith("the budget of 1.5 node-hours has no room")
