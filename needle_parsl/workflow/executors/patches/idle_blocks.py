"""Give back blocks that are idle, and only those.

Parsl: 2026.10.26, `HighThroughputExecutor.scale_in`.
Without it: with `htex_auto_scale`, a block whose workers have not come yet counts as idle for ever, and "give back 0 blocks" gives back
    all idle ones. A block with more workers than there are tasks is cancelled before its workers are there, and asked for again two
    seconds later: 260 jobs in ten minutes on a real Slurm (docs/decisions/0005).
Upstream: https://github.com/Parsl/parsl/issues/3696, closed by https://github.com/Parsl/parsl/pull/3721, which mends the rounding of the
    number of blocks. What is left: `scale_in(0, max_idletime=s)` appends a block before it compares their number with 0, and
    `new_block_info` gives a block without managers an infinite idle time.
Not needed any more when `test_plain_parsl_gives_back_a_block_that_has_not_started` fails.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from parsl.executors import HighThroughputExecutor


class PatchedHtex(HighThroughputExecutor):
    """Worker processes."""

    def scale_in(self, blocks: int, max_idletime: float | None = None) -> list[str]:
        """Give blocks back: any, or those whose workers have all been idle for so long."""
        if max_idletime is None:
            return list(super().scale_in(blocks))
        managers: dict[str, list[Any]] = defaultdict(list)
        for manager in self.connected_managers():
            managers[manager["block_id"]].append(manager)
        living = [block for block in managers if block in self._status and not self._status[block].terminal]
        idle = [
            block
            for block in living
            if all(m["tasks"] == 0 and m["idle_duration"] > max_idletime for m in managers[block])
        ]
        chosen, provider = idle[:blocks], self.provider
        for block in chosen:
            self._hold_block(block)
        if chosen and provider is not None:
            provider.cancel([self.blocks_to_job_id[block] for block in chosen])
        return chosen
