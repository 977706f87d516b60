"""What is trained: a member of a pack, and how. The words of `[training]`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from needle_parsl.analysis import Training
from needle_parsl.nsbi.training.networks import Shape
from needle_parsl.nsbi.training.streaming import StoredView
from needle_parsl.nsbi.training.views import Batchable, MemberView


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

    @staticmethod
    def of(table: Training, features: int) -> Settings:
        """Take what concerns one member from the user's table."""
        shape = Shape(table.network, features, table.layers, table.nodes)
        return Settings(
            shape, table.loss, table.optimizer, table.learning_rate, table.schedule, table.weight_decay, table.batch_size,
            table.epochs, table.patience,
        )  # fmt: skip


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
        return replace(common, **own)


@dataclass(frozen=True)
class Job:
    """All that a training is a function of."""

    settings: Settings
    seed: int
    """Of this attempt."""
    fitting: Batchable | StoredView
    validation: Batchable | StoredView
