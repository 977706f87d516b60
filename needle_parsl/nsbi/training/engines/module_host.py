"""A module without a Trainer: `self.log`, the hooks of an epoch, and the few facts of a Trainer that modules ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from needle_parsl.nsbi.training.engines.logged_metrics import Logs
from needle_parsl.nsbi.training.modules import is_lightning, own
from needle_parsl.nsbi.training.refusals import NotPackedError

CALLED = (
    "on_fit_start", "on_train_start", "on_train_epoch_start", "on_train_epoch_end", "on_validation_epoch_start", "on_validation_epoch_end",
)  # fmt: skip
"""Hooks that are called here as by Lightning."""
UNUSED = ("test_", "predict_", "on_test", "on_predict", "on_save_checkpoint", "on_load_checkpoint")
"""Beginnings of the names of methods that play no part in training here."""
USED = ("forward", "training_step", "validation_step", "configure_optimizers", "configure_callbacks", "configure_model")
"""Methods that needle calls itself; `configure_model` by `networks.make`."""
CONSTANT = {
    "sanity_checking": False, "max_steps": -1, "world_size": 1, "num_devices": 1, "num_nodes": 1, "global_rank": 0, "local_rank": 0,
    "is_global_zero": True, "progress_bar_callback": None, "accumulate_grad_batches": 1, "fast_dev_run": False, "testing": False,
    "predicting": False,
}  # fmt: skip
"""What a Trainer says of itself on one device."""


class Trainer:
    """What stands for `self.trainer`. It notes what it is asked, and refuses what it does not know."""

    facts: dict[str, Any]
    read: set[str]
    """What it was asked."""
    refused: str
    """What it does not know and was asked; a module may have caught the exception."""

    def __init__(self, epochs: int, batches: int) -> None:
        facts = {
            **CONSTANT, "max_epochs": epochs, "num_training_batches": batches, "estimated_stepping_batches": epochs * batches,
            "current_epoch": 0, "global_step": 0, "training": True, "validating": False,
        }  # fmt: skip
        vars(self).update(facts=facts, read=set(), refused="")

    def __getattr__(self, name: str) -> Any:
        if name in self.facts:
            self.read.add(name)
            return self.facts[name]
        if name.startswith("__"):
            raise AttributeError(name)
        raise self._unknown(f"it uses self.trainer.{name}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise self._unknown(f"it sets self.trainer.{name}")

    def _unknown(self, what: str) -> NotPackedError:
        vars(self)["refused"] = self.refused or what
        return NotPackedError(what)


class TrainerStub:
    """Hosts one module."""

    def __init__(self, module: Any, epochs: int, batches: int) -> None:
        self.module, self.trainer = module, Trainer(epochs, batches)
        self.facts = self.trainer.facts
        self.logs = Logs(module)
        self.hooks: dict[str, Callable[[], None]] = {
            name: getattr(module, name) for name in CALLED if name in own(module)
        }
        self.numbered = {name: takes_number(getattr(module, name)) for name in ("training_step", "validation_step")}
        if is_lightning(module):
            module.trainer = self.trainer

    def call(self, hook: str) -> None:
        """Call a hook that the user has written."""
        if hook in self.hooks:
            self.logs.function, self.logs.size = hook, 1
            self.hooks[hook]()

    def step(self, name: str, batch: Any, number: int, size: int) -> Any:
        """Call `training_step` or `validation_step`.

        Args:
            name: Which.
            batch: Of events.
            number: Of the batch in the epoch.
            size: Events in it.

        Raises:
            NotPackedError: It has asked for what only a Trainer knows.
        """
        self.logs.function, self.logs.size = name, size
        method = getattr(self.module, name)
        found = method(batch, number) if self.numbered[name] else method(batch)
        if self.trainer.refused:
            raise NotPackedError(self.trainer.refused)
        return found


def takes_number(method: Callable[..., Any]) -> bool:
    """Whether a step takes the number of the batch: Lightning leaves it out where there is no second argument."""
    named = [p for p in inspect.signature(method).parameters.values() if p.kind is not p.VAR_KEYWORD]
    return len(named) >= 2 or any(p.kind is p.VAR_POSITIONAL or p.name == "batch_idx" for p in named)


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
