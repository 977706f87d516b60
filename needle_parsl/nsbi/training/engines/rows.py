"""The engine `rows`: any module, one member at a time; parameters and gradients are views of flat vectors.

The module's own `training_step` runs unchanged. Its optimiser steps on the flat vector, which is the same arithmetic for all
element-wise ones, in one call instead of one per tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from needle_parsl.nsbi.training import modules, networks
from needle_parsl.nsbi.training.engines.logs import Logs
from needle_parsl.nsbi.training.engines.optimizing import Optimizing
from needle_parsl.nsbi.training.members import Job
from needle_parsl.nsbi.training.views import Places

CHUNK = 4096
"""Events that are validated at a time, if a batch is not larger."""


class Rows:
    """One member."""

    stride = 1

    def __init__(self, jobs: Sequence[Job]) -> None:
        (self.job,) = jobs
        self.module = modules.build(self.job.settings, self.job.seed)
        self.logs = Logs(self.module)
        flat = Flat(self.module)
        self.flat = flat
        self.optimizing = Optimizing(self.module.configure_optimizers(), flat)
        self.step = 0
        """Batches of this epoch that are done."""

    def train(self, rows: Sequence[Places]) -> Sequence[float]:
        """Do a step."""
        (chosen,) = rows
        self.flat.gradients.zero_()
        loss = self.module.training_step(self.job.fitting.batch(chosen), self.step)
        torch.autograd.backward(loss)
        self.optimizing.step()
        self.step += 1
        return [float(loss.detach()) * len(chosen)]

    def validate(self) -> Sequence[Mapping[str, float]]:
        """Run the module's `validation_step` over the validation events."""
        self.step = 0
        modes = [(part, part.training) for part in self.module.modules()]
        self.module.eval()
        with torch.no_grad():
            size = max(self.job.settings.batch_size, CHUNK)
            for number, batch in enumerate(self.job.validation.batches(size)):
                self.logs.batch_size = len(batch.x)
                self.module.validation_step(batch, number)
        for part, training in modes:
            part.training = training
        found = self.logs.take()
        self.optimizing.end_epoch(found)
        return [found]

    def weights(self, place: int) -> torch.Tensor:  # noqa: ARG002  the only one
        """Copy the weights."""
        return networks.vector(self.module)

    def keep(self, places: Sequence[int]) -> None:
        """There is only one."""

    def describe(self, place: int) -> dict[str, Any]:  # noqa: ARG002
        """Give module, optimiser, schedule and random state."""
        return {
            "module": dict(self.module.state_dict()),
            "optimizing": self.optimizing.describe(),
            "random": torch.random.get_rng_state(),
            "step": self.step,
        }

    def restore(self, place: int, state: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Take it back."""
        self.module.load_state_dict(state["module"])
        self.optimizing.restore(state["optimizing"])
        torch.random.set_rng_state(state["random"])
        self.step = state["step"]


class Flat:
    """The parameters of a module, moved into one vector, with their gradients in another."""

    def __init__(self, module: nn.Module) -> None:
        parameters = list(module.parameters())
        self.row = nn.Parameter(nn.utils.parameters_to_vector(parameters).detach().clone())
        self.gradients = torch.zeros_like(self.row)
        self.row.grad = self.gradients
        sizes = [p.numel() for p in parameters]
        for parameter, own, gradient in zip(
            parameters, torch.split(self.row.data, sizes), torch.split(self.gradients, sizes), strict=True
        ):
            parameter.data = own.view_as(parameter)
            parameter.grad = gradient.view_as(parameter)
