"""What a trial costs, so that packs end together."""

from __future__ import annotations

from collections.abc import Mapping

from needle_parsl.analysis import Training, applied
from needle_parsl.analysis.space import Value

LAYERS, NODES, BATCH = 3, 64, 512
"""Where nobody says them."""
OVERHEAD = 2e5
"""Of a step, in the multiplications that take as long: shuffles, losses and the optimiser."""


def cost(training: Training, settings: Mapping[str, Value], epochs: int) -> float:
    """Estimate what the training of a trial costs: multiplications of an event and epoch, in any unit.

    Args:
        training: `[training]`.
        settings: Of the trial.
        epochs: Of the rung; 0 for a whole training.
    """
    own = applied.apply(training, settings)
    layers, nodes, batch = own.layers or LAYERS, own.nodes or NODES, own.batch_size or BATCH
    return (layers * nodes**2 + OVERHEAD / batch) * (epochs or own.epochs or 1)
