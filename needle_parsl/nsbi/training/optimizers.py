"""Optimisers and learning-rate schedules, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

Make = Callable[[Iterable[nn.Parameter], float, float], torch.optim.Optimizer]


def _adamw(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)


def _constant(optimizer: torch.optim.Optimizer, epochs: int) -> Any:
    return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=epochs)


def _cosine(optimizer: torch.optim.Optimizer, epochs: int) -> Any:
    return lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)


OPTIMIZERS: dict[str, Make] = {"adamw": _adamw}
"""Each takes parameters, learning rate and weight decay."""
SCHEDULES: dict[str, Callable[[torch.optim.Optimizer, int], Any]] = {"constant": _constant, "cosine": _cosine}
"""Each takes the optimiser and the number of epochs."""
