"""The user's optimiser and schedulers, on a flat vector of parameters where that is the same arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn, optim
from torch.optim import lr_scheduler

from needle_parsl.nsbi.training.engines.flat import Flat

ELEMENTWISE = (optim.Adam, optim.AdamW, optim.SGD, optim.NAdam, optim.RAdam, optim.RMSprop, optim.Adamax)
"""Optimisers that treat each parameter alone, and keep no state before the first step."""


class Optimizing:
    """What `configure_optimizers` has returned, one optimiser and its schedulers, stepped as Lightning does."""

    def __init__(self, configured: Any, module: nn.Module) -> None:
        self.optimizer, self.schedulers = unpack(configured)
        self.flat = flatten(self.optimizer, module)
        self.epoch = self.steps = 0

    @property
    def rate(self) -> float:
        """Give the learning rate."""
        return float(self.optimizer.param_groups[0]["lr"])

    def zero(self) -> None:
        """Forget the gradients."""
        if self.flat:
            self.flat.gradients.zero_()
        else:
            self.optimizer.zero_grad()

    def step(self) -> None:
        """Move the parameters, and then the learning rates that move with every step."""
        self.optimizer.step()
        self.stepped()

    def stepped(self) -> None:
        """Move the learning rates after a step."""
        self.steps += 1
        self._move("step", self.steps, {})

    def end_epoch(self, logged: Mapping[str, float]) -> None:
        """Move the learning rates that move with every epoch."""
        self.epoch += 1
        self._move("epoch", self.epoch, logged)

    def _move(self, interval: str, count: int, logged: Mapping[str, float]) -> None:
        for entry in self.schedulers:
            if entry["interval"] != interval or count % entry["frequency"]:
                continue
            if isinstance(entry["scheduler"], lr_scheduler.ReduceLROnPlateau):
                entry["scheduler"].step(logged[entry["monitor"]])
            else:
                entry["scheduler"].step()

    def describe(self) -> dict[str, Any]:
        """Give the state."""
        schedulers = [entry["scheduler"].state_dict() for entry in self.schedulers]
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedulers": schedulers,
            "epoch": self.epoch,
            "steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.optimizer.load_state_dict(state["optimizer"])
        for entry, own in zip(self.schedulers, state["schedulers"], strict=True):
            entry["scheduler"].load_state_dict(own)
        self.epoch, self.steps = state["epoch"], state["steps"]


def flatten(optimizer: optim.Optimizer, module: nn.Module) -> Flat | None:
    """Let an optimiser step on one vector; None where it must see the tensors: several groups, or parameters left out."""
    if type(optimizer) not in ELEMENTWISE or len(optimizer.param_groups) != 1:
        return None
    (group,) = optimizer.param_groups
    parameters = list(module.parameters())
    if not all(p.requires_grad and p.dtype is torch.float32 for p in parameters):
        return None
    if list(map(id, group["params"])) != list(map(id, parameters)):
        return None
    flat = Flat(parameters)
    # The schedulers hold this very optimiser, so it is not made again: its parameters become one.
    group["params"] = [flat.row]
    return flat


def unpack(configured: Any) -> tuple[optim.Optimizer, list[dict[str, Any]]]:
    """Read one of the many forms that Lightning allows: the optimiser, and schedulers with their interval.

    Raises:
        ValueError: There is more than one optimiser, or none.
    """
    if isinstance(configured, Mapping):
        found = configured.get("lr_scheduler")
        return configured["optimizer"], [_entry(found)] if found is not None else []
    if isinstance(configured, (list, tuple)):
        nested = len(configured) == 2 and isinstance(configured[0], (list, tuple))
        optimizers, schedulers = configured if nested else (configured, [])
        (optimizer,) = optimizers
        if isinstance(optimizer, Mapping):
            return unpack(optimizer)
        return optimizer, [_entry(found) for found in schedulers]
    if not isinstance(configured, optim.Optimizer):
        raise ValueError("configure_optimizers gives no optimiser")  # noqa: TRY004  Lightning's forms are values
    return configured, []


def _entry(found: Any) -> dict[str, Any]:
    given = dict(found) if isinstance(found, Mapping) else {"scheduler": found}
    return {"interval": "epoch", "frequency": 1, "monitor": "val_loss", **given}
