"""The engine `lightning`: lightning.Trainer itself, one member after the other in the same warm worker. The last resort.

Events and shuffles are those of `loop`, unless the module has loaders of its own; the module's callbacks run as they are.
An interrupted member begins anew, with the same result: what a Trainer holds in the middle of an epoch cannot be kept.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import Checkpoint

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.training import dropout, modules, networks, randomness, user_errors
from needle_parsl.nsbi.training.engines.kept import Kept
from needle_parsl.nsbi.training.engines.sequential import chunk, normalised, witness
from needle_parsl.nsbi.training.kernels import dropout_hash
from needle_parsl.nsbi.training.loop import MemberTraining
from needle_parsl.nsbi.training.metrics import measure

QUIET: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}


def run(training: MemberTraining, between: Callable[[], None]) -> None:
    """Train one member to the end.

    Args:
        training: Of the member.
        between: Called before each step.

    Raises:
        TaskError: The module, or the Trainer with it, has failed.
    """
    settings = training.job.settings
    module = modules.build(settings, training.job.seed)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Once and for good, not for a while: what `warnings.catch_warnings` puts back is everybody's, other threads' too.
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    deterministic = torch.are_deterministic_algorithms_enabled()
    with tempfile.TemporaryDirectory() as folder:
        kept = Kept(folder)
        follower = _Follower(training, between, kept)
        given = {**QUIET, **json.loads(settings.trainer)}
        try:
            trainer = lightning.Trainer(
                max_epochs=settings.epochs, accelerator="cpu", devices=1, default_root_dir=folder, callbacks=[follower],
                use_distributed_sampler=False, logger=kept, **given,
            )  # fmt: skip
            trainer.fit(module, *_loaders(module, training))
        except Exception as error:
            if isinstance(error, (MemoryError, *follower.passed)):
                raise
            raise TaskError(user_errors.said(error, settings.shape.network)) from error
        finally:
            torch.use_deterministic_algorithms(deterministic)
    follower.finish(trainer, module)
    training.ended = True  # by itself, or the Trainer has stopped on its own account


def _loaders(module: Any, training: MemberTraining) -> tuple[Any, Any]:
    """Give the events: those of the training, or None where the module has its own."""
    theirs = modules.own(module)
    shuffled = None if "train_dataloader" in theirs else _Shuffled(training, lonely=not normalised(module))
    return shuffled, None if "val_dataloader" in theirs else _Validation(training, chunk(module, training.job))


class _Shuffled:
    """The training events of an epoch, in the order of the training."""

    def __init__(self, training: MemberTraining, *, lonely: bool) -> None:
        self.training, self.size = training, training.job.settings.batch_size
        events = len(training.job.fitting)
        single = events % self.size == 1 and self.size > 1 and not lonely  # too few to normalise by
        self.batches = math.ceil(events / self.size) - single

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Any]:
        # A generator: Lightning calls iter() once more, to see whether it can, and that must not shuffle.
        job = self.training.job
        order = job.fitting.order(self.training.generator)
        for number in range(self.batches):
            places = order[number * self.size : (number + 1) * self.size]
            yield modules.given(job.fitting.batch(places), job.settings)


class _Validation:
    """The validation events."""

    def __init__(self, training: MemberTraining, size: int) -> None:
        self.events, self.settings, self.size = training.job.validation, training.job.settings, size

    def __len__(self) -> int:
        return math.ceil(len(self.events) / self.size)

    def __iter__(self) -> Iterator[Any]:
        return (modules.given(batch, self.settings) for batch in self.events.batches(self.size))


class _Follower(Checkpoint):
    """Tells the training of every step and every epoch, and ends the fit when the training has ended.

    It is a checkpoint, so that it comes after the module's other callbacks at the end of an epoch, and Lightning adds none.
    """

    passed: tuple[type[BaseException], ...] = ()
    """What has interrupted the training, which is no fault of the module."""

    def __init__(self, training: MemberTraining, between: Callable[[], None], kept: Kept) -> None:
        self.training, self.between, self.kept = training, between, kept
        self.validated: torch.Tensor | None = None
        """The weights that were validated last, while they were: a callback may have put an average there."""
        self.seen: torch.Tensor | None = None
        self.judged: dict[str, float] = {}
        self.rate = 0.0
        self.told = self.newest = False

    def on_fit_start(self, trainer: Any, module: Any) -> None:  # noqa: ARG002  Lightning gives them by place
        """Leave stopping to the module's own callback, if it has one."""
        if any(isinstance(c, lightning.pytorch.callbacks.EarlyStopping) for c in trainer.callbacks):
            self.training.watched(replace(self.training.watch, patience=self.training.job.settings.epochs + 1))

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, number: int) -> None:  # noqa: ARG002  Lightning gives them by place
        """Give an interruption its moment, and dropout its step."""
        dropout.begin(dropout.parts(module), dropout_hash.keyed(self.training.job.seed, trainer.global_step))
        self.rate = _rate(trainer)
        try:
            self.between()
        except BaseException as error:
            self.passed = (type(error),)
            raise

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, number: int) -> None:  # noqa: ARG002  Lightning gives them by place
        """Sum up the losses; with manual optimisation a step may return none."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if loss is not None:
            events, size = len(self.training.job.fitting), self.training.job.settings.batch_size
            self.told = True
            self.training.total += (
                float(loss) * trainer.accumulate_grad_batches * min(size, max(events - number * size, 0))
            )

    def on_validation_batch_end(self, trainer: Any, module: Any, *given: Any) -> None:
        """Remember what the network that is validated gives."""
        number, loader = given[2], given[3] if len(given) > 3 else 0
        if number == 0 and loader == 0 and not trainer.sanity_checking:
            job = self.training.job
            with torch.no_grad(), randomness.forked():  # a forward may draw numbers in validation, too
                events = list(job.validation.batches(chunk(module, job))) if job.settings.metrics else []
                first = events[0] if events else next(iter(job.validation.batches(chunk(module, job))))
                self.seen = witness(module, first, job)
                judged = [(*b[:3], modules.ratio(module, b, job.settings)) for b in events]
            self.judged = measure(job.settings.metrics, judged) if events else {}

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        """Copy the weights that were validated, before a callback puts the others back."""
        if not trainer.sanity_checking:
            self.validated, self.newest = networks.vector(module), True

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:  # noqa: ARG002  Lightning gives them by place
        """End an epoch of the training."""
        if self.newest:
            self.newest = False
            self._note(trainer)
            trainer.should_stop = trainer.should_stop or (self.training.ended and not self._whole())

    def _whole(self) -> bool:
        """Whether the training has ended by its number of epochs alone, which is the Trainer's affair, too."""
        training = self.training
        return not training.reason and len(training.history) >= training.job.settings.epochs

    def _note(self, trainer: Any) -> None:
        training, weights = self.training, self.validated
        assert weights is not None
        known = {name: float(value) for name, value in trainer.callback_metrics.items()}
        logged = {**self.kept.take(), **known, **self.judged, "learning_rate": self.rate}
        if not training.history:
            training.watch = training.watch.named(known)
        if not self.told:
            training.untold, training.total = True, known.get("train_loss", math.nan) * len(training.job.fitting)
        training.note(logged, lambda: weights, self.seen)

    def finish(self, trainer: Any, module: Any) -> None:
        """Validate what a callback has put in at the end of the fit, such as a stochastic average, and keep that."""
        weights = networks.vector(module)
        if self.validated is None:
            raise TaskError(f"{self.training.job.settings.shape.network} was never validated by lightning.Trainer")
        if torch.equal(weights, self.validated) or self.training.reason or not self._averaged(trainer):
            return
        trainer.validate(module, _loaders(module, self.training)[1], verbose=False)
        self._note(trainer)
        training = self.training
        training.best, training.best_epoch, training.seen = weights, len(training.history) - 1, self.seen

    def _averaged(self, trainer: Any) -> bool:
        kinds = (lightning.pytorch.callbacks.StochasticWeightAveraging, lightning.pytorch.callbacks.WeightAveraging)
        return any(isinstance(callback, kinds) for callback in trainer.callbacks)


def _rate(trainer: Any) -> float:
    groups = (
        trainer.optimizers[0].param_groups if trainer.optimizers else []
    )  # none where configure_optimizers gives None
    return float(groups[0]["lr"]) if groups else math.nan
