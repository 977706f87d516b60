"""Which engine trains a pack: asked of the module's structure, and of its first batch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn, optim

from needle_parsl.analysis import catalogue
from needle_parsl.errors import InputError
from needle_parsl.nsbi import compilation
from needle_parsl.nsbi.training import heads, modules, randomness, stopping, user_errors
from needle_parsl.nsbi.training.engines import module_host
from needle_parsl.nsbi.training.engines import optimizer as optimizing
from needle_parsl.nsbi.training.engines.sequential import loss_of
from needle_parsl.nsbi.training.engines.stacked import device, faithful
from needle_parsl.nsbi.training.members import TrainingJob
from needle_parsl.nsbi.training.refusals import NotPackedError, RefusedModuleError
from needle_parsl.nsbi.training.stopping import EarlyStopping


@dataclass(frozen=True)
class Choice:
    """An engine for all members of a pack, which have the same structure."""

    engine: str
    """A name in `catalogue.ENGINES`."""
    reason: str = ""
    """Why no faster one does it, where that is said."""
    watch: EarlyStopping = field(default_factory=EarlyStopping)
    """What decides on stopping and on the best epoch."""
    plan: Any = None
    """What `native` has found."""


def choose(job: TrainingJob) -> Choice:
    """Try the first batch of a member, and leave no trace of it.

    Raises:
        InputError: The network or its loss cannot be used.
    """
    with randomness.forked():
        module = _made(job)
        with user_errors.blamed(job.settings.shape.network):
            watch, foreign = stopping.watch(module.configure_callbacks() if modules.is_lightning(module) else ())
        reason = _asked(job) or module_host.unhosted(module) or foreign or _unoptimised(module, job)
        if not reason:
            reason, watch = _tried(module, job, watch)
    if reason and not modules.is_lightning(module):
        raise InputError(f"{job.settings.shape.network} cannot be trained: {reason}")
    if reason:
        return Choice(catalogue.LIGHTNING, reason, watch)
    monitored = {watch.stop.monitor, watch.best.monitor, watch.loss}
    if accelerated():
        return Choice(catalogue.STACKED if faithful(job, monitored) else catalogue.SEQUENTIAL, watch=watch)
    plan = _plan(job, monitored)
    return Choice(catalogue.NATIVE if plan else catalogue.SEQUENTIAL, watch=watch, plan=plan)


def _made(job: TrainingJob) -> Any:
    """Build what is trained.

    Raises:
        InputError: It cannot be built; with the line of the user's that says why.
    """
    with user_errors.blamed(job.settings.shape.network):
        return modules.build(job.settings, job.seed)


def _asked(job: TrainingJob) -> str:
    """Say what arguments of a Trainer the user wants."""
    given = ", ".join(json.loads(job.settings.trainer))
    return f"[training.trainer] has {given}" if given else ""


def _plan(job: TrainingJob, monitored: set[str]) -> Any:
    """Find out how compiled code trains like the module, if numba is there and the module is a perceptron."""
    if not compilation.AVAILABLE:
        return None
    from needle_parsl.nsbi.training.engines import native  # noqa: PLC0415  with numba, an extra

    return native.proven(job, monitored)


def accelerated() -> bool:
    """Whether members are trained at once: the device decides, not a timing."""
    return device().type != "cpu"


def _unoptimised(module: Any, job: TrainingJob) -> str:
    """Say what optimiser only Lightning can step."""
    host = module_host.TrainerStub(module, job.settings.epochs, 1)
    try:
        with user_errors.blamed(job.settings.shape.network, "configure_optimizers", passed=(NotPackedError,)):
            configured = module.configure_optimizers()
        optimizer, schedulers = optimizing.unpack(configured)
    except RefusedModuleError as error:
        raise InputError(f"{job.settings.shape.network}: configure_optimizers: {error}") from error
    except (ValueError, KeyError, TypeError):
        return "it has not one optimiser"
    except NotPackedError as error:
        return str(error)
    finally:
        module.trainer = host.trainer if modules.is_lightning(module) else None
    if isinstance(optimizer, optim.LBFGS):
        return "LBFGS evaluates the loss several times a step"
    if not type(optimizer).__module__.startswith("torch.optim"):
        return f"its optimiser is {type(optimizer).__name__}"
    if optimizing.foretold(optimizer):
        return "its optimiser has a hook before the step, which Lightning calls before the loss is computed"
    own = [
        type(e["scheduler"]).__name__
        for e in schedulers
        if not isinstance(e["scheduler"], optim.lr_scheduler.LRScheduler)
    ]
    return f"its scheduler is {own[0]}" if own else _early(host)


def _early(host: module_host.TrainerStub) -> str:
    """Say that the number of batches was asked for before training has begun: there it is infinite with Lightning."""
    asked = "num_training_batches" in host.trainer.read
    return "it asks for self.trainer.num_training_batches before training begins" if asked else ""


def _tried(module: Any, job: TrainingJob, watch: EarlyStopping) -> tuple[str, EarlyStopping]:
    """Compute the loss of the first batch; say what only Lightning can do of it, and what it is called on validation events."""
    batch = next(iter(job.fitting.batches(job.settings.batch_size)))
    host = module_host.TrainerStub(module, job.settings.epochs, 1)
    name, size = job.settings.shape.network, len(batch.label)
    given = modules.given(batch, job.settings)
    try:
        with user_errors.blamed(name, passed=(NotPackedError, RuntimeError), hint=_hint(job)):
            host.call("on_fit_start")
            if early := _early(host):
                return early, watch
            for hook in ("on_train_start", "on_train_epoch_start"):
                host.call(hook)
            loss = loss_of(host.step("training_step", given, 0, size))
            if loss is not None:
                _judge(loss, name)
                torch.autograd.backward(loss)
            host.logs.step()
            module.eval()
            host.logs.validating = True
            with torch.no_grad():
                host.call("on_validation_epoch_start")
                host.step("validation_step", given, 0, size)
                ratio = modules.ratio(module, batch, job.settings)
                host.call("on_validation_epoch_end")
            host.logs.validated()
            host.logs.validating = False
            host.call("on_train_epoch_end")
            host.logs.epoch()
    except NotPackedError as error:
        return str(error), watch
    except RuntimeError as error:
        raise InputError(_mismatch(module, job, error)) from error
    logged = host.logs.values()
    watch = watch.named(logged)
    needed = [watch.loss, watch.best.monitor, *([watch.stop.monitor] if watch.stop.strict else [])]
    if lacking := [wanted for wanted in needed if wanted not in logged]:
        raise InputError(
            f'{name} logs no "{lacking[0]}" in its validation_step, by which its best epoch is found; '
            f"it logs {', '.join(logged) or 'nothing'}"
        )
    _shaped(ratio, job, len(batch.label))
    return "", watch


def _hint(job: TrainingJob) -> str:
    """Say what a batch is, for steps that take it for something else."""
    if job.settings.batch == "dict":
        return "a batch is a table of x, label and weight"
    return 'a batch is (x, label, weight), and particles if there are any; [training] batch = "dict" makes it a table'


def _shaped(ratio: Any, job: TrainingJob, events: int) -> None:
    """Refuse a network that does not give ln r."""
    name, count = job.settings.shape.network, heads.outputs(job.settings.shape.head)
    shape = tuple(ratio.shape) if isinstance(ratio, torch.Tensor) else type(ratio).__name__
    if shape != ((events,) if count == 1 else (events, count)):
        wanted = "ln r, one number each" if count == 1 else f"{count} numbers each, one for every class"
        raise InputError(f"{name} gives shape {shape} for {events} events; its forward must give {wanted}")


def _judge(loss: Any, name: str) -> None:
    if not isinstance(loss, torch.Tensor) or not loss.requires_grad:
        raise InputError(f"{name}: training_step returns {type(loss).__name__} without a gradient; expected the loss")
    if loss.numel() != 1:
        raise InputError(
            f"{name}: training_step returns a loss of shape {tuple(loss.shape)}; expected one number, such as its mean"
        )


def _mismatch(module: nn.Module, job: TrainingJob, error: RuntimeError) -> str:
    """Say that a network does not take the features, if that is it."""
    features, name = job.settings.shape.features, job.settings.shape.network
    widths = [m.in_features for m in module.modules() if isinstance(m, nn.Linear)]
    if widths and widths[0] != features and "shape" in str(error):
        return f"{name} takes {widths[0]} features, and the analysis has {features} in features.names, counted after their transforms"
    return user_errors.said(error, name, what="its first batch fails")
