"""What an engine trains: a module with `training_step`, `validation_step` and `configure_optimizers`, as Lightning wants it.

The user's own LightningModule is one. Any other network becomes one with needle's loss, optimiser and schedule; it is no
LightningModule, so that workers need not import Lightning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from needle_parsl import refs
from needle_parsl.analysis import catalogue
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.loading.batches import Batch, ParticleBatch
from needle_parsl.nsbi.training import heads, losses, networks, randomness
from needle_parsl.nsbi.training.initial import freeze
from needle_parsl.nsbi.training.members import Settings
from needle_parsl.nsbi.training.particles import Particles
from needle_parsl.nsbi.training.stopping import MONITORED

LOSS = "[training] loss: "
"""How sentences about that key begin."""
STEPS = ("training_step", "validation_step", "configure_optimizers")
"""What a LightningModule must have of its own."""


class Classifier(nn.Module):
    """A network that is trained as `[training]` says."""

    log: Callable[..., None]
    """Set by the engine, as Lightning's is by its Trainer."""

    def __init__(self, network: nn.Module, settings: Settings) -> None:
        super().__init__()
        self.network, self.settings = network, settings
        self.loss = losses.find(settings.loss)

    def forward(self, x: torch.Tensor, *particles: Particles) -> torch.Tensor:
        """Map features, and particles if the network sees them, to logits."""
        logits: torch.Tensor = self.network(x, *particles)
        return logits

    def training_step(self, batch: Batch | ParticleBatch, number: int) -> torch.Tensor:  # noqa: ARG002  Lightning's arguments
        """Compute the loss of a batch."""
        smooth = self.settings.label_smoothing
        label = batch.label * (1 - smooth) + smooth / 2 if smooth else batch.label
        return self.loss(self.network(*inputs(batch, self.network)), label, batch.weight)

    def validation_step(self, batch: Batch | ParticleBatch, number: int) -> None:  # noqa: ARG002  likewise
        """Log the loss of a batch; labels are not smoothed where nothing is learned."""
        logits = self.network(*inputs(batch, self.network))
        if self.settings.log_yields:
            logits = logits + torch.tensor(self.settings.log_yields, device=logits.device)
        self.log(MONITORED, self.loss(logits, batch.label, batch.weight))

    def configure_optimizers(self) -> Any:
        """Give the optimiser and its schedule, in Lightning's words."""
        settings = self.settings
        minimiser, scheduled = (
            catalogue.OPTIMIZERS[settings.optimizer].load(),
            catalogue.SCHEDULES[settings.schedule].load(),
        )
        optimizer = minimiser(self.parameters(), settings.learning_rate, settings.weight_decay)
        schedule = scheduled(optimizer, settings.lengths or (settings.epochs,))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": MONITORED}}


def inputs(batch: Batch | ParticleBatch, network: nn.Module) -> tuple[Any, ...]:
    """Give what a network takes of a batch: features, and particles if its `forward` has a second argument."""
    if isinstance(batch, ParticleBatch) and networks.sees_particles(network):
        return batch.x, batch.particles
    return (batch.x,)


def network(module: Any) -> nn.Module:
    """Give the network of what is trained: that of the user, or the one that needle trains."""
    found: nn.Module = module.network if isinstance(module, Classifier) else module
    return found


def ratio(module: Any, batch: Batch | ParticleBatch, settings: Settings) -> torch.Tensor:
    """Evaluate ln r of a batch by what is trained."""
    own = network(module)
    return heads.log_ratio(own(*inputs(_twice(batch, settings), own)), settings.shape)


class Fields(dict[str, Any]):
    """A batch as a table: `x`, `label`, `weight`, and `particles` if there are any, also by other usual names."""

    def __missing__(self, name: str) -> Any:
        """Find what another name means."""
        for own, names in ALIASES.items():
            if name in names and own in self:
                return self[own]
        raise KeyError(f"a batch has no {name!r}; it has {', '.join(self)}")


ALIASES = {
    "x": ("features", "inputs", "input", "data"),
    "label": ("y", "labels", "target", "targets"),
    "weight": ("w", "weights", "sample_weight"),
    "particles": (),
}


def given(batch: Batch | ParticleBatch, settings: Settings) -> Any:
    """Give a batch the form that the module takes."""
    batch = _twice(batch, settings)
    return Fields(batch._asdict()) if settings.batch == "dict" else batch


def _twice(batch: Batch | ParticleBatch, settings: Settings) -> Any:
    """Let known outputs of a part that takes particles stand for these, too: only the part is given them."""
    seen = settings.embedding is not None and settings.embedding.particles
    return ParticleBatch(*batch[:3], batch.x) if seen else batch  # type: ignore[arg-type]  # `frozen.Known` takes it out again


def build(settings: Settings, seed: int) -> Any:
    """Make what is trained, with initial weights that follow from the seed; torch's random state goes on from there.

    Call it where the random state is the training's own.

    Raises:
        InputError: A LightningModule lacks one of its three methods.
    """
    randomness.seed(seed)
    made = networks.make(settings.shape, settings.dropout)
    if settings.initial:
        settings.initial.put(made, settings.shape)
    freeze(made, settings.frozen)
    if settings.embedding:
        settings.embedding.stand_in(made)
    if not (is_lightning(made) or hasattr(made, STEPS[0])):
        return Classifier(made, settings)
    if settings.loss not in catalogue.LOSSES:
        raise InputError(
            f"{LOSS}has no meaning for {refs.own_name(settings.shape.network)}, which has a training_step of its own; leave it out"
        )
    for name in STEPS:
        if name not in own(made):
            raise InputError(
                f"{settings.shape.network} is a LightningModule without {name}; add it, "
                "or derive from torch.nn.Module and needle trains it with [training] loss and optimizer"
            )
    return made


def is_lightning(module: nn.Module) -> bool:
    """Whether a module is a LightningModule; Lightning is not imported for the question."""
    return any(kind.__name__ == "LightningModule" and _is_library(kind) for kind in type(module).__mro__)


def own(module: nn.Module) -> set[str]:
    """List the names that the user's classes define."""
    return {name for kind in type(module).__mro__ if not _is_library(kind) for name in vars(kind)}


def _is_library(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in (
        "lightning",
        "pytorch_lightning",
        "lightning_fabric",
        "torch",
        "builtins",
    )
