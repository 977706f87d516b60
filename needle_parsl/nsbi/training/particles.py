"""Networks of particles: any number per event, in any order. Each takes them packed, padded with a mask, or nested."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu

from needle_parsl.nsbi.data.loading.particles import Packed, Padded
from needle_parsl.nsbi.training.dropout import Dropout, activation

Particles = Packed | Padded | torch.Tensor
"""A tensor is a nested one, with layout `torch.jagged`."""


def packed(particles: Particles) -> Packed:
    """Give the packed form, in which no work is done for places without a particle."""
    if isinstance(particles, Packed):
        return particles
    if isinstance(particles, Padded):
        counts = particles.mask.sum(dim=1)
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return Packed(particles.values[particles.mask], offsets, int(counts.max()))
    nested: Any = particles  # torch declares offsets() for no tensor
    return Packed(nested.values(), nested.offsets(), int(nested.offsets().diff().max()))


def perceptron(*widths: int, dropout: float = 0.0, first: int = 0) -> nn.Sequential:
    """Stack linear layers with SiLU, and dropout, between them; `first` is the number of the first dropout in the network."""
    parts = nn.Sequential(nn.Linear(widths[0], widths[1]))
    for number, (a, b) in enumerate(pairwise(widths[1:])):
        parts.extend([activation(dropout, first + number), nn.Linear(a, b)])
    return parts


class DeepSet(nn.Module):
    """f(x, {p}) = rho(x, sum_i phi(p_i)): what is the same however the particles are ordered.

    References:
        M. Zaheer et al., Deep Sets, arXiv:1703.06114; P. T. Komiske, E. M. Metodiev, J. Thaler, arXiv:1810.05165.
    """

    def __init__(
        self, features: int, particles: int, layers: int, nodes: int, outputs: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.phi = perceptron(particles, *[nodes] * layers, dropout=dropout)
        self.rho = perceptron(features + nodes, *[nodes] * layers, outputs, dropout=dropout, first=layers - 1)

    def forward(self, x: torch.Tensor, particles: Particles) -> torch.Tensor:
        """Map features (B, F) and particles to logits (B,), or (B, C) with C classes."""
        if isinstance(particles, Padded):
            total = (self.phi(particles.values) * particles.mask[..., None]).sum(dim=1)
        else:
            kept = packed(particles)
            total = kept.sum(self.phi(kept.values))
        logits: torch.Tensor = self.rho(torch.cat([x, total], dim=1))
        return logits.squeeze(-1) if self.outputs == 1 else logits


class Transformer(nn.Module):
    """Self-attention among the particles and one token of the event's own features, from which the logit is read.

    The token keeps events without particles well defined: attention always has somebody to look at. Nested particles are
    padded first, since torch's attention over nested tensors takes about four times as long (docs/data.md).

    References:
        A. Vaswani et al., arXiv:1706.03762; R. Xiong et al. (normalisation before attention), arXiv:2002.04745.
    """

    def __init__(
        self, features: int, particles: int, layers: int, nodes: int, heads: int = 4, outputs: int = 1,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.outputs = outputs
        self.event, self.particle = nn.Linear(features, nodes), nn.Linear(particles, nodes)
        self.blocks = nn.ModuleList(_Block(nodes, heads, dropout, number) for number in range(layers))
        self.last = nn.Sequential(nn.LayerNorm(nodes), nn.Linear(nodes, outputs))

    def forward(self, x: torch.Tensor, particles: Particles) -> torch.Tensor:
        """Map features (B, F) and particles to logits (B,), or (B, C) with C classes."""
        values, mask = particles if isinstance(particles, Padded) else packed(particles).padded()
        tokens = torch.cat([self.event(x)[:, None], self.particle(values)], dim=1)
        seen = nn.functional.pad(mask, (1, 0), value=True)[:, None, None, :]
        for block in self.blocks:
            tokens = block(tokens, seen)
        logits: torch.Tensor = self.last(tokens[:, 0])
        return logits.squeeze(-1) if self.outputs == 1 else logits


class _Block(nn.Module):
    """Drops what it adds to the tokens after attention, and the hidden units of its perceptron."""

    def __init__(self, nodes: int, heads: int, dropout: float, number: int) -> None:
        super().__init__()
        self.heads = heads
        drops = [Dropout(dropout, layer) if dropout else nn.Identity() for layer in (2 * number, 2 * number + 1)]
        self.drop_found, self.drop_wide = drops
        self.before, self.after = nn.LayerNorm(nodes), nn.LayerNorm(nodes)
        self.query, self.key, self.value, self.out = (nn.Linear(nodes, nodes) for _ in range(4))
        self.wide, self.narrow = nn.Linear(nodes, 2 * nodes), nn.Linear(2 * nodes, nodes)

    def forward(self, tokens: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        normed = self.before(tokens)
        q, k, v = (self._split(part(normed)) for part in (self.query, self.key, self.value))
        found = scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)
        tokens = tokens + self.drop_found(self.out(found.flatten(-2)))
        result: torch.Tensor = tokens + self.narrow(self.drop_wide(silu(self.wide(self.after(tokens)))))
        return result

    def _split(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.view(*tokens.shape[:-1], self.heads, -1).transpose(1, 2)
