"""A learned response: which ratios say how the shape of a process changes with a nuisance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cross:
    """What two nuisances do to a process together: exp(c(x) alpha_a alpha_b), beside what each does alone."""

    process: str
    first: str
    second: str
    ratio: str
    """Name of c among the ratios."""
