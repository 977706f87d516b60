"""Start the interchange of MPI programs by a command of several words.

Parsl: 2026.10.26, `MPIExecutor.__init__`.
Without it: the constructor takes `interchange_launch_cmd` as one text only, and checks that, although it hands it on to
    `HighThroughputExecutor`, which wants a list of words. The interchange of MPI programs could not be tied to this process.
Upstream: no issue was found; one could be: "MPIExecutor: interchange_launch_cmd is annotated Optional[str], and passed on to a parameter that
    is Optional[Sequence[str]]".
Not needed any more when `test_plain_parsl_wants_one_word_for_the_interchange_of_mpi_programs` fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parsl.executors import MPIExecutor

from needle_parsl.workflow.executors.patches.idle_blocks import PatchedHtex


class PatchedMpiExecutor(PatchedHtex, MPIExecutor):
    """Programs that run on several nodes."""

    def __init__(self, *, interchange_launch_cmd: Sequence[str], **settings: Any) -> None:
        super().__init__(**settings)
        self.interchange_launch_cmd = interchange_launch_cmd
