"""The user's optimiser and schedulers, on a flat vector of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import lr_scheduler

if TYPE_CHECKING:
    from needle_parsl.nsbi.training.engines.rows import Flat

FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
"""Optimisers that torch can do in one pass over the vector."""


class Optimizing:
    """What `configure_optimizers` has returned, one optimiser and its schedulers, stepped as Lightning does."""

    def __init__(self, configured: Any, flat: Flat) -> None:
        self.optimizer, self.schedulers = unpack(configured)
        (group,) = self.optimizer.param_groups
        # Its schedulers hold this very optimiser: it is not made again, its parameters become one.
        group["params"] = [flat.row]
        if isinstance(self.optimizer, FUSED) and group.get("foreach") is None:
            group["fused"] = True
        self.epoch = self.steps = 0

    def step(self) -> None:
        """Move the parameters, and then the learning rates that move with every step."""
        self.optimizer.step()
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


def unpack(configured: Any) -> tuple[torch.optim.Optimizer, list[dict[str, Any]]]:
    """Read one of the many forms that Lightning allows: optimiser and schedulers with their interval."""
    if isinstance(configured, Mapping):
        found = configured.get("lr_scheduler")
        return configured["optimizer"], [_entry(found)] if found is not None else []
    if isinstance(configured, (list, tuple)):
        optimizers, schedulers = (
            configured if len(configured) == 2 and isinstance(configured[1], list) else (configured, [])
        )
        (optimizer,) = optimizers
        return optimizer, [_entry(found) for found in schedulers]
    return configured, []


def _entry(found: Any) -> dict[str, Any]:
    given = dict(found) if isinstance(found, Mapping) else {"scheduler": found}
    return {"interval": "epoch", "frequency": 1, "monitor": "val_loss", **given}
