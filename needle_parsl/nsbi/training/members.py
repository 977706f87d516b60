"""What is trained: a member of a pack, and how. The words of `[training]`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from needle_parsl import refs, salts
from needle_parsl.analysis import Training, catalogue, recommended
from needle_parsl.errors import InputError
from needle_parsl.nsbi.training import heads
from needle_parsl.nsbi.training.frozen import Embedding
from needle_parsl.nsbi.training.initial import Initial
from needle_parsl.nsbi.training.networks import NetworkShape, asks_for_particles, takes
from needle_parsl.nsbi.training.ratio_events import Batchable, MemberView, RatioEvents
from needle_parsl.nsbi.training.stored_events import StoredEvents, StoredView

OFFERED = ("learning_rate", "weight_decay", "batch_size", "epochs", "label_smoothing", "dropout")
"""Settings that the constructor of a user's module is given, if it asks for them by these names."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a member is trained."""

    shape: NetworkShape
    loss: str
    """A name in `catalogue.LOSSES`, or a reference `module:attr`."""
    optimizer: str
    learning_rate: float
    schedule: str
    weight_decay: float
    batch_size: int
    epochs: int
    patience: int
    label_smoothing: float = 0.0
    metrics: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()
    """Epochs after which a training may end, ascending: it goes on as long as the validation loss has become better, and the weights of the
    best of these ends are kept. Empty for those of the best epoch of all."""
    log_yields: tuple[float, ...] = ()
    """Of many classes, ln of the expected events at which they are validated; empty for equal numbers."""
    dropout: float = 0.0
    """Share of hidden units that a step drops."""
    batch: str = "tuple"
    """The form in which a module of the user's takes batches: `tuple` or `dict`."""
    trainer: str = "{}"
    """Arguments of lightning.Trainer, as a JSON table; with any, it trains."""
    frozen: tuple[str, ...] = ()
    """Parts of the network that do not train."""
    initial: Initial | None = field(default=None, compare=False)
    """Weights that it starts from; None for random ones."""
    embedding: Embedding | None = field(default=None, compare=False)
    """What the features of its events are the outputs of; None for the features themselves."""

    @staticmethod
    def of(
        table: Training,
        features: int,
        particles: int = 0,
        source: str = "",
        path: str = "",
        classes: Sequence[str] = (),
        lengths: tuple[int, ...] = (),
    ) -> Settings:
        """Take what concerns one member from the user's table.

        Args:
            table: `[training]`; `suited` completes it for a number of events, else it is completed for some thousands.
            features: How many there are.
            particles: Features of a particle; 0 without particles.
            source: The text of the user's `physics.py`.
            path: Where that file is, or the analysis.
            classes: Of a network of many, by name.
            lengths: See `Settings`.

        Raises:
            InputError: There is no such network, or it cannot drop units.
        """
        own = recommended.complete(table, recommended.Size(recommended.FEW))
        epochs = table.epochs or (lengths[-1] if lengths else recommended.EPOCHS)
        name, given = table.architecture()
        name = name if name in catalogue.NETWORKS else refs.located(name, source, path)
        given = _located(given, source, path)
        offered = {n: {**asdict(own), "epochs": epochs, "label_smoothing": table.label_smoothing}[n] for n in OFFERED}
        if own.dropout and not takes(name, {"dropout": own.dropout}):
            raise InputError(
                f'[training] dropout: {refs.own_name(name)} takes no argument "dropout"; leave the key out'
            )
        if (
            name in catalogue.NETWORKS or not own.dropout
        ):  # what needle's own drop is no part of their shape: they are evaluated without
            del offered["dropout"]
        arguments = json.dumps({**takes(name, offered), **given}, sort_keys=True)
        loss = table.loss or catalogue.TWO_CLASSES
        loss = loss if loss in catalogue.LOSSES else refs.located(loss, source, path)
        particles = particles if asks_for_particles(name) else 0
        shape = NetworkShape(
            network=name,
            features=features,
            layers=own.layers,
            nodes=own.nodes,
            arguments=arguments,
            particles=particles,
            head=heads.of_classes(classes) if classes else "",
            output=table.output,
        )
        return Settings(
            shape=shape, loss=loss, optimizer=table.optimizer, learning_rate=own.learning_rate, schedule=table.schedule, weight_decay=own.weight_decay, batch_size=own.batch_size,
            epochs=epochs, patience=table.patient(epochs), label_smoothing=table.label_smoothing, metrics=table.metrics, lengths=lengths, dropout=own.dropout,
            batch=table.batch, trainer=json.dumps(dict(table.trainer), sort_keys=True), frozen=tuple(table.frozen),
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


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network to train."""

    member: int
    fold: int
    seed: int
    """Of its initial weights and its shuffles; from names, not from the place in a pack."""
    view: MemberView
    own: tuple[tuple[str, float], ...] = ()
    """Settings in which it differs from the others of its pack: names and values of numbers in `Settings`."""
    said: str = ""
    """What it has of its own among the members of its ensemble, in words."""

    @property
    def name(self) -> tuple[int, int]:
        """Member and fold."""
        return self.member, self.fold

    def seed_of(self, attempt: int) -> int:
        """Give the seed of an attempt."""
        return salts.key("retry", self.seed) if attempt else self.seed

    def settings(self, common: Settings) -> Settings:
        """Give its own settings."""
        own: dict[str, Any] = dict(self.own)
        arguments = json.loads(common.shape.arguments)
        arguments |= {name: value for name, value in own.items() if name in arguments}
        shape = replace(common.shape, arguments=json.dumps(arguments, sort_keys=True))
        initial = common.initial.only(*self.name) if common.initial else None
        return replace(common, shape=shape, initial=initial, **own)


@dataclass(frozen=True)
class TrainingJob:
    """All that a training is a function of."""

    settings: Settings
    seed: int
    """Of this attempt."""
    fitting: Batchable | StoredView
    validation: Batchable | StoredView

    @staticmethod
    def of(events: RatioEvents | StoredEvents, member: Member, settings: Settings, attempt: int) -> TrainingJob:
        """Say what an attempt to train a member is.

        Args:
            events: Of the ratio.
            member: Of a pack.
            settings: What is the same for all members.
            attempt: From 0; each has a seed of its own.

        Raises:
            TaskError: The weights of a class do not add up to more than 0.
        """
        return TrainingJob(member.settings(settings), member.seed_of(attempt), *events.look(member.view))
