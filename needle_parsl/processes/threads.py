"""One thread for every library of linear algebra: tasks are the parallelism, and a sum over one thread always has the same bits."""

from __future__ import annotations

import os

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What the libraries look at, once, when NumPy or torch is imported."""


def one() -> None:
    """Let this process and its children use one; to be called before NumPy is imported."""
    os.environ.update(dict.fromkeys(VARIABLES, "1"))
