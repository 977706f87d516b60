"""Begin the processes of a pool of workers with what each needs of Parsl.

Parsl: 2026.10.26, `SpawnContext` of `process_worker_pool`; Python 3.11 to 3.13, `multiprocessing.spawn.get_preparation_data`.
Without it: each worker, and the helper that holds the list of tasks, imports all of Parsl again as its main program, with the SDK of Globus
    Compute and SQLAlchemy where they are installed: most of a second and several hundred files for each process.
Upstream: https://github.com/Parsl/parsl/issues/3818 (open).
Not needed any more when `test_plain_parsl_begins_its_workers_with_all_of_it` fails.
"""

from __future__ import annotations

import sys
from multiprocessing import spawn
from typing import Any

from needle_parsl.workflow.executors.patches import spared_imports

POOL = "parsl.executors.high_throughput.process_worker_pool"


def begin_here() -> None:
    """Let the processes that this one starts begin with this module in the place of Parsl's program."""
    plain = spawn.get_preparation_data

    def prepared(name: str) -> dict[str, Any]:
        """Name this module as the main program."""
        return {**plain(name), "init_main_from_name": __name__}

    vars(spawn)["get_preparation_data"] = prepared


def __getattr__(name: str) -> Any:
    """Give what Parsl's program has to a process that looks for it here."""
    if name.startswith("_"):
        raise AttributeError(name)
    spared_imports.import_parsl()
    __import__(POOL)
    return getattr(sys.modules[POOL], name)
