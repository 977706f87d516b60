"""A learned response: which ratios say how the shape of a process changes with a nuisance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """The learned response of a process to a nuisance."""

    process: str
    nuisance: str
    up: str
    """Name of the ratio at plus one sigma; empty if that side is missing."""
    down: str
    """Name of the ratio at minus one sigma; empty if that side is missing."""
    one_sided: str
    """What stands for a missing side: "mirror" or "none"."""

    def sides(self, values: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        """Give the logarithms of the responses at plus and minus one sigma, with a missing side filled in."""
        one = values[self.up or self.down]
        other = -one if self.one_sided == "mirror" else np.zeros_like(one)
        return values[self.up] if self.up else other, values[self.down] if self.down else other


@dataclass(frozen=True)
class Cross:
    """What two nuisances do to a process together: exp(c(x) alpha_a alpha_b), beside what each does alone."""

    process: str
    first: str
    second: str
    ratio: str
    """Name of c among the ratios."""
