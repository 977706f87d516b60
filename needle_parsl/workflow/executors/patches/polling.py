"""Ask the scheduler as often as the site says, and never twice within a moment.

Parsl: 2026.10.26, `status_polling_interval` of `SlurmProvider` and `PBSProProvider`.
Without it: the scheduler is asked once a minute, whatever the site can bear. A pool that is lost with its job is then taken for one that has
    crashed, which costs its tasks a retry; and each of a hundred lost tasks would ask the scheduler for itself (docs/decisions/0005).
Upstream: no issue was found; one could be: "Make status_polling_interval an argument of the cluster providers".
Not needed any more when `test_plain_parsl_asks_the_scheduler_once_a_minute` fails.
"""

from __future__ import annotations

import time

from parsl.providers.cluster_provider import ClusterProvider

FRESH = 2.0
"""Seconds for which an answer of the scheduler is good enough."""


class Polling(ClusterProvider):
    """Asks seldom; mixed into one of Parsl's providers."""

    interval = 60
    """Seconds between two looks."""
    looked = 0.0
    """When the scheduler was asked last, by the monotonic clock."""

    @property
    def status_polling_interval(self) -> int:
        """Seconds between two looks."""
        return self.interval

    def _status(self) -> None:
        """Ask how the jobs are, unless that was asked a moment ago."""
        if time.monotonic() - self.looked < FRESH:
            return
        self.looked = time.monotonic()
        super()._status()
