"""What decides on stopping and on the best epoch: `[training]`, or the callbacks that the user's module brings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

MONITORED = "val_loss"
"""What a module logs for early stopping."""
KNOWN = ("EarlyStopping", "ModelCheckpoint", "LearningRateMonitor")
"""Callbacks that need no Trainer; learning rates are noted in any case."""


@dataclass(frozen=True)
class Rule:
    """When a value is better than another."""

    monitor: str = MONITORED
    sign: float = 1.0
    """-1 where larger is better."""
    min_delta: float = 0.0

    def better(self, value: float, best: float) -> bool:
        """Compare in float32, as Lightning does: a last bit decides whether patience runs out."""
        return bool(np.float32(self.sign * value) + np.float32(self.min_delta) < np.float32(self.sign * best))

    @property
    def worst(self) -> float:
        """What everything is better than."""
        return self.sign * math.inf


@dataclass(frozen=True)
class Watch:
    """The rules of a pack."""

    stop: Rule = field(default_factory=Rule)
    best: Rule = field(default_factory=Rule)
    patience: int | None = None
    """Epochs; None: as `[training]` says."""


def watch(callbacks: Any) -> tuple[Watch, str]:
    """Read the callbacks of a module.

    Args:
        callbacks: What `configure_callbacks` returns.

    Returns:
        The rules, and which callback needs a Trainer; empty if none does.
    """
    found = Watch()
    for callback in callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]:
        name = type(callback).__name__
        if name not in KNOWN or "lightning" not in type(callback).__module__:
            return found, f"its callback {name} needs one"
        if name == "EarlyStopping":
            if callback.stopping_threshold is not None or callback.divergence_threshold is not None:
                return found, "EarlyStopping has a threshold"
            found = replace(found, stop=_rule(callback, abs(callback.min_delta)), patience=callback.patience)
        elif name == "ModelCheckpoint":
            found = replace(found, best=_rule(callback, 0.0))
    return found, ""


def _rule(callback: Any, min_delta: float) -> Rule:
    return Rule(callback.monitor or MONITORED, -1.0 if callback.mode == "max" else 1.0, min_delta)
