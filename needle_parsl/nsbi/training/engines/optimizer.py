"""The user's optimiser and schedulers, on a flat vector of parameters where that is the same arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn, optim
from torch.optim import lr_scheduler

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.training import networks
from needle_parsl.nsbi.training.refusals import RefusedModuleError

ELEMENTWISE = (optim.Adam, optim.AdamW, optim.SGD, optim.NAdam, optim.RAdam, optim.RMSprop, optim.Adamax)
"""Optimisers that treat each parameter alone, and keep no state before the first step."""


class Optimizing:
    """What `configure_optimizers` has returned, one optimiser and its schedulers, stepped as Lightning does."""

    def __init__(self, configured: Any, module: nn.Module) -> None:
        self.optimizer, self.schedulers = unpack(configured)
        self.flat = flatten(self.optimizer, module)
        self.steps = 0
        """That were done; dropout follows from it."""

    @property
    def rate(self) -> float:
        """Give the learning rate."""
        return float(self.optimizer.param_groups[0]["lr"])

    def zero(self) -> None:
        """Forget the gradients."""
        if self.flat:
            self.flat.clear()
        else:
            self.optimizer.zero_grad()

    def step(self) -> None:
        """Move the parameters."""
        if self.flat and not self.flat.take():
            self.divide()
        self.optimizer.step()
        self.steps += 1

    def divide(self) -> None:
        """Step each parameter by itself from now on."""
        if self.flat:
            self.flat.divide(self.optimizer)
        self.flat = None

    def move(self, interval: str, number: int, known: Mapping[str, Any], *, plateau: bool) -> None:
        """Move the learning rates.

        Args:
            interval: `step` or `epoch`.
            number: Of the batch in its epoch, or of the epoch, from 0.
            known: What is monitored.
            plateau: Those that look at a value, whose turn comes after validation, or the others.
        """
        for entry in self.schedulers:
            if (
                entry["reduce_on_plateau"] is not plateau
                or entry["interval"] != interval
                or (number + 1) % entry["frequency"]
            ):
                continue
            if not plateau:
                entry["scheduler"].step()
            elif entry["monitor"] in known:
                entry["scheduler"].step(known[entry["monitor"]])
            elif entry["strict"]:
                raise TaskError(f'its scheduler looks at "{entry["monitor"]}", which was not logged by then')

    def describe(self) -> dict[str, Any]:
        """Give the state."""
        schedulers = [entry["scheduler"].state_dict() for entry in self.schedulers]
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedulers": schedulers,
            "flat": self.flat is not None,
            "steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.steps = state["steps"]
        if not state["flat"]:
            self.divide()
        self.optimizer.load_state_dict(state["optimizer"])
        for entry, own in zip(self.schedulers, state["schedulers"], strict=True):
            entry["scheduler"].load_state_dict(own)


def flatten(optimizer: optim.Optimizer, module: nn.Module) -> Flat | None:
    """Let an optimiser step on one vector; None where it, or what else knows it, must see the tensors.

    So it is with several groups, parameters left out, hooks of the optimiser, and where the module keeps the optimiser.
    """
    if type(optimizer) not in ELEMENTWISE or len(optimizer.param_groups) != 1 or hooked(optimizer):
        return None
    if any(value is optimizer for value in vars(module).values()):
        return None
    (group,) = optimizer.param_groups
    parameters = list(module.parameters())
    if networks.uninitialised(module) or not all(
        p.requires_grad and p.dtype is torch.float32 and p.is_contiguous() for p in parameters
    ):
        return None
    if list(map(id, group["params"])) != list(map(id, parameters)):
        return None
    flat = Flat(parameters)
    # The schedulers hold this very optimiser, so it is not made again: its parameters become one.
    group["params"] = [flat.row]
    return flat


def hooked(optimizer: optim.Optimizer) -> bool:
    """Whether somebody is called when an optimiser steps."""
    own: Any = optimizer
    return bool(own._optimizer_step_pre_hooks or own._optimizer_step_post_hooks)  # noqa: SLF001  torch has no other way to ask


def foretold(optimizer: optim.Optimizer) -> bool:
    """Whether somebody is called before an optimiser steps."""
    own: Any = optimizer
    return bool(own._optimizer_step_pre_hooks)  # noqa: SLF001  likewise


def unpack(configured: Any) -> tuple[optim.Optimizer, list[dict[str, Any]]]:
    """Read one of the many forms that Lightning allows: the optimiser, and schedulers with their interval.

    Raises:
        ValueError: There is more than one optimiser, or none.
        RefusedModuleError: Lightning takes no such table.
    """
    if isinstance(configured, Mapping):
        if "optimizer" not in configured:
            raise RefusedModuleError('gives a table without "optimizer"')
        found = configured.get("lr_scheduler")
        return configured["optimizer"], [_entry(found, configured.get("monitor"))] if found is not None else []
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


def _entry(found: Any, monitor: str | None = None) -> dict[str, Any]:
    given = dict(found) if isinstance(found, Mapping) else {"scheduler": found, "monitor": monitor}
    if "scheduler" not in given:
        raise RefusedModuleError('a scheduler is a table without "scheduler"')
    plateau = isinstance(given["scheduler"], lr_scheduler.ReduceLROnPlateau)
    entry = {"interval": "epoch", "frequency": 1, "strict": True, "reduce_on_plateau": plateau, **given}
    if entry["interval"] not in ("step", "epoch"):
        raise RefusedModuleError(f'a scheduler has the interval "{entry["interval"]}"; expected "step" or "epoch"')
    if entry["reduce_on_plateau"] and not entry.get("monitor"):
        raise RefusedModuleError('ReduceLROnPlateau has no "monitor", such as "val_loss"')
    entry["monitor"] = entry.get("monitor") or "val_loss"
    return entry


class Flat:
    """The parameters of a module, moved into one vector, with room for their gradients in another."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.row = nn.Parameter(nn.utils.parameters_to_vector(parameters).detach().clone())
        self.gradients = torch.zeros_like(self.row)
        self.row.grad = self.gradients
        sizes = [p.numel() for p in parameters]
        views = torch.split(self.gradients, sizes)
        self.views = [view.view_as(p) for view, p in zip(views, parameters, strict=True)]
        for parameter, own in zip(parameters, torch.split(self.row.data, sizes), strict=True):
            parameter.data = own.view_as(parameter)
        self.places = [p.data_ptr() for p in self.parameters]

    def clear(self) -> None:
        """Forget the gradients: a parameter that the next loss does not depend on has none, which is not one of 0."""
        for parameter in self.parameters:
            parameter.grad = None

    def take(self) -> bool:
        """Collect the gradients; False if a parameter has none, or has been given other storage."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if len(gradients) < len(self.parameters) or [p.data_ptr() for p in self.parameters] != self.places:
            return False
        torch._foreach_copy_(self.views, gradients)
        return True

    def divide(self, optimizer: optim.Optimizer) -> None:
        """Give an optimiser back the parameters one by one, each with its part of the state, for good."""
        held = optimizer.state.pop(self.row, {})
        sizes = [p.numel() for p in self.parameters]
        cut = {name: value.split(sizes) for name, value in held.items() if _is_like(value, self.row)}
        for number, parameter in enumerate(self.parameters if held else ()):
            optimizer.state[parameter] = {
                name: cut[name][number].view_as(parameter).clone() if name in cut else _copied(value)
                for name, value in held.items()
            }
        optimizer.param_groups[0]["params"] = self.parameters


def _is_like(value: object, row: torch.Tensor) -> bool:
    return isinstance(value, torch.Tensor) and value.shape == row.shape and row.numel() > 1


def _copied(value: object) -> object:
    return value.clone() if isinstance(value, torch.Tensor) else value
