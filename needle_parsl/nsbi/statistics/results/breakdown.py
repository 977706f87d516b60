"""The breakdown of the error of a parameter of interest into its sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from needle_parsl.json_records import JsonRecord

Source = Literal["statistical", "group", "simulation", "finite simulation", "networks"]


@dataclass(frozen=True, kw_only=True)
class ErrorComponent(JsonRecord):
    """A source of error, in units of the parameter of interest; numbers are None where they are not known."""

    name: str
    """Of the source, or of the group."""
    source: Source
    """`simulation` is what -ln L knows: the statistics of the simulation in binned regions."""
    quadrature: float | None
    """By subtraction in quadrature; of `statistical`, the error with everything else held."""
    observable: float | None
    """By shifts of what was observed: data, auxiliary measurements, simulated bins."""
    moved: tuple[float | None, float | None] | None = None
    """Shift of the parameter with the auxiliary measurements of the group moved together by one sigma, down and up, and everything
    fitted again; None for what has none."""
    nuisances: tuple[str, ...] = ()
    """Of the group."""

    @property
    def inside(self) -> bool:
        """Whether it is part of what -ln L says, and not beside it."""
        return self.source not in ("finite simulation", "networks")


@dataclass(frozen=True, kw_only=True)
class Breakdown(JsonRecord):
    """`fits/breakdown.json`: the error of a parameter of interest, split."""

    parameter: str
    error: float | None
    """Of the fit, as -ln L says; None where it has none."""
    total: float | None
    """With what is beside it: finite simulation of unbinned events, and networks."""
    components: tuple[ErrorComponent, ...]
    """Statistical first, then groups, the largest first."""
    sums: Mapping[str, float | None]
    """By method, the components of -ln L added in quadrature."""
    reason: str = ""
    """Why there are no numbers; empty where there are."""
    dataset: str = ""

    def residual(self, method: str) -> float | None:
        """Give how far the sum of a method is from the error, as a share of it."""
        found = self.sums.get(method)
        return None if found is None or not self.error else found / self.error - 1
