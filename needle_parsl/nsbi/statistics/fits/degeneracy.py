"""Parameters that data cannot tell apart: the direction along which -ln L is flat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from needle_parsl.analysis.directions import parted

Floats = npt.NDArray[np.float64]
FLAT = 1e-8
"""Smallest curvature over the largest, each parameter in its own unit, at which a direction is flat."""
PART = 0.05
"""Components below this part of the largest are left out."""


def flat(hessian: Floats, names: Sequence[str]) -> dict[str, float]:
    """Give the flat direction of -ln L as components by parameter, the largest being 1; empty if there is none.

    Args:
        hessian: Of -ln L, shape (P, P).
        names: Of the parameters.
    """
    diagonal = np.abs(np.diag(hessian))
    if not len(diagonal):
        return {}
    if (diagonal == 0).any():
        return {names[int(np.flatnonzero(diagonal == 0)[0])]: 1.0}
    unit = 1 / np.sqrt(diagonal)
    values, vectors = np.linalg.eigh(hessian * np.outer(unit, unit))
    if abs(values[0]) > FLAT * values[-1]:  # a negative curvature is no flat direction, but a point that is no minimum
        return {}
    direction = vectors[:, 0] * unit
    direction = direction / direction[int(np.argmax(np.abs(vectors[:, 0])))]
    return {n: float(x) for n, x, v in zip(names, direction, vectors[:, 0], strict=True) if abs(v) > PART}


def sentence(direction: Mapping[str, float]) -> str:
    """Say it."""
    if len(direction) == 1:
        return f"{next(iter(direction))} has no effect on the likelihood"
    moves = ", ".join(f"{name} by {x:+.3g}" for name, x in direction.items())
    said = f"{' and '.join(direction)} cannot be told apart: the likelihood stays the same when one moves {moves}"
    return f"{said}; {parted(direction)}" if len(direction) == 2 else said
