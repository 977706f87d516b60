"""Parameters, in the coordinates of the fit, and the multipliers f_j of the processes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl import expressions
from needle_parsl.analysis import WALL
from needle_parsl.analysis import Model as ModelTable
from needle_parsl.expressions import Expression, number
from needle_parsl.nsbi.statistics.model.constraints import Constraints

Floats = npt.NDArray[np.float64]
PLACES = (0.137, 0.389, 0.613, 0.871)
"""Between the bounds, where it is seen whether multipliers are straight lines."""


class Multipliers(NamedTuple):
    """f_j at some theta, with its derivatives by the physics coordinates."""

    value: Floats
    """Shape (J,)."""
    slopes: Floats
    """Shape (physics, J)."""
    bends: Floats
    """Shape (J, physics, physics)."""

    def alone(self, process: int) -> Multipliers:
        """Leave one process."""
        own = np.arange(len(self.value)) == process
        return Multipliers(self.value * own, self.slopes * own, self.bends * own[:, None, None])


@dataclass(frozen=True, kw_only=True)
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
    logs: Floats
    """sigma of parameters that are fitted as ln(parameter) / sigma, those with a log-normal constraint; else 0; shape (P,)."""
    start: Floats
    """The nominal theta, shape (P,)."""
    bounds: tuple[tuple[float, float], ...]
    """Smallest and largest value of each parameter."""
    ranges: tuple[tuple[float, float], ...]
    """Smallest and largest theta of each nuisance parameter."""
    processes: tuple[str, ...]
    multipliers: tuple[expressions.Expression, ...]
    """In the coordinates of the fit."""
    slopes: tuple[tuple[expressions.Expression, ...], ...]
    """Derivative of each multiplier (J) by each physics coordinate."""
    bends: tuple[tuple[tuple[expressions.Expression, ...], ...], ...]
    """Second derivatives of each multiplier (J) by each pair of physics coordinates."""
    simulated: tuple[int, ...] = ()
    """Places of the physics parameters that are parameters of the simulation, S of them: shapes change with them."""

    @staticmethod
    def build(table: ModelTable) -> Rates:
        """Make the rates of a `[model]` table, as the user wrote it."""
        physics, nuisances = tuple(table.parameters), tuple(table.nuisances)
        multipliers, curved = _polynomial([_parse(text) for text in table.processes.values()], physics)
        curved += [False] * len(nuisances)
        constraints = Constraints.build(table)
        sigmas = [n.sigma if n.constraint == "lognormal" else 0.0 for n in table.nuisances.values()]
        ranges = tuple(constraints.ranges(table))
        logs = np.array([0.0] * len(physics) + sigmas)
        stated = [p.bounds for p in table.parameters.values()]
        return Rates(
            parameters=(*physics, *nuisances),
            physics=len(physics),
            curved=np.array(curved),
            logs=logs,
            start=np.r_[
                _rooted([p.nominal for p in table.parameters.values()], curved[: len(physics)]), constraints.nominal()
            ],
            bounds=(*stated, *(_both(pair, sigma) for pair, sigma in zip(ranges, sigmas, strict=True))),
            ranges=ranges,
            processes=tuple(table.processes),
            multipliers=tuple(multipliers),
            slopes=tuple(tuple(m.derivative(name) for name in physics) for m in multipliers),
            bends=tuple(
                tuple(tuple(m.derivative(a).derivative(b) for b in physics) for a in physics) for m in multipliers
            ),
            simulated=tuple(place for place, p in enumerate(table.parameters.values()) if p.grid),
        )

    def moved(self, theta: Floats) -> Floats:
        """Give the coordinates of responses: nuisance parameters, then parameters of the simulation; shape (K + S,)."""
        return np.concatenate([theta[self.physics :], theta[list(self.simulated)]])

    def folded(self, values: Floats) -> Floats:
        """Add derivatives by responses to those by multipliers, where a parameter of the simulation moves both.

        Args:
            values: By physics parameters, nuisance parameters, and coordinates of the simulation, shape (P + S, ...).

        Returns:
            Shape (P, ...).
        """
        if not self.simulated:
            return values
        found = values[: len(self.parameters)].copy()
        for s, place in enumerate(self.simulated):
            found[place] += values[len(self.parameters) + s]
        return found

    @cached_property
    def bent(self) -> npt.NDArray[np.bool_]:
        """Say in which coordinates some multiplier is no straight line, so that -ln L may have several minima; shape (P,)."""
        found = np.zeros(len(self.parameters), np.bool_)
        low, high = np.array(self.limits()[: self.physics]).reshape(-1, 2).T
        for share in PLACES:
            theta = self.start.copy()
            theta[: self.physics] = low + share * (high - low)
            bends = np.nan_to_num(self.bends_at(theta), nan=1.0).any(axis=0)  # what has no number is no straight line
            found[: self.physics] |= bends.any(axis=0)
        return found

    def inward(self, name: str, value: float) -> float:
        """Turn a parameter's value into the coordinate of the fit."""
        place = self.parameters.index(name)
        if self.logs[place]:
            return math.log(value) / float(self.logs[place])
        return float(_rooted(value, self.curved[place]))

    def out(self, name: str, coordinate: float) -> float:
        """Turn a coordinate of the fit into the parameter's value."""
        place = self.parameters.index(name)
        if self.logs[place]:
            return math.exp(self.logs[place] * coordinate)
        return float(coordinate**2 if self.curved[place] else coordinate)

    def outward(self, theta: Floats) -> Floats:
        """Turn coordinates of the fit, shape (P,), into parameters."""
        return np.where(self.logs > 0, np.exp(self.logs * theta), np.where(self.curved, theta**2, theta))

    def stretch(self, theta: Floats) -> Floats:
        """Give d parameter / d theta, shape (P,)."""
        return np.where(self.logs > 0, self.logs * np.exp(self.logs * theta), np.where(self.curved, 2 * theta, 1.0))

    def is_wall(self, name: str, coordinate: float) -> bool:
        """Whether the end of the range near a coordinate is a wall: that of a nuisance parameter, and not one it has by nature."""
        place = self.parameters.index(name)
        low, high = self.limits()[place]
        near = low if coordinate - low < high - coordinate else high
        return place >= self.physics and abs(near) >= WALL

    def limits(self) -> list[tuple[float, float]]:
        """Give the smallest and the largest theta."""
        stated, curved = self.bounds[: self.physics], self.curved[: self.physics]
        low, high = (_rooted(side, curved).tolist() for side in zip(*stated, strict=True)) if stated else ([], [])
        return [*zip(low, high, strict=True), *self.ranges]

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


def _rooted(values: npt.ArrayLike, curved: npt.ArrayLike) -> Floats:
    given = np.asarray(values, dtype=np.float64)
    return np.where(curved, np.sqrt(np.maximum(given, 0.0)), given)


def _both(pair: tuple[float, float], sigma: float) -> tuple[float, float]:
    """Give the range of a nuisance parameter from that of its coordinate."""
    return (math.exp(sigma * pair[0]), math.exp(sigma * pair[1])) if sigma else pair


def _parse(text: str | float) -> expressions.Expression:
    return expressions.parse(text) if isinstance(text, str) else expressions.number(text)


def power(tree: Expression, name: str) -> float | None:
    """Give c if an expression is `name ** c`, `sqrt(name)` or `name`; None for any other."""
    own = Expression("name", (name,))
    if tree == own:
        return 1.0
    if not tree.operands or tree.operands[0] != own:
        return None
    if tree.operator == "sqrt":
        return 0.5
    constant = tree.operator == "**" and not tree.operands[1].names()
    return float(tree.operands[1]({})) if constant else None


def rooted(tree: Expression, name: str) -> bool:
    """Whether a half-integer power of a parameter occurs in a multiplier."""
    found = power(tree, name)
    if found is not None:
        return found % 1 == 0.5
    return any(rooted(operand, name) for operand in tree.operands if isinstance(operand, Expression))


def in_root(tree: Expression, name: str) -> Expression:
    """Rewrite a multiplier for a parameter's root: the same name now stands for s, and mu is s^2."""
    found = power(tree, name)
    if found is not None:
        root = Expression("name", (name,))
        return root if found == 0.5 else Expression("**", (root, number(2 * found)))
    operands = (in_root(o, name) if isinstance(o, Expression) else o for o in tree.operands)
    return Expression(tree.operator, tuple(operands))
