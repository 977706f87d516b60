"""The engine `native`: one multilayer perceptron at a time, its steps in compiled code, everything else as in `rows`.

The weights are the vector of which the module's parameters are views, and the optimiser's state is the one that torch's
optimiser holds: what is validated, scheduled and kept is the module itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from needle_parsl.nsbi.training import dropping, modules
from needle_parsl.nsbi.training.engines.hosting import Host
from needle_parsl.nsbi.training.engines.optimizing import Optimizing
from needle_parsl.nsbi.training.engines.rows import PLAIN, Rows, loss_of
from needle_parsl.nsbi.training.members import Job
from needle_parsl.nsbi.training.modules import Classifier
from needle_parsl.nsbi.training.native import passes, recognising
from needle_parsl.nsbi.training.native.passes import Table
from needle_parsl.nsbi.training.native.recognising import Plan, Sample
from needle_parsl.nsbi.training.native.trainer import Goal, Trainer
from needle_parsl.nsbi.training.native.updates import NADAM, SGD, Moments
from needle_parsl.nsbi.training.views import Batchable, Places

WORK = 2e9
"""Operations between two moments for interruptions: some hundredths of a second."""


class Native:
    """One member."""

    def __init__(self, jobs: Sequence[Job], plan: Plan) -> None:
        """Begin.

        Args:
            jobs: One.
            plan: From `proven`, for it or for another of the same pack.
        """
        self.rows = Rows(jobs)
        self.optimizer = self.rows.optimizing.optimizer
        rule = recognising.rule(self.optimizer)
        assert rule
        assert self.rows.optimizing.flat
        self.row = self.rows.optimizing.flat.row
        goals = _goals(self.rows.module)  # a member may have its own smoothing of labels, and its own dropout
        structure = plan.structure._replace(threshold=max((d.threshold for d in self.rows.dropouts), default=0))
        self.trainer = Trainer(structure, goals[0] if len(goals) == 1 else plan.goal, rule, self.rows.job.seed)
        self.stride = max(1, int(WORK / (6 * len(self.row) * self.rows.job.settings.batch_size)))
        self.row.grad = None
        # Schedulers want to have seen a step; torch's own would import its compiler.
        vars(self.optimizer)["_opt_called"] = True
        self._take({})

    def _take(self, state: Mapping[str, Any]) -> None:
        """Take the optimiser's state, or that before the first step, and leave it with torch's optimiser."""
        empty = torch.zeros_like(self.row.data)
        steps, product = float(self.rows.optimizing.steps), state.get("mu_product", torch.tensor(1.0))
        if self.trainer.rule.kind == SGD:
            first, second = state.get("momentum_buffer", empty), empty
            held = {"momentum_buffer": first}
        else:
            first, second = state.get("exp_avg", empty), state.get("exp_avg_sq", empty.clone())
            held = {"step": torch.tensor(steps), "exp_avg": first, "exp_avg_sq": second}
        if self.trainer.rule.kind == NADAM:
            held["mu_product"] = product
        self.moments = Moments(first.numpy(), second.numpy(), np.array([steps, float(product)]))
        self.optimizer.state[self.row] = held

    def train(self, rows: Sequence[Places]) -> Sequence[float]:
        """Do the steps of some batches."""
        (places,), size = rows, self.rows.job.settings.batch_size
        table, order = _table(self.rows.job, places)
        rate = self.optimizer.param_groups[0]["lr"]
        losses = self.trainer.train_batches(self.row.data.numpy(), self.moments, table, order, size, rate)
        self.rows.step += len(losses)
        self.rows.optimizing.steps += len(losses)
        self.rows.host.trainer.global_step += len(losses)
        counts = np.full(len(losses), size)
        counts[-1] = len(order) - size * (len(losses) - 1)
        return [float(counts @ losses)]

    def validate(self) -> Sequence[Mapping[str, float]]:
        """Run the module's `validation_step` over the validation events."""
        return self.rows.validate()

    def weights(self, place: int) -> torch.Tensor:
        """Copy the weights."""
        return self.rows.weights(place)

    def keep(self, places: Sequence[int]) -> None:
        """There is only one."""

    def describe(self, place: int) -> dict[str, Any]:
        """Give what `rows` gives; the numbers of steps are held elsewhere until then."""
        state = self.optimizer.state[self.row]
        for name, value in zip(("step", "mu_product"), self.moments.counts, strict=True):
            if name in state:
                state[name].fill_(float(value))
        return self.rows.describe(place)

    def restore(self, place: int, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.rows.restore(place, state)
        self._take(self.optimizer.state[self.row])


def _table(job: Job, places: Places) -> tuple[Table, npt.NDArray[np.int64]]:
    """Give events, and the order in which they come."""
    events = job.fitting
    if isinstance(events, Batchable) and isinstance(places, torch.Tensor):
        return Table(events.x.numpy(), events.label.numpy(), events.weight.numpy()), places.numpy()
    batch = events.batch(places)
    return Table(batch.x.numpy(), batch.label.numpy(), batch.weight.numpy()), np.arange(len(places))


def proven(job: Job, monitored: Collection[str] = ()) -> Plan | None:
    """Find out how compiled code trains like a member's own module; None if it cannot.

    The module's loss and gradient are compared for two batches, one as in the first epoch, one as in the last. Modules that
    remember something between steps, have hooks there, or log there what is looked at, are not compared.

    Args:
        job: Of a member; those of the others differ in numbers only.
        monitored: What decides on stopping and on the best epoch.
    """
    with torch.random.fork_rng(devices=[]):
        module = modules.build(job.settings, job.seed)
        host = Host(module, job.settings.epochs, -(-len(job.fitting) // job.settings.batch_size))
        found = recognising.structures(module)
        if not found or any("train" in hook or "fit" in hook for hook in host.hooks):
            return None
        optimizing = Optimizing(module.configure_optimizers(), module)
        whole_epochs = all(entry["interval"] == "epoch" for entry in optimizing.schedulers)
        if optimizing.flat is None or not whole_epochs or recognising.rule(optimizing.optimizer) is None:
            return None
        before = _remembered(module)
        samples = list(_samples(job, module, host, optimizing))
        after = _remembered(module)
        looked_at = {*monitored, *(entry["monitor"] for entry in optimizing.schedulers)}
        if (
            looked_at & host.logs.take().keys()
            or before.keys() != after.keys()
            or any(before[k] is not after[k] for k in after)
        ):
            return None
        return recognising.plan(found, _goals(module), optimizing.flat.row.data, samples, job.seed)


def _goals(module: nn.Module) -> tuple[Goal, ...]:
    """Give the goal of a network that is trained by needle's own loss, or what the user's own `training_step` may follow."""
    if not isinstance(module, Classifier):
        return recognising.GOALS
    known = {"carl": passes.BCE, "alice": passes.BCE, "mlc": passes.MLC, "multiclass": passes.SOFTMAX}
    loss, smoothing = module.settings.loss, module.settings.label_smoothing
    if loss not in known or (loss == "multiclass" and smoothing):  # smoothed numbers of classes are none
        return ()
    return (Goal(known[loss], smoothing),)


def _remembered(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if isinstance(value, (*PLAIN, list, dict))}


def _samples(job: Job, module: Any, host: Host, optimizing: Optimizing) -> Iterator[Sample]:
    """Compute loss and gradient of two batches."""
    assert optimizing.flat
    size = job.settings.batch_size
    order, dropouts = job.fitting.order(torch.Generator().manual_seed(0)), dropping.parts(module)
    for number, epoch in ((0, 0), (1, job.settings.epochs - 1)):
        places = order[number * size : (number + 1) * size]
        if len(places):
            host.trainer.current_epoch = epoch
            host.trainer.global_step = step = epoch * host.trainer.num_training_batches + number
            dropping.begin(dropouts, dropping.keyed(job.seed, step))
            batch = job.fitting.batch(places)
            optimizing.zero()
            loss = loss_of(module.training_step(batch, number))
            torch.autograd.backward(loss)
            table = Table(batch.x.numpy(), batch.label.numpy(), batch.weight.numpy())
            yield Sample(table, float(loss.detach()), optimizing.flat.gradients.clone(), step)
