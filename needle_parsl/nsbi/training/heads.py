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
    return followed(network, Head(said), particles=particles)


def followed(network: nn.Module, then: nn.Module, *, particles: bool) -> nn.Module:
    """Put something behind a network."""
    return OfParticles(network, then) if particles else nn.Sequential(network, then)


PROBABILITY = "probability"
"""What a network of the user's may give instead of ln r: p_1 / (p_1 + p_0)."""
EDGE = 1e-7
"""Smallest distance of a probability from 0 and 1 in float32, so that ln r ends at 16."""


def log_ratio(found: Any, shape: Any) -> torch.Tensor:
    """Make ln r of what the `forward` of a network has given.

    Args:
        found: A tensor of shape (N,) or (N, 1), or a tuple that begins with one; (N, C) of a network of many classes.
        shape: Of the network.
    """
    logit: Any = found[0] if isinstance(found, (tuple, list)) else found
    if not isinstance(logit, torch.Tensor):
        return logit  # type: ignore[no-any-return]  # refused where the engine is chosen
    if not shape.head and logit.ndim == 2 and logit.shape[1] == 1:
        logit = logit[:, 0]
    return torch.logit(logit.clamp(EDGE, 1 - EDGE)) if shape.output == PROBABILITY else logit


class Form(nn.Module):
    """From what a network of the user's gives to ln r: each step is there or not once and for all, so that it can be traced."""

    def __init__(self, found: Any, shape: Any) -> None:
        """Take the form from an example, what the network gives for two events."""
        super().__init__()
        self.first = isinstance(found, (tuple, list))
        logit = found[0] if self.first else found
        self.column = not shape.head and logit.ndim == 2
        self.probability = shape.output == PROBABILITY

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return self.first or self.column or self.probability

    def forward(self, found: Any) -> torch.Tensor:
        """Give ln r, shape (N,)."""
        logit: torch.Tensor = found[0] if self.first else found
        if self.column:
            logit = logit.squeeze(-1)
        return torch.logit(logit.clamp(EDGE, 1 - EDGE)) if self.probability else logit


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

    def __init__(self, network: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, x: torch.Tensor, particles: Any) -> torch.Tensor:
        """Map features (N, F) and particles to ln r (N,)."""
        found: torch.Tensor = self.head(self.network(x, particles))
        return found
