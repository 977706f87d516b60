"""Normalising flows: a ratio of two learned densities, behind the protocol of every other network. Needs the extra `flows`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from needle_parsl.analysis import extras
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.loading.batches import Batch
from needle_parsl.nsbi.training.stopping import MONITORED


class FlowRatio(nn.Module):
    """ln r(x) = ln p_1(x) - ln p_0(x), each density a neural spline flow, fitted by maximum likelihood.

        L = -mean w [ y ln p_1(x) + (1 - y) ln p_0(x) ]

    References:
        C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, arXiv:1906.04032.
    """

    log: Callable[..., None]
    """Set by the engine."""

    def __init__(
        self, features: int, layers: int, nodes: int, learning_rate: float = 1e-3, weight_decay: float = 0.0, epochs: int = 1,
        *, transforms: int = 3, bins: int = 8,
    ) -> None:  # fmt: skip
        super().__init__()
        try:
            from zuko.flows import NSF  # noqa: PLC0415  an extra
        except ImportError as error:
            raise InputError(f"a flow {extras.remedy('flows')}") from error
        made = [NSF(features, transforms=transforms, bins=bins, hidden_features=[nodes] * layers) for _ in range(2)]
        self.flows = nn.ModuleList(made)
        self.learning_rate, self.weight_decay, self.epochs = learning_rate, weight_decay, epochs

    def densities(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give ln p_0 and ln p_1 of standardised features (N, F), shape (N,) each."""
        below, above = (flow().log_prob(x) for flow in self.flows)
        return below, above

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map standardised features (N, F) to ln r (N,)."""
        below, above = self.densities(x)
        return above - below

    def training_step(self, batch: Batch, number: int) -> torch.Tensor:  # noqa: ARG002  Lightning's arguments
        """Compute the negative log-likelihood, each event under the density of its class."""
        below, above = self.densities(batch.x)
        return -(batch.weight * torch.where(batch.label > 0.5, above, below)).mean()

    def validation_step(self, batch: Batch, number: int) -> None:
        """Log it."""
        self.log(MONITORED, self.training_step(batch, number))

    def configure_optimizers(self) -> Any:
        """Give AdamW with a cosine schedule."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)]
