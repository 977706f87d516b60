"""What decides on stopping and on the best epoch: `[training]`, or the callbacks that the user's module brings."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

MONITORED = "val_loss"
"""What a module logs for early stopping."""
LOSS = re.compile(r"(val(id(ation)?)?[/_.\-]?(epoch[/_.\-])?loss|loss[/_.\-]?val(id(ation)?)?)", re.IGNORECASE)
"""Other names that people give to it."""
KNOWN = ("EarlyStopping", "ModelCheckpoint", "LearningRateMonitor")
"""Callbacks that need no Trainer; learning rates are noted in any case."""


@dataclass(frozen=True)
class ImprovementRule:
    """When a value is better than another."""

    monitor: str = MONITORED
    sign: float = 1.0
    """-1 where larger is better."""
    min_delta: float = 0.0
    strict: bool = True
    """Whether it is a mistake that the value was not logged; else the epoch does not count."""
    finite: bool = False
    """Whether a value that is no finite number ends the training."""

    def better(self, value: float, best: float) -> bool:
        """Compare in float32, as Lightning does: a last bit decides whether patience runs out."""
        return bool(np.float32(self.sign * value) + np.float32(self.min_delta) < np.float32(self.sign * best))

    @property
    def worst(self) -> float:
        """What everything is better than."""
        return self.sign * math.inf


@dataclass(frozen=True)
class EarlyStopping:
    """The rules of a pack."""

    stop: ImprovementRule = field(default_factory=ImprovementRule)
    best: ImprovementRule = field(default_factory=ImprovementRule)
    patience: int | None = None
    """Epochs; None: as `[training]` says."""
    loss: str = MONITORED
    """The name of the validation loss."""

    def named(self, logged: Iterable[str]) -> EarlyStopping:
        """Find out what the validation loss is called where it is not `val_loss`, if one name alone can be it."""
        names = [name for name in logged if LOSS.fullmatch(name)]
        if MONITORED in logged or len(names) != 1:
            return self
        (loss,) = names
        stop, best = (replace(r, monitor=loss) if r.monitor == MONITORED else r for r in (self.stop, self.best))
        return EarlyStopping(stop, best, self.patience, loss)


def watch(callbacks: Any) -> tuple[EarlyStopping, str]:
    """Read the callbacks of a module.

    Args:
        callbacks: What `configure_callbacks` returns.

    Returns:
        The rules, and which callback needs a Trainer; empty if none does.
    """
    found, foreign, seen = EarlyStopping(), "", set()
    for callback in callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]:
        name = type(callback).__name__
        known = name in KNOWN and "lightning" in type(callback).__module__
        foreign = foreign or ("" if known else f"its callback {name} needs one")
        if known and name == "EarlyStopping":
            foreign = foreign or _unusual(callback, twice=name in seen)
            rule = _rule(callback, abs(callback.min_delta))
            rule = replace(rule, strict=callback.strict, finite=callback.check_finite)
            found = replace(found, stop=rule, patience=callback.patience)
        elif known and name == "ModelCheckpoint":
            foreign = foreign or _written(callback)
            if callback.monitor and name not in seen:  # the first is the Trainer's `checkpoint_callback`
                found = replace(found, best=_rule(callback, 0.0))
        seen.add(name)
    return found, foreign


def _unusual(callback: Any, *, twice: bool) -> str:
    """Say what of early stopping is left to the Trainer."""
    if callback.stopping_threshold is not None or callback.divergence_threshold is not None:
        return "EarlyStopping has a threshold"
    if twice:
        return "it has several EarlyStopping"
    return "EarlyStopping looks after validation" if callback._check_on_train_epoch_end is False else ""  # noqa: SLF001  Lightning has no other way to ask


def _written(callback: Any) -> str:
    """Say why files of a checkpoint are wanted: in a folder that the user names, or the last one."""
    return "its ModelCheckpoint writes files" if callback.dirpath or callback.save_last else ""


def _rule(callback: Any, min_delta: float) -> ImprovementRule:
    return ImprovementRule(callback.monitor or MONITORED, -1.0 if callback.mode == "max" else 1.0, min_delta)
