"""Responses to a parameter of the simulation: ln g of each row, known at some values and interpolated between them.

    ln g(theta) = sum_k w_k(theta) ln g(theta_k)

w_k are the cubic splines that are 1 at one knot and 0 at the others: they are the same for all rows, so that value and derivatives of
every row are products with one vector each. As a function of theta, ln g has two continuous derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

Floats = npt.NDArray[np.float64]


class SplineValues(NamedTuple):
    """ln g of rows with its derivatives by theta, shape (N,) each."""

    log: Floats
    first: Floats
    second: Floats


@dataclass(frozen=True)
class SplineResponse:
    """The response of one process to one parameter of the simulation."""

    process: int
    place: int
    """Of the parameter among the coordinates of responses: nuisance parameters, then those of the simulation."""
    knots: Floats
    """Values of the parameter, ascending, shape (G,)."""
    logs: Floats
    """ln g there, shape (G, N)."""

    @cached_property
    def _spline(self) -> CubicSpline:
        return CubicSpline(self.knots, np.eye(len(self.knots)))

    def at(self, theta: float, rows: npt.NDArray[np.intp] | slice = slice(None)) -> SplineValues:
        """Evaluate ln g of some rows."""
        logs = self.logs[:, rows]
        return SplineValues(*(self._spline(theta, order) @ logs for order in range(3)))

    def take(self, rows: npt.NDArray[np.intp] | slice) -> SplineResponse:
        """Keep some rows."""
        return replace(self, logs=self.logs[:, rows])
