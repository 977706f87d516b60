"""The exact log ratio, where the user's `physics.py` knows the densities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from needle_parsl.nsbi.physics import Density, LogDensity

Floats = npt.NDArray[np.float64]


def log_mixture(log_density: LogDensity, parts: Sequence[tuple[Density, float]], x: Floats) -> Floats:
    """Compute ln of a mixture of densities.

    Args:
        log_density: From `physics.py`.
        parts: Each density with its yield.
        x: Features, shape (N, F).

    Returns:
        Shape (N,).
    """
    total = sum(share for _, share in parts)
    terms = [log_density(part.sample, x, part.nuisances()) + np.log(share / total) for part, share in parts]
    mixture: Floats = logsumexp(np.stack(terms), axis=0)
    return mixture
