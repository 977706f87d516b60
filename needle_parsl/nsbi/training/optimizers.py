"""Optimisers and learning-rate schedules, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import unwrap
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim import lr_scheduler

MOMENTUM = 0.9
"""Of `sgd`."""
FACTOR, PATIENCE = 0.3, 2
"""By what `plateau` multiplies the learning rate, after how many epochs without a better validation loss."""
Make = Callable[[Iterable[nn.Parameter], float, float], torch.optim.Optimizer]
Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def _untraced(kind: type[Kind], *arguments: Any, **settings: Any) -> Kind:
    """Make an optimiser without the wrapper that keeps torch.compile out: its first call imports all of that, a second per worker."""
    optimizer = kind.__new__(kind)
    optimizer.add_param_group = MethodType(unwrap(kind.add_param_group), optimizer)  # type: ignore[method-assign]
    kind.__init__(optimizer, *arguments, **settings)
    return optimizer


def _adam(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return _untraced(torch.optim.Adam, parameters, lr=lr, weight_decay=weight_decay, fused=True)


def _adamw(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return _untraced(torch.optim.AdamW, parameters, lr=lr, weight_decay=weight_decay, fused=True)


def _nadam(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return _untraced(torch.optim.NAdam, parameters, lr=lr, weight_decay=weight_decay, decoupled_weight_decay=True)


def _sgd(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return _untraced(torch.optim.SGD, parameters, lr=lr, momentum=MOMENTUM, weight_decay=weight_decay)


def _constant(optimizer: torch.optim.Optimizer, epochs: int) -> Any:
    return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=epochs)


def _cosine(optimizer: torch.optim.Optimizer, epochs: int) -> Any:
    return lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)


def _plateau(optimizer: torch.optim.Optimizer, epochs: int) -> Any:  # noqa: ARG001  the others ask for it
    return lr_scheduler.ReduceLROnPlateau(optimizer, factor=FACTOR, patience=PATIENCE)


OPTIMIZERS: dict[str, Make] = {"adamw": _adamw, "adam": _adam, "nadam": _nadam, "sgd": _sgd}
"""Each takes parameters, learning rate and weight decay."""
SCHEDULES: dict[str, Callable[[torch.optim.Optimizer, int], Any]] = {
    "constant": _constant,
    "cosine": _cosine,
    "plateau": _plateau,
}
"""Each takes the optimiser and the number of epochs."""
