"""What densities there are, and what a user's `physics.py` may know of them; every function is optional."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Density:
    """A density that events are drawn from: a sample, with one nuisance at plus or minus one sigma if it is varied."""

    sample: str
    nuisance: str = ""
    side: str = ""
    """"up" or "down"; empty for the nominal sample."""

    @property
    def name(self) -> str:
        """`background`, or `background.jes.up`."""
        return f"{self.sample}.{self.nuisance}.{self.side}" if self.nuisance else self.sample

    def nuisances(self) -> Mapping[str, float]:
        """Give the values of the nuisance parameters."""
        return {self.nuisance: 1.0 if self.side == "up" else -1.0} if self.nuisance else {}


class Generator(Protocol):
    """A function named by `generate = "physics.py:NAME"`: it makes events."""

    def __call__(self, generator: np.random.Generator, events: int) -> Mapping[str, npt.NDArray[np.generic]]:
        """Draw events.

        Args:
            generator: Seeded by needle; the only source of randomness.
            events: How many events to draw.

        Returns:
            Columns of shape (N,).
        """


class LogDensity(Protocol):
    """`log_density` in `physics.py`, where the truth is known: needle then compares what it learned with it."""

    def __call__(self, process: str, x: FloatArray, nuisances: Mapping[str, float]) -> FloatArray:
        """Give the natural logarithm of p_j(x | alpha), normalised after selection.

        Args:
            process: Name of the sample.
            x: Features of shape (N, F), in the order of `features.names`.
            nuisances: Values of the shape nuisances; a missing one is 0.

        Returns:
            Shape (N,).
        """
