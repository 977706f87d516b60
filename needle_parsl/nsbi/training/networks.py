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


def make(shape: Shape) -> nn.Module:
    """Make a network; its initial weights follow from torch's random state."""
    return NETWORKS[shape.network](shape.features, shape.layers, shape.nodes)


def build(shape: Shape, seed: int) -> nn.Module:
    """Make a network with initial weights that follow from the seed alone. Not for two threads at a time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(shape)


def empty(shape: Shape) -> nn.Module:
    """Make a network whose weights will be filled in; touches no random state, which other threads may be using."""
    with torch.device("meta"):
        network = make(shape)
    return network.to_empty(device="cpu")


def vector(network: nn.Module) -> torch.Tensor:
    """Copy the weights of a network into one vector, shape (P,)."""
    return nn.utils.parameters_to_vector(network.parameters()).detach().clone()


def fill(network: nn.Module, weights: torch.Tensor) -> None:
    """Give a network the weights that `vector` gave; they share memory."""
    nn.utils.vector_to_parameters(weights, network.parameters())


NETWORKS: dict[str, Callable[[int, int, int], nn.Module]] = {"mlp": MLP}
"""Each takes features, layers and nodes."""
