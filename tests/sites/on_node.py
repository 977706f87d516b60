"""What the tests run on nodes: workers import it."""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import Any


def device() -> tuple[str, int, str, bool]:
    """Say where this worker is, which device it has, and whether torch was there before."""
    from needle_parsl.processes import devices

    devices.choose()
    time.sleep(1)
    return socket.gethostname(), os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"], "torch" in sys.modules


def sleep(seconds: float) -> str:
    """Work for a while; say where."""
    time.sleep(seconds)
    return socket.gethostname()


def prefix() -> str:
    """Say which Python runs this."""
    return sys.prefix


def hello(out: str, parsl_resource_specification: dict[str, Any] | None = None) -> str:  # noqa: ARG001  Parsl's
    """Give the command line of an MPI program."""
    program = (
        "from mpi4py import MPI; import socket; c = MPI.COMM_WORLD; print(c.rank, c.allreduce(1), socket.gethostname())"
    )
    return f"$PARSL_MPI_PREFIX --overlap {sys.executable} -c '{program}' > {out}"
