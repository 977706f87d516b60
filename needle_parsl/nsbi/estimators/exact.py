"""The exact log ratio, where the user's `physics.py` knows the densities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from needle_parsl.densities import Density
from needle_parsl.errors import InputError
from needle_parsl.nsbi.physics import LogDensity
from needle_parsl.refs import alone

Floats = npt.NDArray[np.float64]


def guarded(log_density: LogDensity) -> LogDensity:
    """Hold a user's `log_density` to its contract.

    Returns:
        The same function; what it does wrong is an `InputError` that names it and the process.
    """

    def call(process: str, x: Floats, nuisances: Mapping[str, float]) -> Floats:
        where = f'physics.py: log_density of "{process}"'
        try:
            with alone("physics.py:log_density"):
                found = np.asarray(log_density(process, x, nuisances), dtype=np.float64)
        except (Exception, SystemExit) as error:
            raise InputError(f"{where} failed: {type(error).__name__}: {error}") from error
        if found.shape != (len(x),):
            raise InputError(f"{where} has shape {found.shape}; expected ({len(x)},)")
        if np.isnan(found).any() or np.isposinf(found).any():
            raise InputError(f"{where} is NaN or plus infinity in {int((~(found < np.inf)).sum())} of {len(x)} events")
        return found

    return call


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
