"""Optimisers and learning-rate schedules; `analysis/catalogue.py` lists them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from inspect import unwrap
from itertools import pairwise
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim import lr_scheduler

MOMENTUM = 0.9
"""Of `sgd`."""
FACTOR, PATIENCE = 0.3, 2
"""By what `plateau` multiplies the learning rate, after how many epochs without a better validation loss."""
Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def _untraced(kind: type[Kind], *arguments: Any, **settings: Any) -> Kind:
    """Make an optimiser without the wrapper that keeps torch.compile out: its first call imports all of that, a second per worker."""
    optimizer = kind.__new__(kind)
    optimizer.add_param_group = MethodType(unwrap(kind.add_param_group), optimizer)  # type: ignore[method-assign]
    kind.__init__(optimizer, *arguments, **settings)
    return optimizer


def adam(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Give Adam, whose weight decay is a part of the gradient."""
    return _untraced(torch.optim.Adam, parameters, lr=lr, weight_decay=weight_decay, fused=True)


def adamw(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Give Adam with decoupled weight decay."""
    return _untraced(torch.optim.AdamW, parameters, lr=lr, weight_decay=weight_decay, fused=True)


def nadam(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Give Adam with Nesterov's momentum and decoupled weight decay."""
    return _untraced(torch.optim.NAdam, parameters, lr=lr, weight_decay=weight_decay, decoupled_weight_decay=True)


def sgd(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Give gradient descent with momentum, whose weight decay is a part of the gradient."""
    return _untraced(torch.optim.SGD, parameters, lr=lr, momentum=MOMENTUM, weight_decay=weight_decay)


def constant(optimizer: torch.optim.Optimizer, lengths: Sequence[int]) -> Any:
    """Leave the learning rate as it is."""
    return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=lengths[-1])


def cosine(optimizer: torch.optim.Optimizer, lengths: Sequence[int]) -> Any:
    """Fall to 0 at the end of each length, and begin anew.

    References:
        I. Loshchilov, F. Hutter, arXiv:1608.03983.
    """
    if len(lengths) == 1:
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=lengths[0])
    return lr_scheduler.LambdaLR(optimizer, partial(_falling, tuple(lengths)))


def _falling(lengths: tuple[int, ...], epoch: int) -> float:
    """Give the factor of the step size in an epoch, counted from 0."""
    start, stop = next(((a, b) for a, b in pairwise((0, *lengths)) if epoch < b), (0, epoch))
    return 0.5 * (1 + math.cos(math.pi * (epoch - start) / (stop - start)))


def plateau(optimizer: torch.optim.Optimizer, lengths: Sequence[int]) -> Any:  # noqa: ARG001  the others ask for it
    """Make steps smaller when the validation loss stays where it is."""
    return lr_scheduler.ReduceLROnPlateau(optimizer, factor=FACTOR, patience=PATIENCE)
