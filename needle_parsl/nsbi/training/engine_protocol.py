"""The interface of engines: what a training asks of whatever does its arithmetic.

A member in training (`nsbi.training.loop`) decides what is trained on when, and when to stop: shuffles, epochs, patience, best
weights, divergence. An engine holds weights and does steps. Four of them:

- `native`: one member at a time, in a kernel that knows multilayer perceptrons, known losses and known optimisers only.
- `sequential`: one member at a time, any module; its own `training_step` runs unchanged, on parameters that are views of a row.
- `stacked`: all members of a pack at once, through `torch.func`; for accelerators.
- `lightning`: lightning.Trainer itself, in the same warm worker: the last resort, which steps by itself and therefore has
  no `Engine` but a loop of its own.

Which one it is, `choosing` finds out with the first batch of a pack: by the structure of the module, and by trying. Those that
train one member at a time are classes made of a list with one job, `native` also of what its proof has found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from needle_parsl.nsbi.training.ratio_events import Places


class Engine(Protocol):
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

    def seen(self, place: int) -> torch.Tensor | None:
        """Give ln r of a member for its first validation events, as in the validation before."""
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
