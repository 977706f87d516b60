"""A network that takes its time, and leaves the processor to others: trainings that last as long on every machine."""

from __future__ import annotations

import time

import torch
from torch import nn

STEP = 0.1
"""Seconds."""


class Slow(nn.Module):
    """A perceptron that sleeps in every step; compiled code, which never calls `forward`, knows no GELU."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.stack = nn.Sequential(nn.Linear(features, 8), nn.GELU(), nn.Linear(8, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map standardised features (N, F) to logits (N,)."""
        if torch.is_grad_enabled():
            time.sleep(STEP)
        return self.stack(x).squeeze(-1)
