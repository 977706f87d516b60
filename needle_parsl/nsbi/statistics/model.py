"""The statistical model: parameters, processes with their multipliers, and how nuisances change their yields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from needle_parsl import expressions
from needle_parsl.analysis import WALL
from needle_parsl.analysis import Model as ModelTable
from needle_parsl.nsbi.statistics.coordinates import in_root, rooted
from needle_parsl.nsbi.statistics.interpolation import INTERPOLATIONS, Poly6Exp

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """The learned response of a process to a nuisance."""

    process: str
    nuisance: str
    up: str
    """Name of the ratio at plus one sigma; empty if that side is missing."""
    down: str
    """Name of the ratio at minus one sigma; empty if that side is missing."""
    one_sided: str
    """What stands for a missing side: "mirror" or "none"."""

    def sides(self, values: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        """Give the logarithms of the responses at plus and minus one sigma, with a missing side filled in."""
        one = values[self.up or self.down]
        other = -one if self.one_sided == "mirror" else np.zeros_like(one)
        return values[self.up] if self.up else other, values[self.down] if self.down else other


@dataclass(frozen=True)
class Rates:
    """Expected events: nu_j(theta) = f_j(mu) nu_j prod_k G_jk(alpha_k).

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
    yields: Floats
    """Nominal, shape (J,)."""
    multipliers: tuple[expressions.Expression, ...]
    """In the coordinates of the fit."""
    slopes: tuple[tuple[expressions.Expression, ...], ...]
    """Derivative of each multiplier (J) by each physics coordinate."""
    bends: tuple[tuple[tuple[expressions.Expression, ...], ...], ...]
    """Second derivatives of each multiplier (J) by each pair of physics coordinates."""
    responses: tuple[Poly6Exp, ...]
    """G_jk: one per nuisance, over the processes."""

    @staticmethod
    def build(table: ModelTable, shapes: tuple[Shape, ...], yields: Mapping[str, float]) -> Rates:
        """Make the rates of a `[model]` table.

        Args:
            table: As the user wrote it.
            shapes: The learned responses; the yields of their variations are the rates that the user did not state.
            yields: Expected events by sample and varied sample.
        """
        physics, nuisances, processes = tuple(table.parameters), tuple(table.nuisances), tuple(table.processes)
        multipliers, curved = _polynomial([_parse(text) for text in table.processes.values()], physics)
        curved += [False] * len(nuisances)
        sides = _sides(table, shapes, yields)
        return Rates(
            parameters=(*physics, *nuisances),
            physics=len(physics),
            curved=np.array(curved),
            start=_inward([p.nominal for p in table.parameters.values()] + [0.0] * len(nuisances), curved),
            bounds=(*(p.bounds for p in table.parameters.values()), *[(-WALL, WALL)] * len(nuisances)),
            processes=processes,
            yields=np.array([yields[name] for name in processes]),
            multipliers=tuple(multipliers),
            slopes=tuple(tuple(m.derivative(name) for name in physics) for m in multipliers),
            bends=tuple(
                tuple(tuple(m.derivative(a).derivative(b) for b in physics) for a in physics) for m in multipliers
            ),
            responses=tuple(
                INTERPOLATIONS[table.nuisances[k].interpolation](*np.array([sides[j, k] for j in processes]).T)
                for k in nuisances
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

    def gain_bends(self, theta: Floats) -> Floats:
        """Give d2 ln G_jk / d alpha_k^2, shape (K, J)."""
        rows = [curve.logarithm(float(a))[1] for curve, a in zip(self.responses, theta[self.physics :], strict=True)]
        return np.array(rows).reshape(len(self.responses), len(self.processes))

    def gains(self, theta: Floats) -> tuple[Floats, Floats]:
        """Give prod_k G_jk, shape (J,), and d ln G_jk / d alpha_k, shape (K, J)."""
        total, logs = np.ones(len(self.processes)), []
        for response, alpha in zip(self.responses, theta[self.physics :], strict=True):
            value, slope = response(float(alpha))
            total = total * value
            logs.append(slope / value)
        return total, np.array(logs).reshape(len(self.responses), len(self.processes))


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


def _sides(
    table: ModelTable, shapes: tuple[Shape, ...], yields: Mapping[str, float]
) -> dict[tuple[str, str], tuple[float, float]]:
    """Relative yields at plus and minus one sigma by process and nuisance; a stated rate wins over the variations'."""
    sides = {(process, nuisance): (1.0, 1.0) for process in table.processes for nuisance in table.nuisances}
    for shape in shapes:
        logs = {
            name: np.array([np.log(yields[name] / yields[shape.process])]) for name in (shape.up, shape.down) if name
        }
        up, down = shape.sides(logs)
        sides[shape.process, shape.nuisance] = (float(np.exp(up[0])), float(np.exp(down[0])))
    for nuisance, entry in table.nuisances.items():
        sides |= {(process, nuisance): pair for process, pair in entry.rate.items()}
    return sides
