"""A site file for the Slurm of the tests."""

from __future__ import annotations

from pathlib import Path

TEXT = """
description      = "CPU nodes of the tests"
scheduler        = "slurm"
executor         = "htex"
account          = "needle"
constraint       = "cpu"
walltime         = "00:20:00"
cores_per_node   = 256
workers_per_node = 2
launcher         = "srun"
poll             = 2
"""


def written(folder: Path) -> str:
    """Write it; give its path."""
    (folder / "cluster.toml").write_text(TEXT)
    return str(folder / "cluster.toml")
