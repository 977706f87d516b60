"""Take a job that Slurm has forgotten for one that has ended.

Parsl: 2026.10.26, `SlurmProvider` where `sacct` does not work, so that it asks `squeue`.
Without it: `squeue` lists no ended jobs, so that none is seen at its end, and fails for one that it has forgotten: Parsl takes that for no
    news, and the job runs for ever (docs/decisions/0005).
Upstream: https://github.com/Parsl/parsl/issues/1588 (open).
Not needed any more when `test_plain_parsl_waits_for_a_job_that_slurm_has_forgotten` fails.
"""

from __future__ import annotations

from parsl.providers import SlurmProvider

ASKED = "squeue --noheader --format='%i %t'"
"""How Parsl asks."""


class ForgottenJobs(SlurmProvider):
    """Slurm, asked for ended jobs, too."""

    def execute_wait(self, cmd: str, timeout: int | None = None) -> tuple[int, str, str]:
        """Run one of Slurm's commands; a job that it has forgotten has ended."""
        asked = cmd.replace("squeue", "squeue --states=all", 1) if cmd.startswith(ASKED) else cmd
        code, out, errors = super().execute_wait(asked, timeout)
        return (0, out, "") if code and "Invalid job id" in errors else (code, out, errors)
