"""Exports the chain of a run as one model: `python tracking_serving.py runs/tracking models`."""

from __future__ import annotations

import sys
from pathlib import Path

from needle_parsl.serving.publishing import Interface, TensorShape, publish_function
from needle_parsl.serving.repository import Version

CHAIN = Path(__file__).with_name("tracking_chain.py")
INTERFACE = Interface(
    inputs=(TensorShape("FEATURES", "float32", (-1, 4)),), outputs=(TensorShape("LABELS", "int64", (-1,)),), rows=0
)
"""Hits of one event in, their labels out: one request an event."""


def publish(run: Path, models: Path, name: str = "tracking") -> Version:
    """Add a version of the model to a repository, from hits to labels.

    Args:
        run: The run directory.
        models: The repository.
        name: Of the model.
    """
    weights = run / "stages" / "chain" / "all" / "weights.npz"
    return publish_function(models, name, f"{CHAIN}:load", INTERFACE, [weights])


if __name__ == "__main__":
    publish(Path(sys.argv[1]), Path(sys.argv[2]))
