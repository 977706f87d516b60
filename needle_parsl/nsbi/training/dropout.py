"""Dropout that every engine does alike: a mask is no draw but a hash of seed, step, layer, row of the batch, and unit.

Neither the order of computations, nor what else draws random numbers, nor an interruption changes it. A hash has 32 bits; its
halves decide on two rows that follow each other.

References:
    N. Srivastava et al., Dropout, JMLR 15 (2014) 1929.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from needle_parsl.nsbi.training.kernels.dropout_hash import BITS, WHOLE, mix, scale, stream, threshold


class Dropout(nn.Module):
    """Sets a share of all units to 0 in training, and multiplies the others by what keeps the mean."""

    def __init__(self, share: float, layer: int) -> None:
        """Make it.

        Args:
            share: Of units that are dropped, from 0 to below 1.
            layer: Its number among the dropouts of the network.
        """
        super().__init__()
        self.threshold, self.layer = threshold(share), layer
        self.key: int | torch.Tensor = 0
        """Of the step, from `keyed`; in a stack a tensor, in which each member finds its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop units of x, shape (..., U); rows are counted over all that stands before."""
        if not self.training:
            return x
        kept = self.kept(x.shape[:-1].numel(), x.shape[-1], x.device)
        return torch.where(kept.view(x.shape), x * scale(self.threshold), 0.0)

    def kept(self, rows: int, units: int, device: torch.device | None = None) -> torch.Tensor:
        """Say which units stay, shape (rows, units)."""
        origin, factor = stream(self.key, self.layer)
        pairs = (rows + 1) // 2
        found = mix((torch.arange(pairs * units, device=device) * factor + origin) & BITS).view(pairs, units)
        halves = torch.stack([found & (WHOLE - 1), found >> 16], dim=1)
        return halves.view(2 * pairs, units)[:rows] >= self.threshold


def activation(share: float, layer: int) -> nn.Module:
    """Make the activation of a hidden layer, with its dropout; it takes one place, so that layers have the same names with and without."""
    return nn.Sequential(nn.SiLU(), Dropout(share, layer)) if share else nn.SiLU()


def parts(module: nn.Module) -> list[Dropout]:
    """List the dropouts of a module."""
    return [part for part in module.modules() if isinstance(part, Dropout)]


def begin(parts: Iterable[Dropout], key: int | torch.Tensor) -> None:
    """Tell dropouts the key of the step that begins."""
    for part in parts:
        part.key = key
