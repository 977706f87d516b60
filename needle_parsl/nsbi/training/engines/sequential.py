"""The engine `sequential`: any module, one member at a time; parameters and gradients are views of flat vectors.

The module's own `training_step` runs unchanged. Its optimiser steps on the flat vector, which is the same arithmetic for all
element-wise ones, in one call instead of one per tensor. What happens when within an epoch is Lightning's order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from needle_parsl.analysis import catalogue
from needle_parsl.nsbi.data.loading.batches import Batch, ParticleBatch
from needle_parsl.nsbi.training import dropout, modules, networks, randomness
from needle_parsl.nsbi.training.engines.module_host import TrainerStub
from needle_parsl.nsbi.training.engines.optimizer import Optimizing
from needle_parsl.nsbi.training.kernels import dropout_hash
from needle_parsl.nsbi.training.members import TrainingJob
from needle_parsl.nsbi.training.metrics import measure
from needle_parsl.nsbi.training.ratio_events import Places

CHUNK = 4096
"""Events that needle's own loss is validated on at a time, if a batch is not larger."""
FEW = 256
"""Events whose ln r is remembered with the weights of the best epoch."""
PLAIN = (bool, int, float, str, torch.Tensor)
"""Kinds of attributes by which a module may remember something between two steps."""


class MemberEngine:
    """One member."""

    stride = 1

    def __init__(self, jobs: Sequence[TrainingJob]) -> None:
        (self.job,) = jobs
        settings = self.job.settings
        self.module = modules.build(settings, self.job.seed)
        self.batches = -(-len(self.job.fitting) // settings.batch_size)
        self.host = TrainerStub(self.module, settings.epochs, self.batches)
        self.optimizing = Optimizing(self.module.configure_optimizers(), self.module)
        self.chunk = chunk(self.module, self.job)
        self.lonely = not normalised(self.module)
        """Whether a batch may hold a single event."""
        self.dropouts = dropout.parts(self.module)
        self.step = 0
        """Batches of this epoch that are done."""
        self.mean = 0.0
        """The newest loss."""
        self.first: torch.Tensor | None = None
        self.validated: torch.Tensor | None = None
        """The weights that were validated, where hooks may change them before the epoch ends."""

    def train(self, rows: Sequence[Places]) -> Sequence[float]:
        """Do a step."""
        (chosen,) = rows
        if self.step == 0:
            self._begin()
        if len(chosen) > 1 or self.lonely or self.job.settings.batch_size == 1:
            self._step(self.job.fitting.batch(chosen), len(chosen))
        self.step += 1
        return [self.mean * len(chosen)]

    def _step(self, batch: Any, size: int) -> None:
        """Compute the loss and step; a loss of None skips the batch, and schedulers move all the same."""
        dropout.begin(self.dropouts, dropout_hash.keyed(self.job.seed, self.optimizing.steps))
        loss = loss_of(self.host.step("training_step", modules.given(batch, self.job.settings), self.step, size))
        self.optimizing.zero()
        if loss is not None:
            torch.autograd.backward(loss)
            self.optimizing.step()
            self.mean = float(loss.detach())
        self.host.facts["global_step"] += 1
        if self.optimizing.schedulers:
            self._move_step()

    def _move_step(self) -> None:
        """Move the learning rates that move with every step; of the last one, those that look at a value wait for validation."""
        self.optimizing.move("step", self.step, {}, plateau=False)
        if self.step + 1 < self.batches:
            self._look()

    def _look(self) -> None:
        if any(entry["reduce_on_plateau"] and entry["interval"] == "step" for entry in self.optimizing.schedulers):
            self.host.logs.step()
            self.optimizing.move("step", self.step, self.host.logs.known, plateau=True)

    def _begin(self) -> None:
        """Call the hooks of the start."""
        if self.host.facts["global_step"] == 0 and self.host.facts["current_epoch"] == 0:
            self.host.call("on_fit_start")
            self.host.call("on_train_start")
        self.host.call("on_train_epoch_start")

    def validate(self) -> Sequence[Mapping[str, float]]:
        """End an epoch: run the module's `validation_step` over the validation events, and move the learning rates."""
        host, facts, rate = self.host, self.host.facts, self.optimizing.rate
        host.logs.step()
        self.optimizing.move("epoch", facts["current_epoch"], {}, plateau=False)
        measured = self._validate()
        self.step = self.batches - 1
        self._look()
        self.step = 0
        host.call("on_train_epoch_end")
        host.logs.epoch()
        found = {**host.logs.values(), **measured, "learning_rate": rate}
        self.optimizing.move("epoch", facts["current_epoch"], host.logs.known, plateau=True)
        facts["current_epoch"] += 1
        return [found]

    def _validate(self) -> dict[str, float]:
        """Go through the validation events; give the metrics of `[training]`."""
        host, facts, wanted = self.host, self.host.facts, self.job.settings.metrics
        modes = [(part, part.training) for part in self.module.modules()]
        self.module.eval()
        facts["training"], facts["validating"], host.logs.validating = False, True, True
        judged: list[tuple[torch.Tensor, ...]] = []
        with torch.no_grad():
            host.call("on_validation_epoch_start")
            for number, batch in enumerate(self.job.validation.batches(self.chunk)):
                host.step("validation_step", modules.given(batch, self.job.settings), number, len(batch.label))
                if wanted or not number:
                    with randomness.forked():  # Lightning alone does not ask a forward that draws numbers once more
                        judged += self._judged(batch, number)
            if host.hooks.keys() & {"on_validation_epoch_end", "on_train_epoch_end"}:
                self.validated = networks.vector(self.module)
            host.call("on_validation_epoch_end")
        for part, training in modes:
            part.training = training
        facts["training"], facts["validating"], host.logs.validating = True, False, False
        host.logs.validated()
        return measure(wanted, judged) if wanted else {}

    def _judged(self, batch: Batch | ParticleBatch, number: int) -> list[tuple[torch.Tensor, ...]]:
        """Give what the metrics need of a batch, and remember what the network gives for the first."""
        if not number:
            self.first = witness(self.module, batch, self.job)
        if not self.job.settings.metrics:
            return []
        return [(*batch[:3], modules.ratio(self.module, batch, self.job.settings))]

    def weights(self, place: int) -> torch.Tensor:  # noqa: ARG002  the engines of packs have several places, this one has one
        """Copy the weights that were validated."""
        return networks.vector(self.module) if self.validated is None else self.validated

    def seen(self, place: int) -> torch.Tensor | None:  # noqa: ARG002  the engines of packs have several places, this one has one
        """Give ln r of the first validation events."""
        return self.first

    def keep(self, places: Sequence[int]) -> None:
        """There is only one."""

    def describe(self, place: int) -> dict[str, Any]:  # noqa: ARG002  the engines of packs have several places, this one has one
        """Give module, optimiser, schedules, random states and what the module remembers."""
        remembered = vars(self.module).items()
        return {
            "module": dict(self.module.state_dict()),
            "modes": [part.training for part in self.module.modules()],
            "learned": [p.requires_grad for p in self.module.parameters()],
            "attributes": {
                name: value for name, value in remembered if isinstance(value, PLAIN) and not name.startswith("_")
            },
            "optimizing": self.optimizing.describe(),
            "logs": self.host.logs.describe(self.module),
            "random": randomness.describe(),
            "step": self.step,
            "mean": self.mean,
            "epoch": self.host.facts["current_epoch"],
            "steps": self.host.facts["global_step"],
        }

    def restore(self, place: int, state: Mapping[str, Any]) -> None:  # noqa: ARG002  the engines of packs have several places, this one has one
        """Take it back."""
        self.module.load_state_dict(state["module"])
        for part, training in zip(self.module.modules(), state["modes"], strict=True):
            part.training = training
        for parameter, learned in zip(self.module.parameters(), state["learned"], strict=True):
            parameter.requires_grad_(learned)
        for name, value in state["attributes"].items():
            setattr(self.module, name, value)
        self.optimizing.restore(state["optimizing"])
        self.host.logs.restore(self.module, state["logs"])
        randomness.restore(state["random"])
        self.step, self.mean = state["step"], state["mean"]
        self.host.facts["current_epoch"], self.host.facts["global_step"] = state["epoch"], state["steps"]


def loss_of(returned: Any) -> torch.Tensor | None:
    """Take the loss out of what `training_step` has returned: itself, or under `loss`; None skips the batch."""
    loss: torch.Tensor | None = returned["loss"] if isinstance(returned, Mapping) else returned
    return loss


def chunk(module: nn.Module, job: TrainingJob) -> int:
    """Give the events that are validated at a time: a batch for a module of the user's, which may see how many there are."""
    size = job.settings.batch_size
    return max(size, CHUNK) if isinstance(module, modules.Classifier) else size


def witness(module: Any, batch: Batch | ParticleBatch, job: TrainingJob) -> torch.Tensor | None:
    """Give ln r of some validation events, by which it is seen later whether the weights that were kept are all there is.

    Networks of needle's are made of their weights alone, and nothing is computed for them.
    """
    if job.settings.shape.network in catalogue.NETWORKS:
        return None
    few = batch if isinstance(batch, ParticleBatch) else Batch(*(column[:FEW] for column in batch))
    return modules.ratio(module, few, job.settings)


def normalised(module: nn.Module) -> bool:
    """Whether a module normalises by batches, for which one event is too few."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())  # noqa: SLF001  the base class of all
