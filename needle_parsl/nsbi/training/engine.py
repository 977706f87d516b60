"""Training: one member after the other, each a function of its own seed and view alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from needle_parsl.analysis import Training
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.training import networks
from needle_parsl.nsbi.training.losses import LOSSES
from needle_parsl.nsbi.training.packs import Trained
from needle_parsl.nsbi.training.views import Batchable, MemberView, RatioEvents, look

CHUNK = 16_384
"""Events that are evaluated at a time."""


@dataclass(frozen=True)
class Settings:
    """How a member is trained; the words of `[training]`."""

    shape: networks.Shape
    loss: str
    optimizer: str
    learning_rate: float
    schedule: str
    weight_decay: float
    batch_size: int
    epochs: int
    patience: int

    @staticmethod
    def of(table: Training, features: int) -> Settings:
        """Take what concerns one member from the user's table."""
        shape = networks.Shape(table.network, features, table.layers, table.nodes)
        return Settings(
            shape, table.loss, table.optimizer, table.learning_rate, table.schedule, table.weight_decay, table.batch_size,
            table.epochs, table.patience,
        )  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One network to train."""

    member: int
    fold: int
    seed: int
    """Of its initial weights and its shuffles; from names, not from the place in a pack."""
    view: MemberView


def train(events: RatioEvents, member: Member, settings: Settings) -> Trained:
    """Train a member; one that diverges is tried once more with another seed, then recorded as diverged."""
    try:
        fitting, validation = look(events, member.view)
    except TaskError as error:
        start = _vector(networks.build(settings.shape, member.seed % 2**63))
        return Trained(member.member, member.fold, member.seed, start, np.empty((0, 2)), 0, str(error))
    trained = _attempt(fitting, validation, member, settings, member.seed)
    if trained.reason:
        trained = _attempt(fitting, validation, member, settings, hashing.key("retry", member.seed))
    return trained


def _attempt(fitting: Batchable, validation: Batchable, member: Member, settings: Settings, seed: int) -> Trained:
    network = networks.build(settings.shape, seed % 2**63)
    best = _vector(network)
    history: list[tuple[float, float]] = []
    best_loss, best_epoch, reason = math.inf, 0, ""
    for epoch, losses in enumerate(_epochs(network, fitting, validation, settings, seed)):
        history.append(losses)
        if not all(map(math.isfinite, losses)):
            reason = f"diverged in epoch {epoch + 1}"
            break
        if losses[1] < best_loss:
            best_loss, best_epoch = losses[1], epoch
            best = _vector(network)
        elif epoch - best_epoch >= settings.patience:
            break
    return Trained(member.member, member.fold, seed, best, np.array(history), best_epoch, reason)


def _vector(network: nn.Module) -> npt.NDArray[np.float32]:
    vector: npt.NDArray[np.float32] = nn.utils.parameters_to_vector(network.parameters()).detach().numpy().copy()
    return vector


def _epochs(
    network: nn.Module, fitting: Batchable, validation: Batchable, settings: Settings, seed: int
) -> Iterator[tuple[float, float]]:
    """Train epoch by epoch and give the loss on the training and on the validation events."""
    loss = LOSSES[settings.loss]
    optimizer = OPTIMIZERS[settings.optimizer](
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = SCHEDULES[settings.schedule](optimizer, settings.epochs)
    generator = torch.Generator().manual_seed(seed % 2**63)
    for _ in range(settings.epochs):
        total = 0.0
        for rows in torch.split(torch.randperm(len(fitting.x), generator=generator), settings.batch_size):
            optimizer.zero_grad()
            value = loss(network(fitting.x[rows]), fitting.label[rows], fitting.weight[rows])
            torch.autograd.backward(value)
            optimizer.step()
            total += float(value.detach()) * len(rows)
        schedule.step()
        yield total / len(fitting.x), evaluate_loss(network, validation, settings.loss)


def evaluate_loss(network: nn.Module, events: Batchable, loss: str) -> float:
    """Compute the loss over all events, without gradients."""
    with torch.no_grad():
        logits = torch.cat([network(x) for x in torch.split(events.x, CHUNK)])
        return float(LOSSES[loss](logits, events.label, events.weight))


def _adamw(parameters: Iterator[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)


def _constant(optimizer: torch.optim.Optimizer, epochs: int) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=epochs)


def _cosine(optimizer: torch.optim.Optimizer, epochs: int) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)


OPTIMIZERS = {"adamw": _adamw}
"""Each takes parameters, learning rate and weight decay."""
SCHEDULES = {"constant": _constant, "cosine": _cosine}
"""Each takes the optimiser and the number of epochs."""
