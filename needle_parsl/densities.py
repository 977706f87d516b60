"""Names of densities and of the responses between them, as plan, task and science say them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Density:
    """A density that events are drawn from: a sample, with one nuisance at plus or minus one sigma if it is varied."""

    sample: str
    nuisance: str = ""
    side: str = ""
    """"up" or "down"; empty for the nominal sample."""

    @property
    def name(self) -> str:
        """`background`, or `background.jes.up`."""
        return f"{self.sample}.{self.nuisance}.{self.side}" if self.nuisance else self.sample

    def nuisances(self) -> Mapping[str, float]:
        """Give the values of the nuisance parameters."""
        return {self.nuisance: 1.0 if self.side == "up" else -1.0} if self.nuisance else {}


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
        other = -one if self.one_sided == "mirror" else 0.0 * one
        return values[self.up] if self.up else other, values[self.down] if self.down else other


def knot(process: str, number: int) -> str:
    """Name the ratio of a process at a value of a parameter of the simulation."""
    return f"{process}@{number}"
