"""The steps of optimisers on stacked weights (K, P), with a column of settings each, by the formulae of `torch.optim`.

References:
    D. P. Kingma, J. Ba, arXiv:1412.6980; I. Loshchilov, F. Hutter, arXiv:1711.05101; T. Dozat, ICLR workshop 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import optim

KNOWN = (optim.Adam, optim.AdamW, optim.NAdam, optim.SGD)
"""Optimisers with formulae here."""


def knows(optimizer: optim.Optimizer) -> bool:
    """Whether an optimiser does what the formulae here say."""
    (group,) = optimizer.param_groups
    plain = not group.get("amsgrad") and not group.get("maximize") and isinstance(group["lr"], (int, float))
    return type(optimizer) in KNOWN and plain


class Updates:
    """What K optimisers of one kind remember, and their step."""

    def __init__(self, optimizers: Sequence[optim.Optimizer], weights: torch.Tensor) -> None:
        self.optimizers = list(optimizers)
        """Their settings are read at every step, since schedulers move them."""
        self.first, self.second = torch.zeros_like(weights), torch.zeros_like(weights)
        self.steps = torch.zeros(len(weights), 1, dtype=torch.float64, device=weights.device)
        self.product = torch.ones_like(self.steps)

    def step(self, weights: torch.Tensor, gradients: torch.Tensor, active: torch.Tensor) -> None:
        """Move the weights of some members, in place.

        Args:
            weights: Shape (K, P).
            gradients: Shape (K, P).
            active: Whose, shape (K, 1).
        """
        self.steps += active
        before = (weights.clone(), self.first, self.second, self.product)
        group = self.optimizers[0].param_groups[0]
        decay = self.column("weight_decay", weights)
        decoupled = isinstance(self.optimizers[0], optim.AdamW) or group.get("decoupled_weight_decay", False)
        new = weights * (1 - self.column("lr", weights) * decay) if decoupled else weights
        gradients = gradients if decoupled else gradients + decay * weights
        kind = type(self.optimizers[0])
        moved = {optim.SGD: self._sgd, optim.NAdam: self._nadam}.get(kind, self._adam)(new, gradients)
        after = (moved, self.first, self.second, self.product)
        kept = [torch.where(active, a, b) for a, b in zip(after, before, strict=True)]
        weights.copy_(kept[0])
        self.first, self.second, self.product = kept[1:]

    def column(self, name: str, like: torch.Tensor, part: int | None = None) -> torch.Tensor:
        """Give a setting of each, shape (K, 1)."""
        found = [o.param_groups[0][name] for o in self.optimizers]
        values = [[float(value if part is None else value[part])] for value in found]
        return torch.tensor(values, dtype=like.dtype, device=like.device)

    def _moments(self, gradients: torch.Tensor) -> torch.Tensor:
        """Move the means towards the gradient and its square; give the root of the second, corrected for its start."""
        b1, b2 = (self.column("betas", gradients, part) for part in (0, 1))
        self.first = self.first + (gradients - self.first) * (1 - b1)
        self.second = self.second * b2 + gradients * gradients * (1 - b2)
        correction = 1 - self.column("betas", self.steps, 1) ** self.steps
        return self.second.sqrt() / correction.sqrt().to(gradients.dtype) + self.column("eps", gradients)

    def _adam(self, weights: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        root = self._moments(gradients)
        size = self.column("lr", self.steps) / (1 - self.column("betas", self.steps, 0) ** self.steps)
        return weights - size.to(weights.dtype) * (self.first / root)

    def _nadam(self, weights: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        root = self._moments(gradients)
        lr, b1, slow = (
            self.column(n, self.steps, p) for n, p in (("lr", None), ("betas", 0), ("momentum_decay", None))
        )
        now, coming = (b1 * (1 - 0.5 * 0.96 ** ((self.steps + ahead) * slow)) for ahead in (0, 1))
        self.product = self.product * now
        by_gradient = (lr * (1 - now) / (1 - self.product)).to(weights.dtype)
        by_mean = (lr * coming / (1 - self.product * coming)).to(weights.dtype)
        return weights - by_gradient * (gradients / root) - by_mean * (self.first / root)

    def _sgd(self, weights: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        keep, damp = self.column("momentum", weights), self.column("dampening", weights)
        self.first = torch.where(self.steps == 1, gradients, keep * self.first + (1 - damp) * gradients)
        nesterov = self.optimizers[0].param_groups[0]["nesterov"]
        moved = gradients + keep * self.first if nesterov else self.first
        return weights - self.column("lr", weights) * moved

    def keep(self, places: Sequence[int]) -> None:
        """Go on with some of them."""
        rows = list(places)
        self.optimizers = [self.optimizers[place] for place in rows]
        self.first, self.second = self.first[rows], self.second[rows]
        self.steps, self.product = self.steps[rows], self.product[rows]

    def describe(self, place: int) -> dict[str, Any]:
        """Give one's state."""
        return {n: getattr(self, n)[place].cpu().clone() for n in ("first", "second", "steps", "product")}

    def restore(self, place: int, state: dict[str, torch.Tensor]) -> None:
        """Take it back."""
        for name, value in state.items():
            getattr(self, name)[place] = value.to(self.first.device)
