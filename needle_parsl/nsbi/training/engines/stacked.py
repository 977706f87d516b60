"""The engine `stacked`: the members of a pack at once, their weights one array (K, P), through `torch.func`.

For accelerators, where one small network cannot fill the device; on a CPU members one after the other stay in cache and are
faster (docs/training.md). Shapes are static: batches are (K, B) whatever the members' numbers of events; the last, smaller
batch of an epoch is done member by member. Members that have stopped leave the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.func import functional_call, grad_and_value, vmap

from needle_parsl.analysis import catalogue
from needle_parsl.nsbi.data.loading.batches import Batch
from needle_parsl.nsbi.training import dropout, modules, networks, randomness
from needle_parsl.nsbi.training.engines import tracing, updates
from needle_parsl.nsbi.training.engines.logged_metrics import Logs
from needle_parsl.nsbi.training.engines.module_host import CONSTANT, TrainerStub
from needle_parsl.nsbi.training.engines.optimizer import Optimizing
from needle_parsl.nsbi.training.engines.sequential import chunk, loss_of, witness
from needle_parsl.nsbi.training.engines.updates import Updates
from needle_parsl.nsbi.training.kernels import dropout_hash
from needle_parsl.nsbi.training.members import TrainingJob
from needle_parsl.nsbi.training.metrics import measure
from needle_parsl.nsbi.training.ratio_events import Batchable, Places
from needle_parsl.nsbi.training.refusals import UnlikeError

Tensors = dict[str, torch.Tensor]
SHARED = {"current_epoch", "max_epochs", "training", "validating", *CONSTANT}
"""Facts of a Trainer that are the same for all members."""


class Stacked:
    """K members."""

    stride = 1

    def __init__(self, jobs: Sequence[TrainingJob]) -> None:
        self.jobs = list(jobs)
        made = [modules.build(job.settings, job.seed) for job in jobs]
        self.module = made[0]
        """The one that runs, with everybody's weights in turn."""
        batches = [-(-len(job.fitting) // job.settings.batch_size) for job in jobs]
        hosts = [TrainerStub(m, job.settings.epochs, n) for m, job, n in zip(made, jobs, batches, strict=True)]
        self.host, self.batches = hosts[0], batches
        self.chunk = chunk(self.module, jobs[0])
        self.optimizing = [_scheduled(module) for module in made]
        self.weights_ = torch.stack([networks.vector(module) for module in made]).to(device())
        self.parameters = sum(p.numel() for p in self.module.parameters())
        self.updates = Updates([o.optimizer for o in self.optimizing], self.weights_[:, : self.parameters])
        self.module.to(device())
        self.dropouts = dropout.parts(self.module)
        self.modes = [(part, part.training) for part in self.module.modules()]
        self.logs = [_logs() for _ in jobs]
        self.caught: Tensors = {}
        self.module.log, self.module.log_dict = self._catch, self._catch_all
        self.latest: tuple[int, Any] | None = None
        """Number of the newest whole batch, and the batch of every member."""
        self.step = 0

    def _catch(
        self, name: str, value: Any, *_: Any, on_step: bool | None = None, on_epoch: bool | None = None, reduce_fx: Any = "mean",
        batch_size: int | None = None, **__: Any,
    ) -> None:  # fmt: skip
        """Take what the module logs, if that is averaged over the events."""
        if self.host.facts["validating"]:
            plain = reduce_fx in ("mean", torch.mean) and batch_size is None and not on_step and on_epoch is not False
            if not plain or (hasattr(value, "compute") and not isinstance(value, torch.Tensor)):
                raise UnlikeError(f"it logs {name} in a way of its own")
            self.caught[name] = torch.as_tensor(value, dtype=torch.float32).detach()

    def _catch_all(self, values: Mapping[str, Any], *arguments: Any, **options: Any) -> None:
        for name, value in values.items():
            self._catch(name, value, *arguments, **options)

    def _mode(self, *, training: bool) -> None:
        """Put all parts into the mode that they began in, or into that of validation."""
        for part, mode in self.modes:
            part.training = mode and training
        self.host.facts["training"], self.host.facts["validating"] = training, not training

    def train(self, rows: Sequence[Places]) -> Sequence[float]:
        """Do a step of those members that have a batch left."""
        size = self.jobs[0].settings.batch_size
        self._mode(training=True)
        losses = [0.0] * len(rows)
        full = [k for k, places in enumerate(rows) if len(places) == size]
        if full:
            batch = _stack([self._whole(k, places, size) for k, places in enumerate(rows)])
            self.latest = (self.step, batch)
            buffers = self.weights_[:, self.parameters :].clone()
            gradients, loss = self.differentiated(batch, torch.tensor(list(map(self.key, range(len(rows))))))
            left = [k for k in range(len(rows)) if k not in full]
            self.weights_[left, self.parameters :] = buffers[left]
            self._move(full, gradients)
            for k, value in zip(full, loss[full].tolist(), strict=True):
                losses[k] = value * size
        for k, places in enumerate(rows):
            if 0 < len(places) < size:
                losses[k] = self._alone(k, _moved(self.jobs[k].fitting.batch(places))) * len(places)
        self.step += 1
        self.host.facts["global_step"] += 1
        return losses

    def _whole(self, place: int, places: Places, size: int) -> Any:
        """Give a member a whole batch; one whose turn it is not gets events of its own, and does not move."""
        events = self.jobs[place].fitting
        return events.batch(places if len(places) == size else torch.arange(size) % len(events))

    def key(self, place: int) -> int:
        """Give what dropout follows from in the next step of a member."""
        return dropout_hash.keyed(self.jobs[place].seed, self.optimizing[place].steps)

    def differentiated(self, batch: Batch, keys: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute everybody's gradient (K, P) and loss (K).

        Args:
            batch: Of everybody.
            keys: Of dropout, shape (K,).
        """
        parameters, buffers = self.named(self.weights_)
        step = vmap(grad_and_value(self.loss), randomness="different")
        keys = torch.zeros(len(self.jobs), dtype=torch.int64) if keys is None else keys
        gradients, loss = step(parameters, buffers, batch, keys.to(device()))
        flat = torch.cat([gradients[name].flatten(1) for name in parameters], dim=1)
        return flat, loss

    def loss(self, parameters: Tensors, buffers: Tensors, batch: Batch, key: torch.Tensor | int = 0) -> torch.Tensor:
        """Call `training_step` with some weights, and with a key of dropout."""
        dropout.begin(self.dropouts, key)
        given = modules.given(batch, self.jobs[0].settings)
        loss = loss_of(functional_call(_Call(self.host, "training_step"), (parameters, buffers), (given, self.step)))
        dropout.begin(self.dropouts, 0)  # no tensor of a transformation outlives it
        if loss is None:
            raise UnlikeError("it skips batches")
        return loss

    def _alone(self, place: int, batch: Batch) -> float:
        """Do a step of one member."""
        parameters, buffers = self.named(self.weights_[place])
        gradients, loss = grad_and_value(self.loss)(parameters, buffers, batch, self.key(place))
        flat = torch.cat([gradients[name].flatten() for name in parameters])
        self._move([place], flat.expand(len(self.jobs), -1))
        return float(loss)

    def _move(self, places: Sequence[int], gradients: torch.Tensor) -> None:
        """Step the optimisers of some members."""
        active = torch.zeros(len(self.jobs), 1, dtype=torch.bool, device=gradients.device)
        active[list(places)] = True
        self.updates.step(self.weights_[:, : self.parameters], gradients, active)
        for place in places:
            self.optimizing[place].steps += 1
            self.optimizing[place].move("step", self.step, {}, plateau=False)

    def named(self, weights: torch.Tensor) -> tuple[Tensors, Tensors]:
        """Cut weights (..., P) into views by name: parameters, and buffers such as running means."""
        named = [*self.module.named_parameters(), *self.module.named_buffers()]
        cut = torch.split(weights, [part.numel() for _, part in named], dim=-1)
        views = {
            f"module.{name}": own.view((*weights.shape[:-1], *part.shape)).to(part.dtype)
            for (name, part), own in zip(named, cut, strict=True)
        }
        count = len(list(self.module.parameters()))
        return dict(list(views.items())[:count]), dict(list(views.items())[count:])

    def validate(self) -> Sequence[Mapping[str, float]]:
        """Run the module's `validation_step`, stacked where all members have a whole chunk left."""
        rates, epoch = [o.rate for o in self.optimizing], self.host.facts["current_epoch"]
        self._compare(epoch)
        for o in self.optimizing:
            o.move("epoch", epoch, {}, plateau=False)
        self._mode(training=False)
        chunks = [list(job.validation.batches(self.chunk)) for job in self.jobs]
        with torch.no_grad():
            for number in range(max(map(len, chunks))):
                have = {k: own[number] for k, own in enumerate(chunks) if number < len(own)}
                sizes = {len(batch.x) for batch in have.values()}
                if len(have) == len(self.jobs) and len(sizes) == 1:
                    self._note(range(len(self.jobs)), self.evaluated(_stack(list(have.values())), number), sizes.pop())
                    continue
                for k, batch in have.items():
                    self._note([k], self.evaluated(_moved(batch), number, k), len(batch.x))
        found = []
        for k, logs in enumerate(self.logs):
            logs.validated()
            found.append({**logs.values(), **self._measured(k, chunks[k]), "learning_rate": rates[k]})
            self.optimizing[k].move("epoch", epoch, logs.known, plateau=True)
        self.host.facts["current_epoch"] += 1
        self.step = 0
        return found

    def _compare(self, epoch: int) -> None:
        """Hold the module's own step of one member, without its dropout, beside the stacked one.

        Raises:
            UnlikeError: They differ.
        """
        if self.latest is None:
            return
        (step, batch), done, place = self.latest, self.step, epoch % len(self.jobs)
        self.step = step
        for part, _ in self.modes:
            part.eval()
        same = self.alike(batch, place)
        self.step = done
        if not same:
            raise UnlikeError(f"in epoch {epoch + 1} its training_step gives another gradient alone than stacked")

    def alike(self, batch: Batch, place: int) -> bool:
        """Whether a member has the loss and gradient that its own step gives."""
        gradients, losses = self.differentiated(batch)
        parameters, buffers = self.named(self.weights_[place])
        own = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        loss = self.loss(own, buffers, Batch(*(column[place] for column in batch)))
        alone = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
        if any(gradient is None for gradient in alone):
            return False
        flat = torch.cat([gradient.flatten() for gradient in alone])
        if not torch.isfinite(loss):  # the member ends after this epoch
            return True
        near = torch.allclose(gradients[place], flat, rtol=1e-3, atol=1e-5 * float(flat.abs().max()))
        return near and torch.allclose(losses[place], loss.detach(), rtol=1e-5)

    def evaluated(self, batch: Batch, number: int, place: int | None = None) -> Tensors:
        """Give what `validation_step` logs: for one member, or for all, shape (K)."""
        validate = _Call(self.host, "validation_step")

        def logged(parameters: Tensors, buffers: Tensors, batch: Batch) -> Tensors:
            self.caught = {}
            functional_call(validate, (parameters, buffers), (modules.given(batch, self.jobs[0].settings), number))
            return dict(self.caught)

        weights = self.weights_ if place is None else self.weights_[place]
        call: Callable[..., Tensors] = vmap(logged, randomness="different") if place is None else logged
        return call(*self.named(weights), batch)

    def _measured(self, place: int, chunks: Sequence[Any]) -> dict[str, float]:
        """Compute a member's metrics."""
        settings = self.jobs[place].settings
        if not settings.metrics:
            return {}
        own = self._own(place)
        with torch.no_grad():
            return measure(settings.metrics, [(*batch[:3], modules.ratio(own, batch, settings)) for batch in chunks])

    def _own(self, place: int) -> Any:
        """Make a member's module, with its weights."""
        with randomness.forked():
            own = modules.build(self.jobs[place].settings, 0)
        networks.fill(own, self.weights(place))
        return own.eval()

    def seen(self, place: int) -> torch.Tensor | None:
        """Give ln r of a member for its first validation events."""
        job = self.jobs[place]
        if job.settings.shape.network in catalogue.NETWORKS:
            return None
        with torch.no_grad():
            return witness(self._own(place), next(iter(job.validation.batches(self.chunk))), job)

    def _note(self, places: Sequence[int], logged: Tensors, size: int) -> None:
        for name, values in logged.items():
            for place, value in zip(places, values.reshape(-1).cpu(), strict=True):
                self.logs[place].log(name, value, batch_size=size)

    def weights(self, place: int) -> torch.Tensor:
        """Copy a member's weights."""
        return self.weights_[place].detach().cpu().clone()

    def keep(self, places: Sequence[int]) -> None:
        """Make the stack smaller."""
        self.latest = None
        for name in ("jobs", "optimizing", "logs"):
            setattr(self, name, [getattr(self, name)[place] for place in places])
        self.weights_ = self.weights_[list(places)].clone()
        self.updates.keep(places)

    def describe(self, place: int) -> dict[str, Any]:
        """Give a member's weights, and the state of its optimiser and its schedules."""
        return {
            "weights": self.weights_[place].cpu().clone(),
            "updates": self.updates.describe(place),
            "optimizing": self.optimizing[place].describe(),
            "epoch": self.host.facts["current_epoch"],
            "step": self.step,
            "steps": self.host.facts["global_step"],
            "random": torch.random.get_rng_state(),
        }

    def restore(self, place: int, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.weights_[place] = state["weights"].to(self.weights_.device)
        self.updates.restore(place, state["updates"])
        self.optimizing[place].restore(state["optimizing"])
        self.host.facts["current_epoch"], self.host.facts["global_step"] = state["epoch"], state["steps"]
        self.step = state["step"]
        torch.random.set_rng_state(state["random"])


class _Call(nn.Module):
    """A step of a module, so that it can be called with other weights."""

    def __init__(self, host: TrainerStub, method: str) -> None:
        super().__init__()
        self.module, self.method, self.numbered = host.module, method, host.numbered[method]

    def forward(self, batch: Batch, number: Any) -> Any:
        """Call it."""
        return getattr(self.module, self.method)(*((batch, number) if self.numbered else (batch,)))


def _logs() -> Logs:
    logs = Logs(nn.Identity())
    logs.function, logs.validating = "validation_step", True
    return logs


def device() -> torch.device:
    """Give the accelerator, or the CPU without one."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def _scheduled(module: Any) -> Optimizing:
    """Make a member's optimiser for its settings and its schedulers; it never moves a weight itself."""
    made = Optimizing(module.configure_optimizers(), module)
    for group in made.optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
    made.optimizer.step()  # does nothing without gradients, but schedulers want to have seen it
    return made


def _stack(batches: Sequence[Any]) -> Batch:
    return Batch(*(torch.stack(columns).to(device()) for columns in zip(*batches, strict=True)))


def _moved(batch: Any) -> Batch:
    return Batch(*(column.to(device()) for column in batch))


def faithful(job: TrainingJob, monitored: Collection[str] = ()) -> bool:
    """Whether a module does the same stacked: what a step does is recognised, and two members have the gradient of each alone.

    Args:
        job: Of a member.
        monitored: What decides on stopping and on the best epoch.
    """
    if not isinstance(job.fitting, Batchable) or job.fitting.particles is not None or job.settings.batch != "tuple":
        return False
    try:
        return _recognised(job, monitored) and _same(Stacked([job, job]), job)
    except Exception:  # noqa: BLE001  whatever torch.func says of a module: it is trained one after the other
        return False


def _recognised(job: TrainingJob, monitored: Collection[str]) -> bool:
    """Whether a step neither remembers nor asks for what differs between members, and one optimiser moves all that it is made of."""
    module = modules.build(job.settings, job.seed)
    host = TrainerStub(module, job.settings.epochs, -(-len(job.fitting) // job.settings.batch_size))
    optimizing = Optimizing(module.configure_optimizers(), module)
    looked_at = {*monitored, *(entry["monitor"] for entry in optimizing.schedulers if entry["reduce_on_plateau"])}
    by_step = any(entry["reduce_on_plateau"] and entry["interval"] == "step" for entry in optimizing.schedulers)
    if host.hooks or by_step or optimizing.flat is None or not updates.knows(optimizing.optimizer):
        return False
    if tracing.overheard(module, optimizing.optimizer):
        return False
    batch = Batch(*next(iter(job.fitting.batches(job.settings.batch_size)))[:3])
    given = modules.given(batch, job.settings)
    loss, seen = tracing.trace(host, 0, lambda number: host.step("training_step", given, number, len(batch.x)))
    found = loss_of(loss)
    if found is None:
        return False
    torch.autograd.backward(found)
    unmoved = any(p.grad is None for p in module.parameters())
    told = seen.left or seen.drawn or seen.changed or seen.moved or seen.asked - SHARED or seen.logged & looked_at
    return not (unmoved or told)


def _same(stack: Stacked, job: TrainingJob) -> bool:
    """Compare without dropout, after a step with it."""
    batch = Batch(*next(iter(job.fitting.batches(job.settings.batch_size)))[:3])
    both = _stack([batch, batch])
    stack._mode(training=True)  # noqa: SLF001  it is this module's
    stack.differentiated(both)
    stack._mode(training=False)  # noqa: SLF001  likewise
    stack.evaluated(both, 0)
    stack.host.facts["validating"] = False
    same = stack.alike(both, 1)
    kept = [value for value in vars(stack.module).values() if isinstance(value, torch.Tensor)]
    return same and not any(map(is_functorch_wrapped_tensor, kept))
