"""Which modules the compiled code can train: told by their structure, proven by the loss and gradient of batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn, optim

from needle_parsl.nsbi.training.dropout import Dropout
from needle_parsl.nsbi.training.frozen import Known
from needle_parsl.nsbi.training.kernels import passes, updates
from needle_parsl.nsbi.training.kernels.passes import EventTable
from needle_parsl.nsbi.training.kernels.trainer import CompiledTrainer, Goal, Structure
from needle_parsl.nsbi.training.kernels.updates import UpdateRule

VIEWS = {
    "t",
    "squeeze",
    "view",
    "_unsafe_view",
    "reshape",
    "unsqueeze",
    "select",
    "slice",
    "detach",
    "alias",
    "flatten",
    "transpose",
}
"""Operations that change no number."""
NAMES = {passes.SILU: "silu", passes.RELU: "relu", passes.TANH: "tanh"}
"""Of the activations, as ATen calls them."""
LOSSES = (
    ["binary_cross_entropy_with_logits"], ["mse_loss"], ["_log_softmax", "_to_copy", "nll_loss_forward"], ["_log_softmax", "nll_loss_forward"],
)  # fmt: skip
"""What `GOALS` are made of; the cross-entropy of many classes may turn labels into whole numbers."""
REDUCING = {"mul": 2, "mean": 1, "sum": 2, "div": 1}
"""Operations by which a loss becomes one number, and how often at most."""
ACTIVATIONS: dict[type[nn.Module], int] = {nn.SiLU: passes.SILU, nn.ReLU: passes.RELU, nn.Tanh: passes.TANH}
GOALS = tuple(
    Goal(loss, by_weight=by_weight) for by_weight in (False, True) for loss in (passes.BCE, passes.MSE, passes.SOFTMAX)
)
"""What may be the goal of a user's own `training_step`: losses that are written in one way only."""
AGREED = 1e-5
"""Largest difference of loss and gradient, relative to the loss and to the largest part of the gradient."""


class TrainerPlan(NamedTuple):
    """What a trainer is made of, but for the optimiser."""

    structure: Structure
    goal: Goal


def structures(module: nn.Module) -> tuple[Structure, ...]:
    """Give what a network may be that is made of linear layers and one kind of activation; nothing for any other.

    Activations that are called as functions cannot be seen, and all kinds are possible.
    """
    parts = [part for part in module.modules() if not list(part.children()) and not _idle(part)]
    layers = [part for part in parts if type(part) is nn.Linear]
    drops = [part for part in parts if isinstance(part, Dropout)]
    kinds = {type(part) for part in parts} - {nn.Linear, Dropout}
    sizes = [p.numel() for layer in layers for p in layer.parameters()]
    if len(layers) < 2 or len(kinds) > 1 or not kinds <= set(ACTIVATIONS):
        return ()
    if any(layer.bias is None for layer in layers) or any(a.out_features != b.in_features for a, b in pairwise(layers)):
        return ()
    if [p.numel() for p in module.parameters()] != sizes:
        return ()
    widths = tuple(layer.in_features for layer in layers)
    outputs, thresholds = layers[-1].out_features, {drop.threshold for drop in drops} or {0}
    if len(thresholds) > 1 or [drop.layer for drop in drops] not in ([], list(range(len(layers) - 1))):
        return ()
    return tuple(Structure(widths, ACTIVATIONS[kind], outputs, *thresholds) for kind in kinds or ACTIVATIONS)


def _idle(part: nn.Module) -> bool:
    """Whether a part without children only passes numbers on, or is a loss, whose effect the proof sees."""
    passing = isinstance(part, nn.Identity | Known) or (isinstance(part, nn.Dropout) and part.p == 0)
    return passing or isinstance(part, nn.modules.loss._Loss)  # noqa: SLF001  the base class of all losses


def knows(
    operations: Sequence[tuple[str, tuple[float, ...]]], structure: Structure, events: int, *, loss: bool
) -> bool:
    """Whether operations are those of a perceptron and, if it is wanted, of one of `GOALS`.

    Args:
        operations: Of a step, with the numbers among their arguments.
        structure: The perceptron.
        events: Of the batch, the one number by which a loss may be multiplied or divided.
        loss: Whether a loss belongs to it.
    """
    names = [name for name, _ in operations if name not in VIEWS]
    layers = ["addmm"] * len(structure.widths) + [NAMES[structure.activation]] * (len(structure.widths) - 1)
    for name in layers:
        if name not in names:
            return False
        names.remove(name)
    if not loss:
        return not names
    numbers = [n for name, given in operations if name in ("mul", "div") for n in given]
    judged = [name for name in names if name not in REDUCING]
    known = sorted(judged) in LOSSES or (sorted(judged) == ["pow", "sub"] and ("pow", (2.0,)) in operations)
    few = all(names.count(name) <= most for name, most in REDUCING.items())
    return known and few and all(n == events for n in numbers)


def rule(optimizer: optim.Optimizer) -> UpdateRule | None:
    """Translate an optimiser with one group of parameters; None for any other."""
    if len(optimizer.param_groups) != 1:
        return None
    group = optimizer.param_groups[0]
    if group.get("amsgrad") or group.get("maximize") or not isinstance(group["lr"], float):
        return None
    translate = RULES.get(type(optimizer))
    return translate(group) if translate else None


def _adam(group: dict[str, Any]) -> UpdateRule:
    beta1, beta2 = group["betas"]
    decoupled = bool(group.get("decoupled_weight_decay"))
    return UpdateRule(updates.ADAM, beta1, beta2, group["eps"], group["weight_decay"], decoupled)


def _nadam(group: dict[str, Any]) -> UpdateRule:
    return _adam(group)._replace(kind=updates.NADAM, momentum_decay=group["momentum_decay"])


def _sgd(group: dict[str, Any]) -> UpdateRule:
    return UpdateRule(
        updates.SGD, group["momentum"], weight_decay=group["weight_decay"], dampening=group["dampening"], nesterov=group["nesterov"]
    )  # fmt: skip


RULES: dict[type[optim.Optimizer], Callable[[dict[str, Any]], UpdateRule]] = {
    optim.Adam: _adam,
    optim.AdamW: lambda group: _adam(group)._replace(decoupled=True),
    optim.NAdam: _nadam,
    optim.SGD: _sgd,
}


class ObservedBatch(NamedTuple):
    """A batch, with what the module itself makes of it."""

    table: EventTable
    loss: float
    gradient: torch.Tensor
    """Shape (P,)."""
    step: int = 0
    """Steps before it, on which dropout depends."""


def plan(
    found: Sequence[Structure],
    goals: Sequence[Goal],
    parameters: torch.Tensor,
    samples: Sequence[ObservedBatch],
    seed: int = 0,
) -> TrainerPlan | None:
    """Find the structure and the goal whose loss and gradient agree with the module's on all samples.

    Args:
        found: What the module may be.
        goals: What its goal may be.
        parameters: Its weights, shape (P,).
        samples: At least one.
        seed: Of the member.
    """
    for structure in found:
        for goal in (g for g in goals if g.suits(structure)):
            trainer = CompiledTrainer(structure, goal, UpdateRule(updates.SGD), seed)
            if all(agrees(trainer, parameters, sample) for sample in samples):
                return TrainerPlan(structure, goal)
    return None


def agrees(trainer: CompiledTrainer, parameters: torch.Tensor, sample: ObservedBatch) -> bool:
    """Compare; where classes are nearly the same their gradients cancel, and rounding is small beside that of one class only."""
    rows, weights = np.arange(len(sample.table.x)), parameters.numpy()
    loss, gradient = trainer.differentiate(weights, sample.table, rows, sample.step)
    one = sample.table._replace(label=np.ones_like(sample.table.label))
    scale = max(
        np.abs(sample.gradient.numpy()).max(), np.abs(trainer.differentiate(weights, one, rows, sample.step)[1]).max()
    )
    return bool(
        abs(loss - sample.loss) <= AGREED * abs(sample.loss)
        and np.abs(gradient - sample.gradient.numpy()).max() <= AGREED * scale
    )
