"""The engine `lightning`: lightning.Trainer itself, one member after the other in the same warm worker. The last resort.

Events, shuffles, early stopping and best weights are those of the course, as with the other engines. An interrupted member
begins anew, with the same result: what a Trainer holds in the middle of an epoch cannot be kept.
"""

from __future__ import annotations

import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning

from needle_parsl.nsbi.data.loading.batches import Batch, ParticleBatch
from needle_parsl.nsbi.training import dropping, modules, networks
from needle_parsl.nsbi.training.course import Course
from needle_parsl.nsbi.training.engines.rows import CHUNK
from needle_parsl.nsbi.training.metrics import measure
from needle_parsl.nsbi.training.watching import KNOWN

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def run(course: Course, between: Callable[[], None]) -> None:
    """Train one member to the end of its course.

    Args:
        course: Of the member.
        between: Called before each step.
    """
    settings = course.job.settings
    module = modules.build(settings, course.job.seed)
    own = module.configure_callbacks()
    others = [c for c in (own if isinstance(own, (list, tuple)) else [own]) if type(c).__name__ not in KNOWN]
    module.configure_callbacks = lambda: others  # the course watches for them
    follower = _Follower(course, between)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Once and for good, not for a while: what `warnings.catch_warnings` puts back is everybody's, other threads' too.
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=settings.epochs, accelerator="cpu", devices=1, num_sanity_val_steps=0, default_root_dir=folder,
            callbacks=[follower], use_distributed_sampler=False, **QUIET,
        )  # fmt: skip
        trainer.fit(module, _Shuffled(course), _Validation(course))
    if not course.ended:  # the Trainer has stopped on its own account, which ends the course
        course.ended = True


class _Shuffled:
    """The training events of an epoch, in the order of the course."""

    def __init__(self, course: Course) -> None:
        self.course, self.size = course, course.job.settings.batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.course.job.fitting) / self.size)

    def __iter__(self) -> Iterator[Batch | ParticleBatch]:
        # A generator: Lightning calls iter() once more, to see whether it can, and that must not shuffle.
        order = self.course.order()
        for start in range(0, len(order), self.size):
            yield self.course.job.fitting.batch(order[start : start + self.size])


class _Validation:
    """The validation events."""

    def __init__(self, course: Course) -> None:
        self.events, self.size = course.job.validation, max(course.job.settings.batch_size, CHUNK)

    def __len__(self) -> int:
        return math.ceil(len(self.events) / self.size)

    def __iter__(self) -> Iterator[Batch | ParticleBatch]:
        return self.events.batches(self.size)


class _Follower(lightning.Callback):
    """Tells the course of every step and every epoch, and ends the fit when the course has ended."""

    def __init__(self, course: Course, between: Callable[[], None]) -> None:
        self.course, self.between = course, between

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Batch, number: int) -> None:  # noqa: ARG002  Lightning gives them by place
        """Give an interruption its moment, and dropout its step."""
        self.between()
        seed = self.course.job.seed
        dropping.begin(dropping.parts(module), dropping.keyed(seed, module.trainer.global_step))

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Batch, number: int) -> None:  # noqa: ARG002  Lightning gives them by place
        """Sum up the losses."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is not None:
            self.course.total += float(loss) * len(batch.x)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """End an epoch of the course."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        logged["learning_rate"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        if wanted := self.course.job.settings.metrics:
            with torch.no_grad():
                batches = list(_Validation(self.course))
                logged |= measure(wanted, [(*batch[:3], modules.ratio(module, batch)) for batch in batches])
        self.course.note(logged, lambda: networks.vector(module))
        trainer.should_stop = trainer.should_stop or self.course.ended
