"""The engine `native`: one multilayer perceptron at a time, its steps in compiled code, everything else as in `sequential`.

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

from needle_parsl.analysis import catalogue
from needle_parsl.nsbi.data.loading.batches import Batch
from needle_parsl.nsbi.training import dropout, modules, randomness
from needle_parsl.nsbi.training.engines import recognition, tracing
from needle_parsl.nsbi.training.engines.module_host import TrainerStub
from needle_parsl.nsbi.training.engines.optimizer import Optimizing
from needle_parsl.nsbi.training.engines.recognition import ObservedBatch, TrainerPlan
from needle_parsl.nsbi.training.engines.sequential import MemberEngine, loss_of
from needle_parsl.nsbi.training.kernels import dropout_hash
from needle_parsl.nsbi.training.kernels.passes import EventTable
from needle_parsl.nsbi.training.kernels.trainer import CompiledTrainer, Goal, Structure
from needle_parsl.nsbi.training.kernels.updates import NADAM, SGD, Moments
from needle_parsl.nsbi.training.members import TrainingJob
from needle_parsl.nsbi.training.modules import Classifier
from needle_parsl.nsbi.training.ratio_events import Batchable, Places
from needle_parsl.nsbi.training.refusals import UnlikeError

COMPARED = 256
"""Events of a batch that is compared in each epoch."""
WORK = 2e9
"""Operations between two moments for interruptions: some hundredths of a second."""


class Native:
    """One member."""

    def __init__(self, jobs: Sequence[TrainingJob], plan: TrainerPlan) -> None:
        """Begin.

        Args:
            jobs: One.
            plan: From `proven`, for it or for another of the same pack.
        """
        self.rows = MemberEngine(jobs)
        self.optimizer = self.rows.optimizing.optimizer
        rule = recognition.rule(self.optimizer)
        assert rule
        assert self.rows.optimizing.flat
        self.row = self.rows.optimizing.flat.row
        goals = _goals(self.rows.module)  # a member may have its own smoothing of labels, and its own dropout
        structure = plan.structure._replace(threshold=max((d.threshold for d in self.rows.dropouts), default=0))
        self.trainer = CompiledTrainer(structure, goals[0] if len(goals) == 1 else plan.goal, rule, self.rows.job.seed)
        self.stride = max(1, int(WORK / (6 * len(self.row) * self.rows.job.settings.batch_size)))
        self.row.grad = None
        self.users = not _trusted(self.rows.module)
        self.latest: tuple[EventTable, npt.NDArray[np.int64], int] | None = None
        """Events of the newest batches, in their order, and the number of the first batch."""
        # Schedulers want to have seen a step; torch's own would import its compiler.
        vars(self.optimizer)["_opt_called"] = True
        self._take({})

    def _take(self, state: Mapping[str, Any]) -> None:
        """Take the optimiser's state, or that before the first step, and leave it with torch's optimiser."""
        empty = torch.zeros_like(self.row.data)
        steps, product = float(self.rows.host.facts["global_step"]), state.get("mu_product", torch.tensor(1.0))
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
        rule = recognition.rule(self.optimizer)  # schedulers move more than the rate: momentum, betas
        if rule is None:
            raise UnlikeError("its optimiser is changed while it trains")
        self.trainer.rule = rule
        self.latest = (table, order, self.rows.step)
        rate = self.optimizer.param_groups[0]["lr"]
        losses = self.trainer.train_batches(self.row.data.numpy(), self.moments, table, order, size, rate)
        self.rows.step += len(losses)
        self.rows.optimizing.steps += len(losses)
        self.rows.host.facts["global_step"] += len(losses)
        counts = np.full(len(losses), size)
        counts[-1] = len(order) - size * (len(losses) - 1)
        return [float(counts @ losses)]

    def validate(self) -> Sequence[Mapping[str, float]]:
        """Run the module's `validation_step` over the validation events; before, compare a batch of the epoch."""
        if self.users and self.latest:
            self._compare(*self.latest)
        return self.rows.validate()

    def _compare(self, table: EventTable, order: npt.NDArray[np.int64], first: int) -> None:
        """Hold the module's own step beside the compiled one.

        Raises:
            UnlikeError: They differ.
        """
        rows, flat = self.rows, self.rows.optimizing.flat
        assert flat
        size, epoch = rows.job.settings.batch_size, rows.host.facts["current_epoch"]
        number = epoch % -(-len(order) // size)
        places = order[number * size : (number + 1) * size][:COMPARED]
        sample = _gradient(
            EventTable(*(column[places] for column in table)), rows.host, rows.optimizing, first + number, rows.job
        )
        if not recognition.agrees(self.trainer, self.row.data, sample):
            raise UnlikeError(f"in epoch {epoch + 1} its training_step gives another gradient than compiled code")

    def seen(self, place: int) -> torch.Tensor | None:
        """Give ln r of the first validation events."""
        return self.rows.seen(place)

    def weights(self, place: int) -> torch.Tensor:
        """Copy the weights."""
        return self.rows.weights(place)

    def keep(self, places: Sequence[int]) -> None:
        """There is only one."""

    def describe(self, place: int) -> dict[str, Any]:
        """Give what `sequential` gives; the numbers of steps are held elsewhere until then."""
        state = self.optimizer.state[self.row]
        for name, value in zip(("step", "mu_product"), self.moments.counts, strict=True):
            if name in state:
                state[name].fill_(float(value))
        return self.rows.describe(place)

    def restore(self, place: int, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.rows.restore(place, state)
        self._take(self.optimizer.state[self.row])


def _table(job: TrainingJob, places: Places) -> tuple[EventTable, npt.NDArray[np.int64]]:
    """Give events, and the order in which they come."""
    events = job.fitting
    if isinstance(events, Batchable) and isinstance(places, torch.Tensor):
        return EventTable(events.x.numpy(), events.label.numpy(), events.weight.numpy()), places.numpy()
    batch = events.batch(places)
    return EventTable(batch.x.numpy(), batch.label.numpy(), batch.weight.numpy()), np.arange(len(places))


def proven(job: TrainingJob, monitored: Collection[str] = ()) -> TrainerPlan | None:
    """Find out how compiled code trains like a member's own module; None if it cannot.

    What a module of the user's does in a step must be recognised, operation by operation; then loss and gradient are compared
    for two batches. needle's own networks are only compared.

    Args:
        job: Of a member; those of the others differ in numbers only.
        monitored: What decides on stopping and on the best epoch.
    """
    with randomness.forked():
        module = modules.build(job.settings, job.seed)
        host = TrainerStub(module, job.settings.epochs, -(-len(job.fitting) // job.settings.batch_size))
        found = recognition.structures(module)
        if not found or host.hooks or job.settings.batch != "tuple":
            return None
        optimizing = Optimizing(module.configure_optimizers(), module)
        whole_epochs = all(entry["interval"] == "epoch" for entry in optimizing.schedulers)
        if optimizing.flat is None or not whole_epochs or recognition.rule(optimizing.optimizer) is None:
            return None
        looked_at = {*monitored, *(entry["monitor"] for entry in optimizing.schedulers)}
        if not _trusted(module):
            if tracing.overheard(module, optimizing.optimizer) or list(module.buffers()):
                return None
            found = tuple(s for s in found if _recognised(job, host, s, looked_at))
        return recognition.plan(
            found, _goals(module), optimizing.flat.row.data, list(_samples(job, host, optimizing)), job.seed
        )


def _trusted(module: nn.Module) -> bool:
    """Whether a module is needle's own, its network and its loss, too."""
    return (
        isinstance(module, Classifier)
        and module.settings.shape.network in catalogue.NETWORKS
        and module.settings.loss in catalogue.LOSSES
    )


def _goals(module: nn.Module) -> tuple[Goal, ...]:
    """Give the goal of a network that is trained by needle's own loss, or what the user's own `training_step` may follow."""
    if not isinstance(module, Classifier):
        return recognition.GOALS
    loss, smoothing = catalogue.loss(module.settings.loss), module.settings.label_smoothing
    if not loss.compiled or (loss.classes and smoothing):  # smoothed numbers of classes are none
        return ()
    return (Goal(catalogue.found(loss.compiled), smoothing),)


def _recognised(job: TrainingJob, host: TrainerStub, structure: Structure, looked_at: Collection[str]) -> bool:
    """Whether what the user has written does the operations of a perceptron and its loss, and nothing else."""
    module = host.module
    for number, events in enumerate(_two(job)):
        batch = modules.given(events, job.settings)
        if events.x.shape[1] != structure.widths[0]:
            return False
        try:
            if isinstance(module, Classifier):
                given = modules.inputs(batch, module.network)
                _, seen = tracing.trace(host, number, lambda _, g=given: module.network(*g))  # type: ignore[misc]  # mypy knows no defaults of lambdas
            else:
                _, seen = tracing.trace(host, number, lambda n, b=batch: host.step("training_step", b, n, len(b[0])))  # type: ignore[misc]  # likewise
        except Exception:  # noqa: BLE001  whatever a step says of a number that is none: it is not recognised
            return False
        told = seen.left or seen.asked or seen.drawn or seen.changed or seen.moved or seen.logged & {*looked_at}
        if told or not recognition.knows(
            seen.operations, structure, len(events.x), loss=not isinstance(module, Classifier)
        ):
            return False
    return True


PROVEN = 256
"""Events of a batch on which needle's own networks are compared: they are known not to depend on their number."""


def _two(job: TrainingJob, most: int | None = None) -> Iterator[Batch]:
    """Give two batches, or so many events of each."""
    size = job.settings.batch_size
    order = job.fitting.order(torch.Generator().manual_seed(0))
    for number in range(2):
        places = order[number * size : (number + 1) * size][:most]
        if len(places):
            yield Batch(*job.fitting.batch(places)[:3])


def _samples(job: TrainingJob, host: TrainerStub, optimizing: Optimizing) -> Iterator[ObservedBatch]:
    """Compute loss and gradient of two batches, one as in the first epoch, one as in the last."""
    for number, batch in enumerate(_two(job, PROVEN if _trusted(host.module) else None)):
        epoch = number * (job.settings.epochs - 1)
        host.facts["current_epoch"] = epoch
        host.facts["global_step"] = epoch * host.facts["num_training_batches"] + number
        yield _gradient(EventTable(*(column.numpy() for column in batch)), host, optimizing, number, job)


def _gradient(
    table: EventTable, host: TrainerStub, optimizing: Optimizing, number: int, job: TrainingJob
) -> ObservedBatch:
    """Compute loss and gradient of a batch by the module's own step."""
    assert optimizing.flat
    batch, step = Batch(*map(torch.from_numpy, table)), int(host.facts["global_step"])
    dropout.begin(dropout.parts(host.module), dropout_hash.keyed(job.seed, step))
    loss = loss_of(host.step("training_step", modules.given(batch, job.settings), number, len(table.x)))
    optimizing.zero()
    host.logs.clear()
    if loss is not None:
        torch.autograd.backward(loss)
    complete = loss is not None and optimizing.flat.take()
    gradient = optimizing.flat.gradients.clone() if complete else torch.full_like(optimizing.flat.gradients, torch.nan)
    optimizing.zero()
    return ObservedBatch(table, float(loss.detach()) if loss is not None else float("nan"), gradient, step)
