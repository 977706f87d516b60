"""The interface of engines: what a course of training asks of whatever does its arithmetic.

A course (`nsbi.training.course`) decides what is trained on when, and when to stop: shuffles, epochs, patience, best
weights, divergence. An engine holds weights and does steps. Four of them:

- `native`: one member at a time, in a kernel that knows multilayer perceptrons, known losses and known optimisers only.
- `rows`: one member at a time, any module; its own `training_step` runs unchanged, on parameters that are views of a row.
- `stacked`: all members of a pack at once, through `torch.func`; for accelerators.
- `lightning`: lightning.Trainer itself, in the same warm worker: the last resort, which steps by itself and therefore has
  no `Arithmetic` but a course of its own kind.

**Where `native` plugs in.** A kernel is an object with the two functions of `Kernel`. It is made from what is in `Recipe`,
by a function `(Recipe) -> Kernel | None` that gives None for what it cannot do. Weights and optimiser state are flat float32
vectors in the order of `nn.Module.parameters()` of `nn.Sequential(Linear, activation, ..., Linear)`: weight (out, in) row by
row, then bias, layer after layer. `nsbi.training.engines.native` turns a kernel into an `Arithmetic`, and `choosing` takes it
only if loss and gradient of the first batch agree with torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from needle_parsl.nsbi.training.views import Batchable, Places


class Arithmetic(Protocol):
    """K members between two steps; K is 1 where members are trained one after the other."""

    stride: int
    """Batches that one call of `train` may hold: many where a call is short, so that interruptions find their moment."""

    def train(self, rows: Sequence[Places]) -> Sequence[float]:
        """Do the next steps of an epoch.

        Args:
            rows: For each member, which of its training events: as many as `stride` batches at most, none if its epoch is over.

        Returns:
            For each member, the loss times the number of events, summed over the batches.
        """
        ...

    def validate(self) -> Sequence[Mapping[str, float]]:
        """End an epoch: evaluate what each member monitors on its validation events, and move its learning rate."""
        ...

    def weights(self, place: int) -> torch.Tensor:
        """Copy a member's weights, shape (P,), as `networks.fill` takes them."""
        ...

    def keep(self, places: Sequence[int]) -> None:
        """Go on with some of the members only."""
        ...

    def describe(self, place: int) -> dict[str, Any]:
        """Give all that the next step of a member depends on: tables and lists of tensors, numbers and texts."""
        ...

    def restore(self, place: int, state: Mapping[str, Any]) -> None:
        """Take back what `describe` gave."""
        ...


@dataclass(frozen=True)
class Recipe:
    """What a kernel is made from."""

    widths: tuple[int, ...]
    """Features, hidden layers, outputs: `(16, 64, 64, 64, 1)`."""
    activation: str
    """`silu`, `relu` or `tanh`."""
    loss: str
    """A name in `LOSSES`."""
    optimizer: str
    """The name of a class in `torch.optim`, such as `AdamW`."""
    options: Mapping[str, Any]
    """Its options as in `param_groups`, without `params`: `betas`, `eps`, `weight_decay`, `momentum`, ..."""


class Kernel(Protocol):
    """The arithmetic of one multilayer perceptron; all vectors are float32, contiguous, and changed in place."""

    slots: int
    """Vectors of optimiser state of the length of the weights: 2 for Adam."""

    def train_batches(
        self, weights: torch.Tensor, state: torch.Tensor, step: int, events: Batchable, rows: torch.Tensor, batch_size: int, lr: float
    ) -> float:  # fmt: skip
        """Do the steps of some batches, the last of which may be smaller.

        Args:
            weights: Shape (P,).
            state: Optimiser state, shape (slots, P); zero before the first step.
            step: Steps that were done before.
            events: All training events: `x` of shape (N, F), `label` and `weight` of shape (N,).
            rows: int64, which events, in which order.
            batch_size: Events of a step.
            lr: Learning rate.

        Returns:
            The sum over the batches of mean loss times number of events.
        """
        ...

    def logits(self, weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Evaluate the network on x, shape (N, F): shape (N,)."""
        ...
