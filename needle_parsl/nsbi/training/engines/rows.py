"""The engine `rows`: any module, one member at a time; parameters and gradients are views of flat vectors.

The module's own `training_step` runs unchanged. Its optimiser steps on the flat vector, which is the same arithmetic for all
element-wise ones, in one call instead of one per tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from needle_parsl.nsbi.training import dropping, modules, networks
from needle_parsl.nsbi.training.engines.hosting import Host
from needle_parsl.nsbi.training.engines.optimizing import Optimizing
from needle_parsl.nsbi.training.members import Job
from needle_parsl.nsbi.training.metrics import measure
from needle_parsl.nsbi.training.views import Places

CHUNK = 4096
"""Events that are validated at a time, if a batch is not larger."""
PLAIN = (bool, int, float, str, torch.Tensor)
"""Kinds of attributes by which a module may remember something between two steps."""


class Rows:
    """One member."""

    stride = 1

    def __init__(self, jobs: Sequence[Job]) -> None:
        (self.job,) = jobs
        settings = self.job.settings
        self.module = modules.build(settings, self.job.seed)
        self.host = Host(self.module, settings.epochs, -(-len(self.job.fitting) // settings.batch_size))
        self.optimizing = Optimizing(self.module.configure_optimizers(), self.module)
        self.dropouts = dropping.parts(self.module)
        self.step = 0
        """Batches of this epoch that are done."""

    def train(self, rows: Sequence[Places]) -> Sequence[float]:
        """Do a step."""
        (chosen,) = rows
        if self.step == 0:
            self._begin()
        self.host.logs.batch_size = len(chosen)
        self.optimizing.zero()
        dropping.begin(self.dropouts, dropping.keyed(self.job.seed, self.optimizing.steps))
        loss = loss_of(self.module.training_step(self.job.fitting.batch(chosen), self.step))
        torch.autograd.backward(loss)
        self.optimizing.step()
        self.step += 1
        self.host.trainer.global_step += 1
        return [float(loss.detach()) * len(chosen)]

    def _begin(self) -> None:
        """Call the hooks of the start."""
        if self.host.trainer.global_step == 0:
            self.host.call("on_fit_start")
            self.host.call("on_train_start")
        self.host.call("on_train_epoch_start")

    def validate(self) -> Sequence[Mapping[str, float]]:
        """Run the module's `validation_step` over the validation events."""
        host, self.step = self.host, 0
        modes = [(part, part.training) for part in self.module.modules()]
        self.module.eval()
        host.trainer.training, host.trainer.validating = False, True
        size, wanted = max(self.job.settings.batch_size, CHUNK), self.job.settings.metrics
        judged: list[tuple[torch.Tensor, ...]] = []
        with torch.no_grad():
            host.call("on_validation_epoch_start")
            for number, batch in enumerate(self.job.validation.batches(size)):
                host.logs.batch_size = len(batch.x)
                self.module.validation_step(batch, number)
                if wanted:
                    judged.append((*batch[:3], modules.ratio(self.module, batch)))
            host.call("on_validation_epoch_end")
        for part, training in modes:
            part.training = training
        host.trainer.training, host.trainer.validating = True, False
        host.call("on_train_epoch_end")
        found = host.logs.take() | (measure(wanted, judged) if wanted else {})
        found["learning_rate"] = self.optimizing.rate
        self.optimizing.end_epoch(found)
        host.trainer.current_epoch += 1
        return [found]

    def weights(self, place: int) -> torch.Tensor:  # noqa: ARG002  the engines of packs have several places, this one has one
        """Copy the weights."""
        return networks.vector(self.module)

    def keep(self, places: Sequence[int]) -> None:
        """There is only one."""

    def describe(self, place: int) -> dict[str, Any]:  # noqa: ARG002  the engines of packs have several places, this one has one
        """Give module, optimiser, schedules, random state and what the module remembers."""
        remembered = vars(self.module).items()
        return {
            "module": dict(self.module.state_dict()),
            "attributes": {
                name: value for name, value in remembered if isinstance(value, PLAIN) and not name.startswith("_")
            },
            "optimizing": self.optimizing.describe(),
            "random": torch.random.get_rng_state(),
            "step": self.step,
            "epoch": self.host.trainer.current_epoch,
            "steps": self.host.trainer.global_step,
        }

    def restore(self, place: int, state: Mapping[str, Any]) -> None:  # noqa: ARG002  the engines of packs have several places, this one has one
        """Take it back."""
        self.module.load_state_dict(state["module"])
        for name, value in state["attributes"].items():
            setattr(self.module, name, value)
        self.optimizing.restore(state["optimizing"])
        torch.random.set_rng_state(state["random"])
        self.step = state["step"]
        self.host.trainer.current_epoch, self.host.trainer.global_step = state["epoch"], state["steps"]


def loss_of(returned: Any) -> torch.Tensor:
    """Take the loss out of what `training_step` has returned: itself, or under `loss`."""
    loss: torch.Tensor = returned["loss"] if isinstance(returned, Mapping) else returned
    return loss
