"""Parameters, in the coordinates of the fit, and the multipliers f_j of the processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl import expressions
from needle_parsl.analysis import WALL
from needle_parsl.analysis import Model as ModelTable
from needle_parsl.nsbi.statistics.model.constraints import Constraints
from needle_parsl.nsbi.statistics.model.coordinates import in_root, rooted

Floats = npt.NDArray[np.float64]


class Multipliers(NamedTuple):
    """f_j at some theta, with its derivatives by the physics coordinates."""

    value: Floats
    """Shape (J,)."""
    slopes: Floats
    """Shape (physics, J)."""
    bends: Floats
    """Shape (J, physics, physics)."""


@dataclass(frozen=True)
class Rates:
    """How often each process occurs, f_j(mu), and where parameters may be.

    theta is in the coordinates of the fit, `inward` and `outward` lead there from the parameters and back.
    """

    parameters: tuple[str, ...]
    """Physics parameters, then nuisance parameters."""
    physics: int
    """How many are physics parameters."""
    curved: npt.NDArray[np.bool_]
    """Which parameters, mu, are fitted as s with mu = s^2; shape (P,)."""
    start: Floats
    """The nominal theta, shape (P,)."""
    bounds: tuple[tuple[float, float], ...]
    """Smallest and largest value of each parameter."""
    processes: tuple[str, ...]
    multipliers: tuple[expressions.Expression, ...]
    """In the coordinates of the fit."""
    slopes: tuple[tuple[expressions.Expression, ...], ...]
    """Derivative of each multiplier (J) by each physics coordinate."""
    bends: tuple[tuple[tuple[expressions.Expression, ...], ...], ...]
    """Second derivatives of each multiplier (J) by each pair of physics coordinates."""

    @staticmethod
    def build(table: ModelTable) -> Rates:
        """Make the rates of a `[model]` table, as the user wrote it."""
        physics, nuisances = tuple(table.parameters), tuple(table.nuisances)
        multipliers, curved = _polynomial([_parse(text) for text in table.processes.values()], physics)
        curved += [False] * len(nuisances)
        constraints = Constraints.build(table)
        return Rates(
            parameters=(*physics, *nuisances),
            physics=len(physics),
            curved=np.array(curved),
            start=_inward([*(p.nominal for p in table.parameters.values()), *constraints.nominal()], curved),
            bounds=(*(p.bounds for p in table.parameters.values()), *constraints.ranges(table)),
            processes=tuple(table.processes),
            multipliers=tuple(multipliers),
            slopes=tuple(tuple(m.derivative(name) for name in physics) for m in multipliers),
            bends=tuple(
                tuple(tuple(m.derivative(a).derivative(b) for b in physics) for a in physics) for m in multipliers
            ),
        )

    def inward(self, name: str, value: float) -> float:
        """Turn a parameter's value into the coordinate of the fit."""
        return float(_inward(value, self.curved[self.parameters.index(name)]))

    def out(self, name: str, coordinate: float) -> float:
        """Turn a coordinate of the fit into the parameter's value."""
        return float(coordinate**2 if self.curved[self.parameters.index(name)] else coordinate)

    def outward(self, theta: Floats) -> Floats:
        """Turn coordinates of the fit, shape (P,), into parameters."""
        return np.where(self.curved, theta**2, theta)

    def stretch(self, theta: Floats) -> Floats:
        """Give d parameter / d theta, shape (P,)."""
        return np.where(self.curved, 2 * theta, 1.0)

    def is_wall(self, name: str, value: float) -> bool:
        """Whether the end of the range near a value is a wall: that of a nuisance parameter, and not one it has by nature."""
        place = self.parameters.index(name)
        low, high = self.bounds[place]
        near = low if value - low < high - value else high
        return place >= self.physics and abs(near) >= WALL

    def limits(self) -> list[tuple[float, float]]:
        """Give the smallest and the largest theta."""
        low, high = (_inward(side, self.curved).tolist() for side in zip(*self.bounds, strict=True))
        return list(zip(low, high, strict=True))

    def at(self, values: Mapping[str, float]) -> Floats:
        """Give theta at values of parameters; what is not named is nominal."""
        theta = self.start.copy()
        for name, value in values.items():
            theta[self.parameters.index(name)] = self.inward(name, value)
        return theta

    def factors(self, theta: Floats) -> tuple[Floats, Floats]:
        """Give f_j, shape (J,), and its derivatives by the physics coordinates, shape (physics, J)."""
        values = dict(zip(self.parameters[: self.physics], theta, strict=False))
        with np.errstate(all="ignore"):  # a slope may be infinite at a bound, as that of sqrt(mu) at 0
            f = np.array([float(m(values)) for m in self.multipliers])
            slopes = [[float(s(values)) for s in row] for row in self.slopes]
        return f, np.array(slopes).reshape(len(f), self.physics).T

    def bends_at(self, theta: Floats) -> Floats:
        """Give the second derivatives of f_j by the physics coordinates, shape (J, physics, physics)."""
        values = dict(zip(self.parameters[: self.physics], theta, strict=False))
        with np.errstate(all="ignore"):
            found = [[[float(b(values)) for b in row] for row in rows] for rows in self.bends]
        return np.array(found).reshape(len(self.bends), self.physics, self.physics)

    def multiply(self, theta: Floats, *, second: bool = True) -> Multipliers:
        """Give f_j with its derivatives; the second ones are zeros where they are not asked for."""
        value, slopes = self.factors(theta)
        zeros = np.zeros((len(value), self.physics, self.physics))
        return Multipliers(value, slopes, self.bends_at(theta) if second else zeros)


def _polynomial(
    multipliers: list[expressions.Expression], physics: tuple[str, ...]
) -> tuple[list[expressions.Expression], list[bool]]:
    """Rewrite multipliers in the roots of the parameters that stand under a square root; say which these are."""
    curved = [any(rooted(m, name) for m in multipliers) for name in physics]
    for name in (name for name, bends in zip(physics, curved, strict=True) if bends):
        multipliers = [in_root(m, name) for m in multipliers]
    return multipliers, curved


def _inward(values: npt.ArrayLike, curved: npt.ArrayLike) -> Floats:
    given = np.asarray(values, dtype=np.float64)
    return np.where(curved, np.sqrt(np.maximum(given, 0.0)), given)


def _parse(text: str | float) -> expressions.Expression:
    return expressions.parse(text) if isinstance(text, str) else expressions.number(text)
