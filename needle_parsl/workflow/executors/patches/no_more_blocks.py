"""Stop asking for blocks without failing the tasks that wait for them.

Parsl: 2026.10.26, `BlockProviderExecutor.set_bad_state_and_fail_all`.
Without it: the only public way to keep Parsl from asking for more blocks fails every task that waits, one line and one ledger entry each,
    and ends its loop early where one of them has just ended. Here a run with a single reason ends in one sentence; its tasks were not run.
Upstream: https://github.com/Parsl/parsl/issues/3993 (open), about the loop; another could be: "Let a block error handler stop scaling out without
    failing all tasks".
Not needed any more when `test_plain_parsl_fails_all_tasks_where_it_stops_asking_for_blocks` fails.
"""

from __future__ import annotations

from typing import Any


def stop(executor: Any) -> None:
    """Let Parsl ask for no more blocks of an executor."""
    executor._executor_bad_state.set()  # noqa: SLF001  no other way
