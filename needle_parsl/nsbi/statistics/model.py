"""The statistical model: parameters, processes with their multipliers, and how nuisances change their yields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from needle_parsl import expressions
from needle_parsl.analysis import Model as ModelTable
from needle_parsl.nsbi.statistics.interpolation import INTERPOLATIONS, Poly6Exp

Floats = npt.NDArray[np.float64]
WALL = 5.0
"""Nuisance parameters stay within this many sigma; a fit that ends there has failed."""


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
    """Expected events: nu_j(theta) = f_j(mu) nu_j prod_k G_jk(alpha_k)."""

    parameters: tuple[str, ...]
    """Physics parameters, then nuisance parameters."""
    physics: int
    """How many are physics parameters."""
    start: Floats
    limits: tuple[tuple[float, float], ...]
    processes: tuple[str, ...]
    yields: Floats
    """Nominal, shape (J,)."""
    multipliers: tuple[expressions.Expression, ...]
    slopes: tuple[tuple[expressions.Expression, ...], ...]
    """Derivative of each multiplier (J) by each physics parameter."""
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
        multipliers = tuple(_parse(text) for text in table.processes.values())
        sides = _sides(table, shapes, yields)
        return Rates(
            parameters=(*physics, *nuisances),
            physics=len(physics),
            start=np.array([p.nominal for p in table.parameters.values()] + [0.0] * len(nuisances)),
            limits=(*(p.bounds for p in table.parameters.values()), *[(-WALL, WALL)] * len(nuisances)),
            processes=processes,
            yields=np.array([yields[name] for name in processes]),
            multipliers=multipliers,
            slopes=tuple(tuple(m.derivative(name) for name in physics) for m in multipliers),
            responses=tuple(
                INTERPOLATIONS[table.nuisances[k].interpolation](*np.array([sides[j, k] for j in processes]).T)
                for k in nuisances
            ),
        )

    def factors(self, theta: Floats) -> tuple[Floats, Floats]:
        """Give f_j, shape (J,), and its derivatives by the physics parameters, shape (physics, J)."""
        values = dict(zip(self.parameters[: self.physics], theta, strict=False))
        with np.errstate(all="ignore"):  # a slope may be infinite at a bound, as that of sqrt(mu) at 0
            f = np.array([float(m(values)) for m in self.multipliers])
            slopes = [[float(s(values)) for s in row] for row in self.slopes]
        return f, np.array(slopes).reshape(len(f), self.physics).T

    def gains(self, theta: Floats) -> tuple[Floats, Floats]:
        """Give prod_k G_jk, shape (J,), and d ln G_jk / d alpha_k, shape (K, J)."""
        total, logs = np.ones(len(self.processes)), []
        for response, alpha in zip(self.responses, theta[self.physics :], strict=True):
            value, slope = response(float(alpha))
            total = total * value
            logs.append(slope / value)
        return total, np.array(logs).reshape(len(self.responses), len(self.processes))


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
