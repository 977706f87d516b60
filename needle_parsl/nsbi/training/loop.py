"""The loop of a training: what it sees when, its best weights, and when it ends. Everything but the arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.training.engine_protocol import Engine
from needle_parsl.nsbi.training.members import Member, TrainingJob
from needle_parsl.nsbi.training.packs import Trained
from needle_parsl.nsbi.training.ratio_events import Places
from needle_parsl.nsbi.training.stopping import EarlyStopping

GAIN = 0.03
"""What a training must gain in the loss from one length to the next to go on, times the root of the number of validation events: less is
noise for one member, and what many events could still gain is nothing that a fit would see."""


class MemberTraining:
    """One attempt to train one member."""

    def __init__(self, member: Member, attempt: int, job: TrainingJob) -> None:
        self.member, self.attempt, self.job = member, attempt, job
        self.generator = torch.Generator().manual_seed(job.seed % 2**63)
        self.shuffled = self.generator.get_state()
        """The generator at the start of the epoch: the order of its events follows."""
        self.step, self.total = 0, 0.0
        """Batches of this epoch that are done, and the sum of their losses times events."""
        self.history: list[tuple[float, float]] = []
        self.best: torch.Tensor | None = None
        self.seen: torch.Tensor | None = None
        """ln r of the first validation events in the best epoch."""
        self.untold = False
        """Whether the module's steps return no loss, as with manual optimisation."""
        self.kept: list[torch.Tensor] = []
        """Weights at the lengths at which a training may end."""
        self.watched(EarlyStopping())
        self.metrics: list[dict[str, float]] = []
        self.ended, self.reason = False, ""
        self.resumed: Mapping[str, Any] | None = None
        """What the engine goes on from."""

    def watched(self, watch: EarlyStopping) -> None:
        """Say what decides on stopping and on the best epoch; before the first epoch."""
        self.watch = watch
        self.best_loss, self.best_epoch = watch.best.worst, 0
        self.mark, self.waited = watch.stop.worst, 0
        """The value that early stopping compares with, and the epochs since it was better."""

    def order(self) -> Places:
        """Shuffle the training events for the next epoch, or for the one that was interrupted."""
        return self.job.fitting.order(self.generator)

    def note(
        self, logged: Mapping[str, float], weights: Callable[[], torch.Tensor], seen: torch.Tensor | None = None
    ) -> None:
        """End an epoch.

        Args:
            logged: What was monitored on the validation events.
            weights: Copies the member's weights.
            seen: ln r of the first validation events, by the network that was validated.

        Raises:
            TaskError: What decides on stopping was not logged.
        """
        watch = self.watch
        _require(logged, watch)
        losses = (self.total / len(self.job.fitting), logged[watch.loss])
        self.history.append(losses)
        self.shuffled, self.step, self.total = self.generator.get_state(), 0, 0.0
        self.metrics.append({name: value for name, value in logged.items() if name != watch.loss})
        epoch, settings = len(self.history) - 1, self.job.settings
        if not math.isfinite(losses[1]) or not (math.isfinite(losses[0]) or self.untold):
            self.reason = f"diverged in epoch {epoch + 1}"
        elif settings.lengths:
            self._at_length(epoch, losses[1], weights, seen)
            return
        elif watch.best.monitor in logged and watch.best.better(logged[watch.best.monitor], self.best_loss):
            self.best_loss, self.best_epoch, self.best = logged[watch.best.monitor], epoch, weights()
            self.seen = seen
        self.ended = bool(self.reason) or self._impatient(logged) or len(self.history) >= settings.epochs

    def _impatient(self, logged: Mapping[str, float]) -> bool:
        """Whether patience has run out, or what is looked at is no finite number any more."""
        rule, patience = self.watch.stop, self.watch.patience
        if rule.monitor not in logged:
            return False
        value = logged[rule.monitor]
        if rule.finite and not math.isfinite(value):
            return True
        if rule.better(value, self.mark):
            self.mark, self.waited = value, 0
            return False
        self.waited += 1
        return self.waited >= (self.job.settings.patience if patience is None else patience)

    def _at_length(
        self, epoch: int, loss: float, weights: Callable[[], torch.Tensor], seen: torch.Tensor | None
    ) -> None:
        """Where a training may end, keep its weights; end there if hardly anything was gained since the last such place.

        Which of them count is decided by the losses of all members, see `packs.settled`.
        """
        if epoch + 1 not in self.job.settings.lengths:
            return
        still = self.best_loss - loss < GAIN / math.sqrt(len(self.job.validation))
        self.kept.append(weights())
        if self.watch.best.better(loss, self.best_loss):
            self.best_loss, self.best_epoch, self.best, self.seen = loss, epoch, self.kept[-1], seen
        self.ended = still or epoch + 1 >= self.job.settings.lengths[-1]

    def described(self) -> dict[str, Any]:
        """Give the state between two steps."""
        return {
            "name": self.member.name, "attempt": self.attempt, "shuffled": self.shuffled, "step": self.step, "total": self.total,
            "history": self.history, "best": self.best, "best_loss": self.best_loss, "best_epoch": self.best_epoch,
            "mark": self.mark, "waited": self.waited, "metrics": self.metrics, "seen": self.seen, "kept": self.kept,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self.generator.set_state(state["shuffled"])
        self.shuffled, self.step, self.total = state["shuffled"], state["step"], state["total"]
        self.history, self.best = list(state["history"]), state["best"]
        self.best_loss, self.best_epoch = state["best_loss"], state["best_epoch"]
        self.mark, self.waited, self.metrics = state["mark"], state["waited"], list(state["metrics"])
        self.seen = state["seen"]
        self.kept = list(state["kept"])
        self.resumed = state["arithmetic"]

    def trained(
        self,
        initial: Callable[[], torch.Tensor],
        engine: str,
        reason: str = "",
        whole: Callable[[torch.Tensor], torch.Tensor] = lambda weights: weights,
    ) -> Trained:
        """Give the result.

        Args:
            initial: Gives the weights of a member that never had a good epoch.
            engine: Which one did it.
            reason: Why it cannot be used although it has trained.
            whole: Gives the weights of the network by those of what was trained.
        """
        best = initial() if self.best is None else whole(self.best)
        history = np.array(self.history).reshape(-1, 2)
        member, fold = self.member.name
        return Trained(
            member=member, fold=fold, seed=self.job.seed, weights=best.numpy(), history=history, best_epoch=self.best_epoch, reason=self.reason or reason, engine=engine, metrics=self.curves(),
            kept={epochs: whole(own).numpy() for epochs, own in zip(self.job.settings.lengths, self.kept, strict=False)}, settings=self.member.said,
        )  # fmt: skip

    def curves(self) -> dict[str, npt.NDArray[np.float64]]:
        """Give what was measured in every epoch, by name, shape (E,)."""
        names = dict.fromkeys(name for epoch in self.metrics for name in epoch)
        return {name: np.array([epoch.get(name, math.nan) for epoch in self.metrics]) for name in names}


def _require(logged: Mapping[str, float], watch: EarlyStopping) -> None:
    """Refuse to go on without the validation loss, and what early stopping and the best epoch look at."""
    for name, needed in ((watch.loss, True), (watch.stop.monitor, watch.stop.strict), (watch.best.monitor, True)):
        if needed and name not in logged:
            raise TaskError(f'logs no "{name}" on the validation events; it logs {", ".join(logged) or "nothing"}')


def run(
    trainings: Sequence[MemberTraining], arithmetic: Engine, between: Callable[[Sequence[MemberTraining]], None]
) -> None:
    """Train to the end of all trainings; those that have ended leave the others.

    Args:
        trainings: In the order in which the arithmetic has them; all at the same step of an epoch.
        arithmetic: Of an engine.
        between: Called before each step, with the trainings that are left.
    """
    while trainings:
        _epoch(trainings, arithmetic, between)
        for place, (training, logged) in enumerate(zip(trainings, arithmetic.validate(), strict=True)):
            weights = partial(arithmetic.weights, place)
            training.note(logged, weights, arithmetic.seen(place))
        left = [place for place, training in enumerate(trainings) if not training.ended]
        if left and len(left) < len(trainings):
            arithmetic.keep(left)
        trainings = [trainings[place] for place in left]


def _epoch(
    trainings: Sequence[MemberTraining], arithmetic: Engine, between: Callable[[Sequence[MemberTraining]], None]
) -> None:
    """Do what is left of an epoch."""
    orders = [training.order() for training in trainings]
    size = trainings[0].job.settings.batch_size
    batches = math.ceil(max(map(len, orders)) / size)
    for step in range(trainings[0].step, batches, arithmetic.stride):
        between(trainings)
        rows = [order[step * size : (step + arithmetic.stride) * size] for order in orders]
        for training, total in zip(trainings, arithmetic.train(rows), strict=True):
            training.step, training.total = step + arithmetic.stride, training.total + total
