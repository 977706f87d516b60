"""Look at a pool of workers from within its process: whether it is ending, and which of its processes have gone.

Parsl: 2026.10.26, `Manager` in `process_worker_pool`, a program whose variable `manager` is all that there is to ask.
Without it: nobody notices that the helper that holds the list of tasks in progress has gone: the pool says at each heartbeat that it lives,
    and does nothing any more. Nor can a worker that was killed be told from one that Parsl itself ends.
Upstream: https://github.com/Parsl/parsl/issues/2742 (open).
Not needed any more when `test_plain_parsl_does_not_watch_the_helper_of_a_pool` fails.
"""

from __future__ import annotations

import sys
from multiprocessing.process import BaseProcess
from typing import Any


def manager() -> Any:
    """Give Parsl's object for the pool of this process; None before it is there, or while it makes its helper."""
    return vars(sys.modules["__main__"]).get("manager")


def ending() -> bool:
    """Say whether Parsl ends this pool, and its workers with it."""
    asked = getattr(manager(), "_stop_event", None)
    return asked is not None and bool(asked.is_set())


def closed(child: BaseProcess) -> bool:
    """Say whether Parsl has ended a process and let go of it, so that nothing can be asked of it any more."""
    return bool(vars(child)["_closed"])
