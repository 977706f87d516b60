"""A module without a Trainer: `self.log`, the hooks of an epoch, and the few facts of a Trainer that modules ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from needle_parsl.nsbi.training.engines.logs import Logs
from needle_parsl.nsbi.training.modules import is_lightning, own

CALLED = (
    "on_fit_start", "on_train_start", "on_train_epoch_start", "on_train_epoch_end", "on_validation_epoch_start", "on_validation_epoch_end",
)  # fmt: skip
"""Hooks that are called here as by Lightning."""
UNUSED = (
    "test_",
    "predict_",
    "on_test",
    "on_predict",
    "on_save_checkpoint",
    "on_load_checkpoint",
    "train_dataloader",
    "val_dataloader",
)
"""Beginnings of the names of methods that play no part in training here."""
USED = ("forward", "training_step", "validation_step", "configure_optimizers", "configure_callbacks")


class NotPackedError(Exception):
    """A module wants something that only lightning.Trainer gives; the message says what."""


class Trainer:
    """What stands for `self.trainer`."""

    logger, loggers, sanity_checking, max_steps = None, (), False, -1

    def __init__(self, epochs: int, batches: int) -> None:
        self.max_epochs, self.num_training_batches = epochs, batches
        self.estimated_stepping_batches = epochs * batches
        self.current_epoch = self.global_step = 0
        self.training, self.validating = True, False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotPackedError(f"it uses self.trainer.{name}")


class Host:
    """Hosts one module."""

    def __init__(self, module: Any, epochs: int, batches: int) -> None:
        self.module, self.trainer = module, Trainer(epochs, batches)
        self.logs = Logs(module)
        self.hooks: dict[str, Callable[[], None]] = {
            name: getattr(module, name) for name in CALLED if name in own(module)
        }
        if is_lightning(module):
            module.trainer = self.trainer

    def call(self, hook: str) -> None:
        """Call a hook that the user has written."""
        if hook in self.hooks:
            self.hooks[hook]()


def unhosted(module: nn.Module) -> str:
    """Say what of a module only lightning.Trainer can do; empty if there is nothing."""
    if not is_lightning(module):
        return ""
    module_: Any = module
    if not module_.automatic_optimization:
        return "it optimises manually"
    library = {name for kind in type(module).__mro__ if kind.__name__ == "LightningModule" for name in _names(kind)}
    for name in sorted(own(module) & library - {*CALLED, *USED, *vars(nn.Module)}):
        if not name.startswith(("_", *UNUSED)):
            return f"it overrides {name}"
    return ""


def _names(kind: type) -> set[str]:
    """List the methods of Lightning and what it is made of."""
    return {name for base in kind.__mro__ if "lightning" in base.__module__ for name in vars(base)}
