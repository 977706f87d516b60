"""A logger for lightning.Trainer that keeps the newest value of each name, for the pack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch.loggers import Logger

METHODS = ("add_scalar", "log_metric", "add_scalars", "log_metrics", "log")
"""By which TensorBoard, MLflow, Comet, CSV and W&B take numbers."""


class Kept(Logger):
    """Numbers are kept; figures, texts and graphs, which a pack has no place for, are passed over."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder
        self.values: dict[str, float] = {}
        self.experiment = Experiment(self.values)

    name, version, save_dir = "needle", "0", property(lambda self: self.folder)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:  # noqa: ARG002  Lightning's arguments
        """Keep what `self.log` has logged, and what the module gives the logger itself."""
        _keep(self.values, metrics)

    def log_hyperparams(self, *given: Any, **named: Any) -> None:
        """Settings are in the run directory."""

    def take(self) -> dict[str, float]:
        """Give the newest values."""
        return {name: value for name, value in self.values.items() if name != "epoch"}


class Experiment:
    """What `self.logger.experiment` is."""

    def __init__(self, values: dict[str, float]) -> None:
        self.values = values

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)

        def method(*given: Any, **named: Any) -> None:
            if name in METHODS:
                first = given[0] if given else next(iter(named.values()), {})
                value = given[1] if len(given) > 1 else named.get("scalar_value", named.get("value"))
                _keep(self.values, first if isinstance(first, Mapping) else {str(first): value})

        return method


def _keep(values: dict[str, float], given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        try:
            values[str(name)] = float(value)
        except (TypeError, ValueError):  # a figure, or a table
            continue
