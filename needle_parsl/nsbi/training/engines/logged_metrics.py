"""`self.log` without a Trainer: the values and names that Lightning gives to whatever monitors them (`callback_metrics`).

A value of a training step is, unless the module says otherwise, that of the last step; one of a validation step or of a hook
is reduced over the epoch. What is both has three names: NAME, NAME_step and NAME_epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from needle_parsl.nsbi.training.refusals import NotPackedError

REDUCTIONS = {
    torch.mean: "mean",
    torch.sum: "sum",
    torch.max: "max",
    torch.min: "min",
    sum: "sum",
    max: "max",
    min: "min",
}
"""By what Lightning accepts beside the names."""
STARTS = {"mean": 0.0, "sum": 0.0, "max": float("-inf"), "min": float("inf")}
TRAINING = "training_step"
UNLOGGED = ("on_fit_start",)
"""Hooks in which Lightning forbids `self.log`."""


@dataclass(kw_only=True)
class LoggedValue:
    """One name that a function logs, in one epoch."""

    name: str
    on_step: bool
    on_epoch: bool
    reduction: str
    total: torch.Tensor
    count: int = 0
    last: torch.Tensor | None = None
    """Of the newest step."""
    metric: Any = None
    """An object that computes its own value, as those of torchmetrics."""

    def add(self, value: torch.Tensor, size: int) -> None:
        """Take a value in, in Lightning's order of operations: a last bit decides whether patience runs out."""
        if self.on_step:
            self.last = value.clone()
        if not self.on_epoch:
            return
        if self.reduction == "mean":
            self.total, self.count = self.total + value * size, self.count + size
        elif self.reduction == "sum":
            self.total = self.total + value
        else:
            self.total = (torch.maximum if self.reduction == "max" else torch.minimum)(self.total, value)

    def whole(self) -> torch.Tensor:
        """Give the value of the epoch."""
        if self.metric is not None:
            value: torch.Tensor = self.metric.compute()
            return value
        return self.total / self.count if self.reduction == "mean" else self.total


class Logs:
    """What a module logs."""

    def __init__(self, module: Any) -> None:
        self.function = TRAINING
        """Which of the module's methods is running."""
        self.size = 1
        """Events of the batch; 1 in a hook of an epoch."""
        self.validating = False
        self.known: dict[str, torch.Tensor] = {}
        """What can be monitored now."""
        self.training: dict[tuple[str, str], LoggedValue] = {}
        self.validation: dict[tuple[str, str], LoggedValue] = {}
        module.log, module.log_dict = self.log, self.log_dict

    def log(
        self, name: str, value: Any, *_: Any, on_step: bool | None = None, on_epoch: bool | None = None, reduce_fx: Any = "mean",
        batch_size: int | None = None, **__: Any,
    ) -> None:  # fmt: skip
        """Note a value; takes all arguments of Lightning's `log`.

        Raises:
            NotPackedError: Only Lightning knows what is meant, or has the words for what is wrong.
        """
        entry = self._entry(name, on_step, on_epoch, reduce_fx)
        if _computes(value):
            entry.metric, entry.last = value, getattr(value, "_forward_cache", None)
            return
        tensor = (
            value.detach() if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=torch.get_default_dtype())
        )
        if tensor.numel() != 1:
            raise NotPackedError(f"it logs {name} of shape {tuple(tensor.shape)}")
        if tensor.dtype not in (torch.float32, torch.float64):
            tensor = tensor.to(torch.get_default_dtype())
        entry.add(tensor.squeeze() if tensor.ndim else tensor, batch_size or self.size)

    def _entry(self, name: str, on_step: bool | None, on_epoch: bool | None, reduce_fx: Any) -> LoggedValue:  # noqa: FBT001  Lightning's signature
        """Find where a name is collected, or begin it."""
        entries, key = self.validation if self.validating else self.training, (self.function, name)
        if found := entries.get(key):
            return found
        in_step = self.function == TRAINING
        by_step, by_epoch = in_step if on_step is None else on_step, not in_step if on_epoch is None else on_epoch
        reduction = reduce_fx.lower() if isinstance(reduce_fx, str) else REDUCTIONS.get(reduce_fx, "")
        reduction = {"avg": "mean"}.get(reduction, reduction)
        if reduction not in STARTS or self.function in UNLOGGED or (by_step and not self.function.endswith("_step")):
            raise NotPackedError(f"it logs {name} in a way of its own")
        entries[key] = LoggedValue(
            name=name, on_step=by_step, on_epoch=by_epoch, reduction=reduction, total=torch.tensor(STARTS[reduction])
        )
        return entries[key]

    def log_dict(self, values: Mapping[str, Any], *arguments: Any, **options: Any) -> None:
        """Note several values."""
        for name, value in values.items():
            self.log(name, value, *arguments, **options)

    def step(self) -> None:
        """Make what the training steps have logged known: the values of the last one."""
        for entry in self.training.values():
            if entry.on_step and entry.last is not None:
                self.known[entry.name] = entry.last
                if entry.on_epoch:
                    self.known[f"{entry.name}_step"] = entry.last

    def validated(self) -> None:
        """Make what validation has logged known, reduced over the events, and begin anew."""
        self.validation = self._reduced(self.validation)

    def epoch(self) -> None:
        """Make what training has logged known, reduced over the epoch, and begin anew."""
        self.training = self._reduced(self.training)

    def _reduced(self, entries: Mapping[tuple[str, str], LoggedValue]) -> dict[tuple[str, str], LoggedValue]:
        for entry in entries.values():
            if entry.on_epoch:
                self.known[entry.name] = entry.whole().detach()
                if entry.on_step:
                    self.known[f"{entry.name}_epoch"] = self.known[entry.name]
        for entry in entries.values():
            if entry.metric is not None:
                entry.metric.reset()
        return {}

    def values(self) -> dict[str, float]:
        """Give what can be monitored now."""
        return {name: float(value) for name, value in self.known.items()}

    def clear(self) -> None:
        """Forget what was collected since the last epoch."""
        self.training, self.validation = {}, {}

    def describe(self, module: nn.Module) -> dict[str, Any]:
        """Give the state in the middle of an epoch."""
        names = {id(part): name for name, part in module.named_modules()}
        collected = [
            [
                function,
                e.name,
                e.on_step,
                e.on_epoch,
                e.reduction,
                e.total,
                e.count,
                e.last,
                names.get(id(e.metric), ""),
            ]
            for (function, _), e in self.training.items()
        ]
        return {"known": dict(self.known), "training": collected, "metrics": _states(module)}

    def restore(self, module: nn.Module, state: Mapping[str, Any]) -> None:
        """Take it back."""
        parts = dict(module.named_modules())
        self.known = dict(state["known"])
        for function, name, by_step, by_epoch, reduction, total, count, last, held in state["training"]:
            computed = parts[held] if held else None
            self.training[function, name] = LoggedValue(
                name=name,
                on_step=by_step,
                on_epoch=by_epoch,
                reduction=reduction,
                total=total,
                count=count,
                last=last,
                metric=computed,
            )
        for name, own in state["metrics"].items():
            metric: Any = parts[name]
            metric._update_count, metric._computed = own["updates"], None  # noqa: SLF001  torchmetrics has no other way
            for key, value in own["state"].items():
                setattr(metric, key, value)


def _states(module: nn.Module) -> dict[str, Any]:
    """Give what the metrics of a module have gathered; it is in no `state_dict`."""
    found: dict[str, Any] = {n: part for n, part in module.named_modules() if hasattr(part, "metric_state")}
    return {n: {"state": dict(m.metric_state), "updates": m._update_count} for n, m in found.items()}  # noqa: SLF001  likewise


def _computes(value: Any) -> bool:
    return hasattr(value, "compute") and not isinstance(value, torch.Tensor)
