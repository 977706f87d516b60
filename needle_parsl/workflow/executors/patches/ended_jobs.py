"""Remember how a job has ended, and cancel none that has.

Parsl: 2026.10.26, `_status` and `cancel` of `SlurmProvider` and `PBSProProvider`.
Without it: ended jobs are not asked for any more and then taken for missing ones, so that CANCELLED, FAILED and TIMEOUT become COMPLETED one
    look later; `cancel` calls jobs cancelled that had ended long before (docs/decisions/0005).
Upstream: https://github.com/Parsl/parsl/issues/3488 (open), about the warning that goes with it.
Not needed any more when `test_plain_parsl_forgets_how_a_job_has_ended` fails.
"""

from __future__ import annotations

from collections.abc import Sequence

from parsl.jobs.states import JobState, JobStatus
from parsl.providers.cluster_provider import ClusterProvider


class EndedJobs(ClusterProvider):
    """Remembers ends; mixed into one of Parsl's providers."""

    def _status(self) -> None:
        """Ask how the jobs are; an end is final."""
        ended = {job: facts["status"] for job, facts in self.resources.items() if facts["status"].terminal}
        super()._status()
        for job, status in ended.items():
            self.resources[job]["status"] = status

    def cancel(self, job_ids: Sequence[object]) -> list[bool]:
        """End jobs; those that have ended stay as they are. Say which have."""
        living = [job for job in job_ids if not self.resources[job]["status"].terminal]
        if living and all(super().cancel(living)):
            for job in living:
                self.resources[job]["status"] = JobStatus(JobState.CANCELLED)
        return [self.resources[job]["status"].terminal for job in job_ids]
