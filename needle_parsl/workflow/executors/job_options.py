"""What a shape of nodes asks of the scheduler: for blocks, whose jobs Parsl writes, and for drivers, in one place."""

from __future__ import annotations

from needle_parsl.site import NodeShape

SIGNS = {"slurm": "#SBATCH", "pbs": "#PBS"}
"""What lines with options begin with."""


def named(shape: NodeShape, scheduler: str) -> dict[str, str]:
    """Give the options that have a name of their own, as Parsl's providers call them; none that the site leaves open."""
    asked = {"account": shape.account, "partition": shape.queue, "qos": shape.qos, "constraint": shape.constraint}
    if scheduler == "pbs":
        asked = {"account": shape.account, "queue": shape.queue}
    return {name: value for name, value in asked.items() if value}


def lines(options: tuple[str, ...], scheduler: str) -> str:
    """Write options for the head of a job script."""
    return "\n".join(f"{SIGNS[scheduler]} {option}" for option in options)
