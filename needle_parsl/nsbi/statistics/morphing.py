"""How many simulated events stand behind a morphed rate, sigma(c) = sum_j m_j(c) sigma_j, with weights w_je.

    N_eff(c) = (sum_e W_e)^2 / sum_e W_e^2,   W_e = sum_j m_j(c) w_je

where an event that all samples share counts once, and events of samples of their own each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from needle_parsl import expressions
from needle_parsl.analysis import Model

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.uint64]
POINTS = 256
"""Values of the parameters within their bounds at which events are counted."""


@dataclass(frozen=True)
class SimulatedBasis:
    """Sums over the simulated events of J samples."""

    totals: Floats
    """Of weights, shape (J,)."""
    products: Floats
    """Of products of two weights of an event, shape (J, J)."""

    @staticmethod
    def of(weights: Sequence[Floats], ids: Sequence[Ids], *, shared: bool) -> SimulatedBasis:
        """Sum over events.

        Args:
            weights: Of the events of each sample; they add up to its yield.
            ids: Of the same events.
            shared: Whether samples are made of the same events; else each has its own.
        """
        products = np.diag([float(own @ own) for own in weights])
        pairs = [(j, k) for j in range(len(weights)) for k in range(j)] if shared else []
        for j, k in pairs:
            products[j, k] = products[k, j] = _common(weights[j], ids[j], weights[k], ids[k])
        return SimulatedBasis(np.array([own.sum() for own in weights]), products)

    def effective(self, multipliers: Floats) -> Floats:
        """Give the effective events at some points, shape (X,), where multipliers are of shape (X, J)."""
        squares = np.einsum("xj,jk,xk->x", multipliers, self.products, multipliers)
        found: Floats = np.divide(
            (multipliers @ self.totals) ** 2, squares, out=np.zeros(len(squares)), where=squares > 0
        )
        return found


def _common(weight: Floats, ids: Ids, other: Floats, theirs: Ids) -> float:
    if np.array_equal(ids, theirs):
        return float(weight @ other)
    _, own, their = np.intersect1d(ids, theirs, return_indices=True)
    return float(weight[own] @ other[their])


def multipliers(model: Model, processes: Sequence[str], points: Sequence[Mapping[str, float]]) -> Floats:
    """Evaluate the multipliers of some processes, shape (X, J)."""
    texts = [model.processes[name] for name in processes]
    trees = [expressions.parse(text) if isinstance(text, str) else expressions.number(text) for text in texts]
    return np.array([[float(tree(point)) for tree in trees] for point in points])


def nominal(model: Model) -> dict[str, float]:
    """Give the nominal parameters."""
    return {name: parameter.nominal for name, parameter in model.parameters.items()}


def within_bounds(model: Model, parameters: Sequence[str]) -> list[dict[str, float]]:
    """Spread points evenly over the bounds of some parameters; the others are nominal."""
    low, high = np.array([model.parameters[name].bounds for name in parameters]).T
    places = low + qmc.Sobol(len(parameters), seed=1).random(POINTS) * (high - low)
    return [nominal(model) | dict(zip(parameters, map(float, place), strict=True)) for place in places]
