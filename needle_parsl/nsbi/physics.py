"""What densities there are, and what a user's `physics.py` may know of them; every function is optional."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


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
