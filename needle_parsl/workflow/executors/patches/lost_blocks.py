"""Know whether the block of a lost pool of workers has ended under it, as at the end of its walltime.

Parsl: 2026.10.26, `ManagerLost` and `HighThroughputExecutor`.
Without it: a pool that was lost with its job looks like one that has crashed, so that tasks use up their retries where jobs are short. The
    exception names the manager and not its block; the two are found together in the layout of Parsl's logs.
Upstream: https://github.com/Parsl/parsl/issues/1905 (open); the sentence for it: "Say in ManagerLost to which block the manager belonged".
Not needed any more when `test_plain_parsl_does_not_say_which_block_was_lost` fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def ended(error: Any, record: Mapping[str, Any]) -> bool:
    """Say whether the block of a lost manager has ended; a manager has a folder of logs in that of its block.

    Args:
        error: Parsl's `ManagerLost`.
        record: Parsl's record of the task.
    """
    executor = record["dfk"].executors[record["executor"]]
    manager = error.manager_id.decode() if isinstance(error.manager_id, bytes) else error.manager_id
    blocks = [
        path.parent.name.removeprefix("block-") for path in Path(executor.worker_logdir).glob(f"block-*/{manager}")
    ]
    jobs = [executor.blocks_to_job_id[block] for block in blocks if block in executor.blocks_to_job_id]
    return bool(jobs) and all(status.terminal for status in executor.provider.status(jobs))
