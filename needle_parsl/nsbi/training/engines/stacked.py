"""The engine `stacked`: the members of a pack at once, their weights one array (K, P), through `torch.func`.

For accelerators, where one small network cannot fill the device; on a CPU members one after the other stay in cache and are
faster (docs/training.md). Shapes are static: batches are (K, B) whatever the members' numbers of events; the last, smaller
batch of an epoch is done member by member. Members that have stopped leave the stack.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.func import functional_call, grad_and_value, vmap

from needle_parsl.nsbi.data.loading.batches import Batch
from needle_parsl.nsbi.training import dropping, modules, networks
from needle_parsl.nsbi.training.engines.hosting import Host
from needle_parsl.nsbi.training.engines.logs import Logs
from needle_parsl.nsbi.training.engines.optimizing import Optimizing
from needle_parsl.nsbi.training.engines.rows import CHUNK, loss_of
from needle_parsl.nsbi.training.engines.updates import Updates
from needle_parsl.nsbi.training.members import Job
from needle_parsl.nsbi.training.metrics import measure
from needle_parsl.nsbi.training.views import Batchable, Places

Tensors = dict[str, torch.Tensor]


class Stacked:
    """K members."""

    stride = 1

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = list(jobs)
        made = [modules.build(job.settings, job.seed) for job in jobs]
        self.module = made[0]
        """The one that runs, with everybody's weights in turn."""
        batches = [-(-len(job.fitting) // job.settings.batch_size) for job in jobs]
        hosts = [Host(m, job.settings.epochs, n) for m, job, n in zip(made, jobs, batches, strict=True)]
        self.host = hosts[0]
        self.optimizing = [_scheduled(module) for module in made]
        self.weights_ = torch.stack([networks.vector(module) for module in made]).to(device())
        self.parameters = sum(p.numel() for p in self.module.parameters())
        self.updates = Updates([o.optimizer for o in self.optimizing], self.weights_[:, : self.parameters])
        self.module.to(device())
        self.dropouts = dropping.parts(self.module)
        self.logs = [Logs(nn.Identity()) for _ in jobs]

    def train(self, rows: Sequence[Places]) -> Sequence[float]:
        """Do a step of those members that have a batch left."""
        size = self.jobs[0].settings.batch_size
        self.module.train()
        losses = [0.0] * len(rows)
        full = [k for k, places in enumerate(rows) if len(places) == size]
        if full:
            own = [rows[k] if k in full else _any(rows[full[0]], len(job.fitting)) for k, job in enumerate(self.jobs)]
            batch = _stack([job.fitting.batch(places) for job, places in zip(self.jobs, own, strict=True)])
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
        self.host.trainer.global_step += 1
        return losses

    def key(self, place: int) -> int:
        """Give what dropout follows from in the next step of a member."""
        return dropping.keyed(self.jobs[place].seed, self.optimizing[place].steps)

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
        self.host.logs.clear()
        flat = torch.cat([gradients[name].flatten(1) for name in parameters], dim=1)
        return flat, loss

    def loss(self, parameters: Tensors, buffers: Tensors, batch: Batch, key: torch.Tensor | int = 0) -> torch.Tensor:
        """Call `training_step` with some weights, and with a key of dropout."""
        dropping.begin(self.dropouts, key)
        loss = loss_of(functional_call(_Call(self.module, "training_step"), (parameters, buffers), (batch, 0)))
        dropping.begin(self.dropouts, 0)  # no tensor of a transformation outlives it
        return loss

    def _alone(self, place: int, batch: Batch) -> float:
        """Do a step of one member."""
        parameters, buffers = self.named(self.weights_[place])
        gradients, loss = grad_and_value(self.loss)(parameters, buffers, batch, self.key(place))
        self.host.logs.clear()
        flat = torch.cat([gradients[name].flatten() for name in parameters])
        self._move([place], flat.expand(len(self.jobs), -1))
        return float(loss)

    def _move(self, places: Sequence[int], gradients: torch.Tensor) -> None:
        """Step the optimisers of some members."""
        active = torch.zeros(len(self.jobs), 1, dtype=torch.bool, device=gradients.device)
        active[list(places)] = True
        self.updates.step(self.weights_[:, : self.parameters], gradients, active)
        for place in places:
            self.optimizing[place].stepped()

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
        self.module.eval()
        chunks = [list(job.validation.batches(max(job.settings.batch_size, CHUNK))) for job in self.jobs]
        with torch.no_grad():
            for number in range(max(map(len, chunks))):
                have = {k: own[number] for k, own in enumerate(chunks) if number < len(own)}
                sizes = {len(batch.x) for batch in have.values()}
                if len(have) == len(self.jobs) and len(sizes) == 1:
                    self._note(range(len(self.jobs)), self.evaluated(_stack(list(have.values()))), sizes.pop())
                    continue
                for k, batch in have.items():
                    self._note([k], self.evaluated(_moved(batch), k), len(batch.x))
        found = []
        for k, logs in enumerate(self.logs):
            found.append(logs.take() | self._measured(k, chunks[k]) | {"learning_rate": self.optimizing[k].rate})
            self.optimizing[k].end_epoch(found[-1])
        self.host.trainer.current_epoch += 1
        return found

    def evaluated(self, batch: Batch, place: int | None = None) -> Tensors:
        """Give what `validation_step` logs: for one member, or for all, shape (K)."""
        validate = _Call(self.module, "validation_step")

        def logged(parameters: Tensors, buffers: Tensors, batch: Batch) -> Tensors:
            self.host.logs.clear()
            self.host.logs.batch_size = 1
            functional_call(validate, (parameters, buffers), (batch, 0))
            return dict(self.host.logs.sums)

        weights = self.weights_ if place is None else self.weights_[place]
        call: Callable[..., Tensors] = vmap(logged, randomness="different") if place is None else logged
        found = call(*self.named(weights), batch)
        self.host.logs.clear()
        return found

    def _measured(self, place: int, chunks: Sequence[Any]) -> dict[str, float]:
        """Compute a member's metrics."""
        wanted = self.jobs[place].settings.metrics
        if not wanted:
            return {}
        network = self.module.network if isinstance(self.module, modules.Classifier) else self.module
        own = copy.deepcopy(network)
        networks.fill(own, self.weights_[place])
        with torch.no_grad():
            return measure(wanted, [(*batch[:3], own(_moved(batch).x).cpu()) for batch in chunks])

    def _note(self, places: Sequence[int], logged: Tensors, size: int) -> None:
        for name, values in logged.items():
            for place, value in zip(places, values.reshape(-1).cpu(), strict=True):
                self.logs[place].log(name, value, batch_size=size)

    def weights(self, place: int) -> torch.Tensor:
        """Copy a member's weights."""
        return self.weights_[place].detach().cpu().clone()

    def keep(self, places: Sequence[int]) -> None:
        """Make the stack smaller."""
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
            "epoch": self.host.trainer.current_epoch,
            "step": self.host.trainer.global_step,
            "random": torch.random.get_rng_state(),
        }

    def restore(self, place: int, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.weights_[place] = state["weights"].to(self.weights_.device)
        self.updates.restore(place, state["updates"])
        self.optimizing[place].restore(state["optimizing"])
        self.host.trainer.current_epoch, self.host.trainer.global_step = state["epoch"], state["step"]
        torch.random.set_rng_state(state["random"])


class _Call(nn.Module):
    """A method of a module, so that it can be called with other weights."""

    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.module, self.method = module, method

    def forward(self, batch: Batch, number: int) -> Any:
        """Call it."""
        return getattr(self.module, self.method)(batch, number)


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


def _any(places: Places, events: int) -> torch.Tensor:
    """Give places of a member's own events that fill a batch for which it has too few left."""
    return torch.as_tensor(places) % events


def _stack(batches: Sequence[Any]) -> Batch:
    return Batch(*(torch.stack(columns).to(device()) for columns in zip(*batches, strict=True)))


def _moved(batch: Any) -> Batch:
    return Batch(*(column.to(device()) for column in batch))


def faithful(job: Job) -> bool:
    """Whether a module does the same stacked: it runs, and loss and gradient of two members are those of each alone."""
    if not isinstance(job.fitting, Batchable) or job.fitting.particles is not None:
        return False
    try:
        stack = Stacked([job, job])
        same = _same(stack, next(iter(job.fitting.batches(job.settings.batch_size))))
    except Exception:  # noqa: BLE001  whatever torch.func says of a module: it is trained in rows
        return False
    if stack.host.hooks:  # a hook sees the first member only
        return False
    kept = [value for value in vars(stack.module).values() if isinstance(value, torch.Tensor)]
    return same and not any(map(is_functorch_wrapped_tensor, kept))


def _same(stack: Stacked, batch: Any) -> bool:
    """Compare without dropout, after a step with it."""
    both = _stack([batch, batch])
    stack.module.train()
    stack.differentiated(both)
    stack.module.eval()
    gradients, losses = stack.differentiated(both)
    own, loss = grad_and_value(stack.loss)(*stack.named(stack.weights_[1]), _moved(batch))
    stack.evaluated(both)
    flat = torch.cat([gradient.flatten() for gradient in own.values()])
    near = torch.allclose(gradients[1], flat, rtol=1e-3, atol=1e-5 * float(flat.abs().max()))
    return near and torch.allclose(losses[1], loss, rtol=1e-5)
