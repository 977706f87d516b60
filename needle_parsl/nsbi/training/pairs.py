"""Groups of events that stay together: all versions of an event, in whatever class or sample, come in the same batch.

What versions share then cancels in the gradient of a batch, and what is left is their difference, which is to be learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from needle_parsl.nsbi.data import hashing


@dataclass(frozen=True)
class Groups:
    """Rows by the event that they are versions of."""

    rows: torch.Tensor
    """All rows, one group behind the other, shape (N,)."""
    starts: torch.Tensor
    """Where each group begins, shape (G,)."""
    counts: torch.Tensor
    """Versions in each group, shape (G,)."""

    @staticmethod
    def of(ids: hashing.Hashes) -> Groups | None:
        """Group rows by id, shape (N,); None where no two have the same."""
        _, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
        if len(counts) == len(ids):
            return None
        rows = torch.from_numpy(np.argsort(inverse, kind="stable"))
        found = torch.from_numpy(counts)
        return Groups(rows, found.cumsum(0) - found, found)

    def shuffled(self, generator: torch.Generator) -> torch.Tensor:
        """Give all rows, groups in a random order; rows of a group follow each other."""
        order = torch.randperm(len(self.counts), generator=generator)
        counts = self.counts[order]
        moved = self.starts[order] - (counts.cumsum(0) - counts)
        return self.rows[torch.arange(len(self.rows)) + torch.repeat_interleave(moved, counts)]
