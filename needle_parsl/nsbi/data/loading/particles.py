"""Particles of a batch as torch tensors: packed, padded with a mask, or nested."""

from __future__ import annotations

from typing import NamedTuple

import torch

from needle_parsl.nsbi.data.jagged import Jagged


class Padded(NamedTuple):
    """The particles of B events, each with the same number of places."""

    values: torch.Tensor
    """Features, zero where there is no particle, shape (B, W, P)."""
    mask: torch.Tensor
    """Whether there is one, shape (B, W)."""


class Packed(NamedTuple):
    """The particles of B events behind each other: the form without waste, and the one that is stored."""

    values: torch.Tensor
    """Features of all particles, shape (M, P)."""
    offsets: torch.Tensor
    """Event i has `values[offsets[i]:offsets[i + 1]]`; int64, shape (B + 1,), from 0."""
    longest: int
    """Particles of the event that has most."""

    @staticmethod
    def of(particles: Jagged) -> Packed:
        """Share the memory of arrays."""
        counts = particles.counts
        return Packed(
            torch.from_numpy(particles.values),
            torch.from_numpy(particles.offsets),
            int(counts.max()) if len(counts) else 0,
        )

    @property
    def counts(self) -> torch.Tensor:
        """Particles of each event, shape (B,)."""
        return self.offsets.diff()

    def events(self) -> torch.Tensor:
        """Give the event of each particle, int64, shape (M,)."""
        return torch.repeat_interleave(torch.arange(len(self.offsets) - 1), self.counts)

    def padded(self, width: int | None = None) -> Padded:
        """Give each event the same number of places.

        Args:
            width: Places; by default as many as the fullest event needs, at least 1. Further particles are cut off.
        """
        width = max(self.longest, 1) if width is None else width
        places = torch.arange(width)
        mask = places < self.counts[:, None]
        padded = self.values.new_zeros((*mask.shape, self.values.shape[1]))
        rows = (self.offsets[:-1, None] + places)[mask]
        padded[mask] = self.values[rows]
        return Padded(padded, mask)

    def nested(self) -> torch.Tensor:
        """Give a nested tensor of layout `torch.jagged`, a view. What torch can do with it is limited: see docs/data.md."""
        # Without bounds on the lengths, to_padded_tensor would try to allocate terabytes.
        return torch.nested.nested_tensor_from_jagged(
            self.values, self.offsets, min_seqlen=int(self.counts.min()), max_seqlen=max(self.longest, 1)
        )

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Add up something of each particle, (M, H), over the particles of each event: (B, H)."""
        total = values.new_zeros((len(self.offsets) - 1, values.shape[1]))
        return total.index_add(0, self.events(), values)
