"""Names of densities and of the responses between them, as plan, task and science say them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Density:
    """A density that events are drawn from: a sample, if it is varied with one nuisance at plus or minus one sigma, or with several at once."""

    sample: str
    nuisance: str = ""
    side: str = ""
    """"up" or "down"; empty for the nominal sample."""
    at: tuple[tuple[str, float], ...] = field(default=(), metadata={"key": "said"})
    """Nuisances with their values, of a sample in which they are moved at once; `nuisance` and `side` are then empty."""

    @property
    def variation(self) -> str:
        """`jes.up`, or `jes=1,met=-0p5`; empty for the nominal sample."""
        moved = (f"{name}={value:g}".replace(".", "p") for name, value in self.at)
        return f"{self.nuisance}.{self.side}" if self.nuisance else ",".join(moved)

    @property
    def name(self) -> str:
        """`background`, or `background.jes.up`."""
        return f"{self.sample}.{self.variation}" if self.variation else self.sample

    def nuisances(self) -> Mapping[str, float]:
        """Give the values of the nuisance parameters."""
        return {self.nuisance: 1.0 if self.side == "up" else -1.0} if self.nuisance else dict(self.at)


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
    symmetric: bool = field(default=False, metadata={"key": "said"})
    """Whether both sides are the mean of one and the inverse of the other."""

    def sides(self, values: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        """Give the logarithms of the responses at plus and minus one sigma, with a missing side filled in."""
        one = values[self.up or self.down]
        other = -one if self.one_sided == "mirror" else 0.0 * one
        up, down = values[self.up] if self.up else other, values[self.down] if self.down else other
        half = (up - down) / 2
        return (half, -half) if self.symmetric else (up, down)


@dataclass(frozen=True)
class Cross:
    """What two nuisances do to a process together, beside what each does alone: exp(c alpha_1 alpha_2)."""

    process: str
    first: str
    second: str
    ratio: str
    """Name of the ratio with both moved."""
    at: tuple[float, float]
    """The values of both there."""

    def term(self, both: Floats, first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> Floats:
        """Give c = [ln g(s, t) - h_1(s) - h_2(t)] / (s t), with h(s) = s (up - down) / 2 + s^2 (up + down) / 2.

        Args:
            both: ln g with both moved, shape (N,).
            first: ln g with the first nuisance at plus and minus one sigma, shape (N,) each.
            second: The same of the second one.
        """
        alone = [
            s * (up - down) / 2 + s**2 * (up + down) / 2 for s, (up, down) in zip(self.at, (first, second), strict=True)
        ]
        found: Floats = (both - sum(alone)) / (self.at[0] * self.at[1])
        return found


def knot(process: str, number: int) -> str:
    """Name the ratio of a process at a value of a parameter of the simulation."""
    return f"{process}@{number}"
