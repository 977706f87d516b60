"""Which engine trains a pack: asked of the module's structure, and of its first batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn, optim

from needle_parsl.errors import InputError
from needle_parsl.nsbi import compiling
from needle_parsl.nsbi.training import heads, modules, watching
from needle_parsl.nsbi.training.engines import hosting, optimizing
from needle_parsl.nsbi.training.engines.rows import loss_of
from needle_parsl.nsbi.training.engines.stacked import device, faithful
from needle_parsl.nsbi.training.members import Job
from needle_parsl.nsbi.training.watching import MONITORED, Watch


@dataclass(frozen=True)
class Choice:
    """An engine for all members of a pack, which have the same structure."""

    engine: str
    """`native`, `rows`, `stacked` or `lightning`."""
    reason: str = ""
    """Why lightning.Trainer has to do it."""
    watch: Watch = field(default_factory=Watch)
    """What decides on stopping and on the best epoch."""
    plan: Any = None
    """What `native` has found."""


def choose(job: Job) -> Choice:
    """Try the first batch of a member, and leave no trace of it.

    Raises:
        InputError: The network or its loss cannot be used.
    """
    with torch.random.fork_rng(devices=[]):
        module = modules.build(job.settings, job.seed)
        watch, foreign = watching.watch(module.configure_callbacks() if modules.is_lightning(module) else ())
        reason = hosting.unhosted(module) or foreign or _unoptimised(module) or _tried(module, job, watch)
    if reason and not modules.is_lightning(module):
        raise InputError(f"{job.settings.shape.network} cannot be trained: {reason}")
    if reason:
        return Choice("lightning", reason, watch)
    if accelerated():
        return Choice("stacked" if faithful(job) else "rows", watch=watch)
    plan = _plan(job, watch)
    return Choice("native" if plan else "rows", watch=watch, plan=plan)


def _plan(job: Job, watch: Watch) -> Any:
    """Find out how compiled code trains like the module, if numba is there and the module is a perceptron."""
    if not compiling.AVAILABLE:
        return None
    from needle_parsl.nsbi.training.engines import native

    return native.proven(job, {watch.stop.monitor, watch.best.monitor})


def accelerated() -> bool:
    """Whether members are trained at once: the device decides, not a timing."""
    return device().type != "cpu"


def _unoptimised(module: Any) -> str:
    """Say what optimiser only Lightning can step."""
    hosting.Host(module, 1, 1)
    try:
        optimizer, _ = optimizing.unpack(module.configure_optimizers())
    except ValueError:
        return "it has not one optimiser"
    except hosting.NotPackedError as error:
        return str(error)
    if isinstance(optimizer, optim.LBFGS):
        return "LBFGS evaluates the loss several times a step"
    return (
        "" if type(optimizer).__module__.startswith("torch.optim") else f"its optimiser is {type(optimizer).__name__}"
    )


def _tried(module: Any, job: Job, watch: Watch) -> str:
    """Compute the loss of the first batch; say what only Lightning can do of it."""
    batch = next(iter(job.fitting.batches(job.settings.batch_size)))
    host = hosting.Host(module, job.settings.epochs, 1)
    name = job.settings.shape.network
    try:
        for hook in ("on_fit_start", "on_train_start", "on_train_epoch_start"):
            host.call(hook)
        loss = loss_of(module.training_step(batch, 0))
        _judge(loss, name)
        torch.autograd.backward(loss)
        module.eval()
        with torch.no_grad():
            module.validation_step(batch, 0)
            ratio = modules.ratio(module, batch)
    except hosting.NotPackedError as error:
        return str(error)
    except RuntimeError as error:
        raise InputError(_mismatch(module, job, error)) from error
    logged = host.logs.take()
    for wanted in (MONITORED, watch.stop.monitor, watch.best.monitor):
        if wanted not in logged:
            raise InputError(f'{name} logs no "{wanted}" in its validation_step, by which its best epoch is found')
    count = heads.outputs(job.settings.shape.head)
    if ratio.shape != ((len(batch.label),) if count == 1 else (len(batch.label), count)):
        wanted = "ln r, one number each" if count == 1 else f"{count} numbers each, one for every class"
        raise InputError(
            f"{name} gives shape {tuple(ratio.shape)} for {len(batch.label)} events; its forward must give {wanted}"
        )
    return ""


def _judge(loss: Any, name: str) -> None:
    if not isinstance(loss, torch.Tensor) or not loss.requires_grad:
        raise InputError(f"{name}: training_step returns {type(loss).__name__} without a gradient; expected the loss")
    if loss.numel() != 1:
        raise InputError(
            f"{name}: training_step returns a loss of shape {tuple(loss.shape)}; expected one number, such as its mean"
        )


def _mismatch(module: nn.Module, job: Job, error: RuntimeError) -> str:
    """Say that a network does not take the features, if that is it."""
    features, name = job.settings.shape.features, job.settings.shape.network
    widths = [m.in_features for m in module.modules() if isinstance(m, nn.Linear)]
    if widths and widths[0] != features and "shape" in str(error):
        return f"{name} takes {widths[0]} features, and the analysis has {features} in features.names, counted after their transforms"
    return f"{name}: its first batch fails: {type(error).__name__}: {str(error).splitlines()[0]}"
