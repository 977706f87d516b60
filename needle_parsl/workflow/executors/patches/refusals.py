"""Wait after a scheduler has refused a job, and say its words.

Parsl: 2026.10.26, `SlurmProvider.submit` and `PBSProProvider.submit`, called by `jobs.strategy`.
Without it: a refused submission is repeated at every look, once a second here, and the user is told "Could not read job ID from submit
    command standard output" for whatever `sbatch` has said (docs/decisions/0005).
Upstream: https://github.com/Parsl/parsl/issues/3235, closed, for broken configurations; the sentence for the rest: "Wait between two failed
    submissions of a block, and give the scheduler's own words in the status of the block".
Not needed any more when `test_plain_parsl_submits_at_once_again_what_was_refused` fails.
"""

from __future__ import annotations

import re
import time
from typing import Any

from parsl.providers.cluster_provider import ClusterProvider
from parsl.providers.errors import SubmitException

from needle_parsl.errors import TaskError

PAUSE = 30.0
"""Seconds after a refusal in which nothing is submitted."""
MOST = 3
"""Refusals in a row after which there is no hope, whatever their words."""
PASSING = re.compile(
    r"timed? ?out|unable to contact|connection|temporar|try again|busy|submit.*limit|limit.*submit|too many",
    re.IGNORECASE,
)
"""Words of refusals that another try may not meet again."""


class RefusedJobError(TaskError):
    """The scheduler has refused a job."""


class Refusals(ClusterProvider):
    """Remembers refusals; mixed into one of Parsl's providers."""

    refused: tuple[str, ...] = ()
    """Reasons of the refusals since the last job that was taken."""
    again = 0.0
    """When something may be submitted again, by the monotonic clock."""

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl") -> Any:
        """Submit a block, unless one was refused a moment ago.

        Raises:
            RefusedJobError: The scheduler does not take it, or was not asked.
        """
        if time.monotonic() < self.again:
            raise RefusedJobError(self.refused[-1])
        try:
            job = super().submit(command, tasks_per_node, job_name)
        except SubmitException as error:
            self.refused = (*self.refused, reasons(error.stderr or error.stdout or str(error)))
            self.again = time.monotonic() + PAUSE
            raise RefusedJobError(self.refused[-1]) from error
        self.refused = ()
        return job

    def hopeless(self) -> bool:
        """Whether the same job would be refused again."""
        return bool(self.refused) and (not PASSING.search(self.refused[-1]) or len(self.refused) > MOST)


def reasons(text: str) -> str:
    """Give the scheduler's own words, each once: `sbatch: error: X` is X."""
    found = [line.split("error:", 1)[-1].strip() for line in text.splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(line for line in found if line))
