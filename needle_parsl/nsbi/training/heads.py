"""From a network of many classes to one ratio."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn


def of_classes(names: Sequence[str]) -> str:
    """Describe the outputs of a network in training: classes by name, in their order."""
    return json.dumps({"classes": list(names)})


def of_ratio(head: str, numerator: str, denominator: Mapping[str, float]) -> str:
    """Add the ratio that an estimator makes of the outputs.

    Args:
        head: From `of_classes`.
        numerator: A class.
        denominator: Expected events by class; their shares count.
    """
    total = sum(denominator.values())
    below = {name: expected / total for name, expected in denominator.items()}
    return json.dumps({**json.loads(head), "numerator": numerator, "denominator": below})


def outputs(head: str) -> int:
    """Count the outputs of a network; 1 for a network of one ratio."""
    return len(json.loads(head)["classes"]) if head else 1


def finished(network: nn.Module, head: str, *, particles: bool) -> nn.Module:
    """Put the head of an estimator on a network; in training there is none.

    Args:
        network: Its outputs are those of all classes.
        head: From `of_ratio`, or without one.
        particles: Whether the network takes particles, too.
    """
    said: dict[str, Any] = json.loads(head) if head else {}
    if "numerator" not in said:
        return network
    return OfParticles(network, Head(said)) if particles else nn.Sequential(network, Head(said))


class Head(nn.Module):
    """ln r of one class over a mixture of others: -ln sum_i c_i exp(l_i - l_j), with shares c_i."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        super().__init__()
        places = {name: place for place, name in enumerate(said["classes"])}
        self.above = places[said["numerator"]]
        self.below = [(places[name], math.log(share)) for name, share in said["denominator"].items()]

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Map the outputs of all classes, shape (N, C), to ln r, shape (N,)."""
        above = logits[:, self.above]
        first, *others = (logits[:, place] - above + share for place, share in self.below)
        for other in others:
            first = torch.logaddexp(first, other)
        return -first


class OfParticles(nn.Module):
    """A head on a network that takes particles."""

    def __init__(self, network: nn.Module, head: Head) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, x: torch.Tensor, particles: Any) -> torch.Tensor:
        """Map features (N, F) and particles to ln r (N,)."""
        found: torch.Tensor = self.head(self.network(x, particles))
        return found
