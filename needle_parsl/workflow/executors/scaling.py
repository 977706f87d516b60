"""Parsl's executor of worker processes, which gives back idle blocks and only those.

Parsl's own takes a block whose workers have not come yet for idle for ever, and gives back all idle blocks where it was asked
for none: one with more room than tasks would be cancelled at its start, again and again (docs/decisions/0005).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from parsl.executors import HighThroughputExecutor, MPIExecutor


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


class PatchedMpiExecutor(PatchedHtex, MPIExecutor):
    """Programs that run on several nodes."""
