"""What is trained: a member of a pack, and how. The words of `[training]`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from needle_parsl import refs
from needle_parsl.analysis import Training
from needle_parsl.nsbi.training import heads
from needle_parsl.nsbi.training.networks import NETWORKS, Shape, asks_for_particles, takes
from needle_parsl.nsbi.training.streaming import StoredView
from needle_parsl.nsbi.training.views import Batchable, MemberView

OFFERED = ("learning_rate", "weight_decay", "batch_size", "epochs", "label_smoothing")
"""Settings that the constructor of a user's module is given, if it asks for them by these names."""


@dataclass(frozen=True)
class Settings:
    """How a member is trained."""

    shape: Shape
    loss: str
    optimizer: str
    learning_rate: float
    schedule: str
    weight_decay: float
    batch_size: int
    epochs: int
    patience: int
    label_smoothing: float = 0.0
    metrics: tuple[str, ...] = ()
    batch: str = "tuple"
    """The form in which a module of the user's takes batches: `tuple` or `dict`."""
    trainer: str = "{}"
    """Arguments of lightning.Trainer, as a JSON table; with any, it trains."""

    @staticmethod
    def of(
        table: Training,
        features: int,
        particles: int = 0,
        source: str = "",
        path: str = "",
        classes: Sequence[str] = (),
    ) -> Settings:
        """Take what concerns one member from the user's table.

        Args:
            table: `[training]`.
            features: How many there are.
            particles: Features of a particle; 0 without particles.
            source: The text of the user's `physics.py`.
            path: Where that file is, or the analysis.
            classes: Of a network of many, by name.
        """
        name, given = table.architecture()
        name = name if name in NETWORKS else refs.located(name, source, path)
        given = _located(given, source, path)
        offered = {n: getattr(table, n) for n in OFFERED}
        arguments = json.dumps({**takes(name, offered), **given}, sort_keys=True)
        particles = particles if asks_for_particles(name) else 0
        shape = Shape(
            name,
            features,
            table.layers,
            table.nodes,
            arguments,
            particles,
            heads.of_classes(classes) if classes else "",
            table.output,
        )
        return Settings(
            shape, table.loss, table.optimizer, table.learning_rate, table.schedule, table.weight_decay, table.batch_size,
            table.epochs, table.patient(), table.label_smoothing, table.metrics,
            table.batch, json.dumps(dict(table.trainer), sort_keys=True),
        )  # fmt: skip


def _located(value: Any, source: str, path: str) -> Any:
    """Load what nested tables name as `_target_`."""
    if isinstance(value, (list, tuple)):
        return [_located(item, source, path) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {name: _located(item, source, path) for name, item in value.items()}
    if "_target_" in found:
        found["_target_"] = refs.located(found["_target_"], source, path)
    return found


@dataclass(frozen=True)
class Member:
    """One network to train."""

    member: int
    fold: int
    seed: int
    """Of its initial weights and its shuffles; from names, not from the place in a pack."""
    view: MemberView
    own: tuple[tuple[str, float], ...] = ()
    """Settings in which it differs from the others of its pack: names and values of numbers in `Settings`."""

    @property
    def name(self) -> tuple[int, int]:
        """Member and fold."""
        return self.member, self.fold

    def settings(self, common: Settings) -> Settings:
        """Give its own settings."""
        own: dict[str, Any] = dict(self.own)
        arguments = json.loads(common.shape.arguments)
        arguments |= {name: value for name, value in own.items() if name in arguments}
        shape = replace(common.shape, arguments=json.dumps(arguments, sort_keys=True))
        return replace(common, shape=shape, **own)


@dataclass(frozen=True)
class Job:
    """All that a training is a function of."""

    settings: Settings
    seed: int
    """Of this attempt."""
    fitting: Batchable | StoredView
    validation: Batchable | StoredView
