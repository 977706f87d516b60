"""`self.log` without a Trainer: values are averaged over an epoch as Lightning does, in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class Logs:
    """What a module logs in one pass over some events."""

    def __init__(self, module: Any) -> None:
        self.batch_size = 1
        """Of the current batch."""
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, int] = {}
        self.metrics: dict[str, Any] = {}
        module.log, module.log_dict = self.log, self.log_dict

    def log(self, name: str, value: Any, *_: Any, batch_size: int | None = None, **__: Any) -> None:
        """Note a value; takes all arguments of Lightning's `log`."""
        if hasattr(value, "compute") and not isinstance(value, torch.Tensor):
            self.metrics[name] = value
            return
        size = batch_size or self.batch_size
        value = torch.as_tensor(value).detach()
        # The same order of operations as in Lightning: a last bit decides whether patience runs out.
        value = (value if value.is_floating_point() else value.to(torch.get_default_dtype())).clone()
        self.sums[name] = self.sums.get(name, torch.tensor(0.0)) + value * size
        self.counts[name] = self.counts.get(name, 0) + size

    def log_dict(self, values: Mapping[str, Any], *arguments: Any, **options: Any) -> None:
        """Note several values."""
        for name, value in values.items():
            self.log(name, value, *arguments, **options)

    def take(self) -> dict[str, float]:
        """Give the means, and begin anew."""
        found = {name: float(total / self.counts[name]) for name, total in self.sums.items()}
        for name, metric in self.metrics.items():
            found[name] = float(metric.compute())
            metric.reset()
        self.clear()
        return found

    def clear(self) -> None:
        """Forget everything."""
        self.sums, self.counts, self.metrics = {}, {}, {}
