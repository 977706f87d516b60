"""What an engine trains: a module with `training_step`, `validation_step` and `configure_optimizers`, as Lightning wants it.

The user's own LightningModule is one. Any other network becomes one with needle's loss, optimiser and schedule; it is no
LightningModule, so that workers need not import Lightning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from needle_parsl.nsbi.data.loading.batches import Batch
from needle_parsl.nsbi.training import networks
from needle_parsl.nsbi.training.losses import LOSSES
from needle_parsl.nsbi.training.members import Settings
from needle_parsl.nsbi.training.optimizers import OPTIMIZERS, SCHEDULES

MONITORED = "val_loss"
"""What early stopping looks at, as a module logs it."""


class Classifier(nn.Module):
    """A network that is trained as `[training]` says."""

    log: Callable[..., None]
    """Set by the engine, as Lightning's is by its Trainer."""

    def __init__(self, network: nn.Module, settings: Settings) -> None:
        super().__init__()
        self.network, self.settings = network, settings
        self.loss = LOSSES[settings.loss]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features to logits."""
        logits: torch.Tensor = self.network(x)
        return logits

    def training_step(self, batch: Batch, number: int) -> torch.Tensor:  # noqa: ARG002  Lightning's arguments
        """Compute the loss of a batch."""
        return self.loss(self.network(batch.x), batch.label, batch.weight)

    def validation_step(self, batch: Batch, number: int) -> None:
        """Log the loss of a batch."""
        self.log(MONITORED, self.training_step(batch, number))

    def configure_optimizers(self) -> Any:
        """Give the optimiser and its schedule, in Lightning's words."""
        settings = self.settings
        optimizer = OPTIMIZERS[settings.optimizer](self.parameters(), settings.learning_rate, settings.weight_decay)
        schedule = SCHEDULES[settings.schedule](optimizer, settings.epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": MONITORED}}


def build(settings: Settings, seed: int) -> Any:
    """Make what is trained, with initial weights that follow from the seed; torch's random state goes on from there.

    Call it where the random state is the training's own.
    """
    torch.manual_seed(seed % 2**63)
    network = networks.make(settings.shape)
    return network if hasattr(network, "training_step") else Classifier(network, settings)
