"""Let MPI programs run on this machine alone, where no scheduler says which nodes there are.

Parsl: 2026.10.26, `identify_scheduler` and `MPITaskScheduler` of `mpi_resource_management`.
Without it: a pool of workers for MPI programs ends at once with "mpi_mode does not support scheduler:Scheduler.Unknown".
Upstream: no issue was found; one could be: "MPIExecutor cannot be used with LocalProvider: take localhost for the list of nodes when there is
    no scheduler".
Not needed any more when `test_plain_parsl_runs_no_mpi_programs_without_a_scheduler` fails.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from needle_parsl import files


def variables(logs: Path) -> dict[str, str]:
    """Write a list of nodes, this one, and name it as PBS would; give the variable, quoted for a shell."""
    nodes = logs / "nodes-mpi"
    files.write_text(nodes, "localhost\n")
    return {"PBS_NODEFILE": shlex.quote(str(nodes))}
