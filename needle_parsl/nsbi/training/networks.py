"""Network architectures, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn


@dataclass(frozen=True)
class Shape:
    """What fixes the parameters of a network."""

    network: str
    features: int
    layers: int
    nodes: int


class MLP(nn.Module):
    """A multilayer perceptron that gives one logit per event."""

    def __init__(self, features: int, layers: int, nodes: int) -> None:
        super().__init__()
        widths = [features, *[nodes] * layers]
        hidden = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.SiLU())]
        self.stack = nn.Sequential(*hidden, nn.Linear(widths[-1], 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map standardised features (N, F) to logits (N,)."""
        logits: torch.Tensor = self.stack(x)
        return logits.squeeze(-1)


def build(shape: Shape, seed: int) -> nn.Module:
    """Make a network with initial weights that follow from the seed alone. Not for two threads at a time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[shape.network](shape.features, shape.layers, shape.nodes)


def empty(shape: Shape) -> nn.Module:
    """Make a network whose weights will be filled in; touches no random state, which other threads may be using."""
    with torch.device("meta"):
        network = NETWORKS[shape.network](shape.features, shape.layers, shape.nodes)
    return network.to_empty(device="cpu")


NETWORKS: dict[str, Callable[[int, int, int], nn.Module]] = {"mlp": MLP}
"""Each takes features, layers and nodes."""
