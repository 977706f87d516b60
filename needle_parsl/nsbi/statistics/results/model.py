"""Results about the model itself: counts of binned regions, and whether the learned mixture is a density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from needle_parsl.json_records import Json, JsonRecord


@dataclass(frozen=True)
class RegionCounts(JsonRecord):
    """`regions/NAME.json`: what is expected and observed in the bins of a region."""

    region: str
    edges: tuple[float, ...]
    """Shape (B + 1,), in units of the column."""
    expected: Mapping[str, Sequence[float]]
    """By process and varied process, each of shape (B,)."""
    errors: Mapping[str, Sequence[float]]
    """Of these, from the simulation."""
    observed: Sequence[float] | None
    """Shape (B,); None where data may not be looked at."""


@dataclass(frozen=True)
class MixturePoint:
    """The mixture at one value of the parameter of interest."""

    at: float
    """The value."""
    value: float
    """Mean of the mixture over the reference: 1 for a density."""
    error: float
    """Statistical."""
    negative: float
    """Share of the weight where the mixture is not positive."""


@dataclass(frozen=True)
class Mixture(JsonRecord):
    """`estimators/mixture/diagnostics.json`."""

    parameter: str
    points: tuple[MixturePoint, ...]

    def to_json(self) -> Json:
        """Give the object; the values stand by the name of the parameter."""
        points = [
            {self.parameter: p.at, "value": p.value, "error": p.error, "negative": p.negative} for p in self.points
        ]
        return {"parameter": self.parameter, "points": points}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read it again."""
        name = found["parameter"]
        points = (MixturePoint(p[name], p["value"], p["error"], p["negative"]) for p in found["points"])
        return cls(name, tuple(points))
