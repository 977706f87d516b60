"""Training: one member after the other, each a function of its own seed and view alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

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
from needle_parsl.nsbi.training.state import Offer, State
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


def train_pack(
    events: RatioEvents, members: Sequence[Member], settings: Settings, start: State, offer: Offer
) -> tuple[Trained, ...]:
    """Train members one after the other.

    Args:
        events: Of the ratio.
        members: In the order of the pack.
        settings: The same for all.
        start: Where to go on; an empty state begins.
        offer: Called between steps with a way to describe the state; what it raises ends the training.
    """
    finished = {(t.member, t.fold): t for t in start.finished}
    for member in members:
        name = (member.member, member.fold)
        if name in finished:
            continue
        running = start.running if start.running and start.running["name"] == name else None

        def tell(course: Callable[[], dict[str, Any]], name: tuple[int, int] = name) -> None:
            offer(lambda: State(tuple(finished.values()), {"name": name, **course()}))

        try:
            finished[name] = train(events, member, settings, running, tell)
        except Exception as error:
            error.add_note(f"member {member.member}, fold {member.fold}")
            raise
    return tuple(finished[m.member, m.fold] for m in members)


Tell = Callable[[Callable[[], dict[str, Any]]], None]
"""Offers the state of one member's training."""


def train(
    events: RatioEvents,
    member: Member,
    settings: Settings,
    running: Mapping[str, Any] | None = None,
    tell: Tell = lambda _: None,
) -> Trained:
    """Train a member; one that diverges is tried once more with another seed, then recorded as diverged.

    Args:
        events: Of the ratio.
        member: Which network.
        settings: How it is trained.
        running: Where its training stood when it was interrupted.
        tell: Called between steps with a way to describe where it stands.
    """
    try:
        fitting, validation = look(events, member.view)
    except TaskError as error:
        return untrained(member, settings.shape, str(error))
    trained = None
    for attempt, seed in enumerate((member.seed, hashing.key("retry", member.seed))):
        if running and running["attempt"] != attempt:
            continue  # it had diverged before the interruption
        course = _Course(fitting, validation, settings, seed)
        if running:
            course.restore(running)
        reason = course.run(partial(_tell, tell, attempt, course))
        running, trained = None, course.trained(member, reason)
        if not reason:
            break
    assert trained is not None
    return trained


def _tell(tell: Tell, attempt: int, course: _Course) -> None:
    tell(lambda: {"attempt": attempt, **course.described()})


def untrained(member: Member, shape: networks.Shape, reason: str) -> Trained:
    """Record a member that could not be trained, with its initial weights."""
    start = _vector(networks.build(shape, member.seed % 2**63))
    return Trained(member.member, member.fold, member.seed, start, np.empty((0, 2)), 0, reason)


def _vector(network: nn.Module) -> npt.NDArray[np.float32]:
    vector: npt.NDArray[np.float32] = nn.utils.parameters_to_vector(network.parameters()).detach().numpy().copy()
    return vector


class _Course:
    """One training: everything that its next step depends on."""

    def __init__(self, fitting: Batchable, validation: Batchable, settings: Settings, seed: int) -> None:
        self.fitting, self.validation, self.settings, self.seed = fitting, validation, settings, seed
        self.network = networks.build(settings.shape, seed % 2**63)
        self.optimizer = OPTIMIZERS[settings.optimizer](
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.schedule = SCHEDULES[settings.schedule](self.optimizer, settings.epochs)
        self.generator = torch.Generator().manual_seed(seed % 2**63)
        self.shuffled = self.generator.get_state()
        """The generator at the start of the epoch: the order of its events follows."""
        self.step, self.total = 0, 0.0
        """Batches of this epoch that are done, and the sum of their losses."""
        self.history: list[tuple[float, float]] = []
        self.best, self.best_loss, self.best_epoch = _vector(self.network), math.inf, 0

    def described(self) -> dict[str, Any]:
        """Give the state between two steps."""
        return {
            "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(), "shuffled": self.shuffled, "step": self.step, "total": self.total,
            "history": self.history, "best": torch.from_numpy(self.best), "best_loss": self.best_loss, "best_epoch": self.best_epoch,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["shuffled"])
        self.shuffled, self.step, self.total = state["shuffled"], state["step"], state["total"]
        self.history, self.best = list(state["history"]), state["best"].numpy()
        self.best_loss, self.best_epoch = state["best_loss"], state["best_epoch"]

    def run(self, between: Callable[[], None]) -> str:
        """Train to the end; give the reason if it diverged.

        Args:
            between: Called before each step.
        """
        while len(self.history) < self.settings.epochs:
            losses = self._epoch(between)
            self.history.append(losses)
            epoch = len(self.history) - 1
            if not all(map(math.isfinite, losses)):
                return f"diverged in epoch {epoch + 1}"
            if losses[1] < self.best_loss:
                self.best_loss, self.best_epoch, self.best = losses[1], epoch, _vector(self.network)
            elif epoch - self.best_epoch >= self.settings.patience:
                break
        return ""

    def _epoch(self, between: Callable[[], None]) -> tuple[float, float]:
        """Do what is left of an epoch; give its loss on the training and on the validation events."""
        events, loss = self.fitting, LOSSES[self.settings.loss]
        order = torch.randperm(len(events.x), generator=self.generator)
        for rows in torch.split(order, self.settings.batch_size)[self.step :]:
            between()
            self.optimizer.zero_grad()
            value = loss(self.network(events.x[rows]), events.label[rows], events.weight[rows])
            torch.autograd.backward(value)
            self.optimizer.step()
            self.step, self.total = self.step + 1, self.total + float(value.detach()) * len(rows)
        self.schedule.step()
        mean = self.total / len(events.x)
        self.shuffled, self.step, self.total = self.generator.get_state(), 0, 0.0
        return mean, evaluate_loss(self.network, self.validation, self.settings.loss)

    def trained(self, member: Member, reason: str) -> Trained:
        """Give the result."""
        return Trained(
            member.member, member.fold, self.seed, self.best, np.array(self.history), self.best_epoch, reason
        )


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
