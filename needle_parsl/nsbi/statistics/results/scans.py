"""Results of profile scans, of one parameter and of two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from needle_parsl.json_records import Json, JsonRecord

Pieces = tuple[tuple[float, float], ...]
"""An interval, which may be several pieces (low, high)."""


@dataclass(frozen=True)
class ScanPoint:
    """One value of a scan."""

    value: float
    t: float | None
    """-2 ln of the profile likelihood ratio; None where -ln L is not finite."""
    converged: bool


@dataclass(frozen=True, kw_only=True)
class ProfileScan(JsonRecord):
    """`fits/scan.json` and its like: a profile scan with the confidence intervals that it gives."""

    parameter: str
    points: tuple[ScanPoint, ...]
    """By ascending value."""
    best: float
    converged: bool
    """The free fit."""
    minima: int
    inflation: float
    """k, which t was divided by for the error of ensemble weights; 1 without."""
    intervals: Mapping[str, Pieces]
    """By level, as `0.68`."""
    intervals_at_fixed_weights: Mapping[str, Pieces]
    """The same with k = 1."""
    open: tuple[str, ...]
    """Levels whose interval ends where the scan does, spans a point that did not converge, or was missed."""
    dataset: str = ""

    def to_json(self) -> Json:
        """Give the object; the values of the points stand by the name of the parameter."""
        points = [{self.parameter: p.value, "t": p.t, "converged": p.converged} for p in self.points]
        return {**super().to_json(), "points": points}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read it again."""
        name, given = found.get("parameter", ""), found.get("points", [])
        points = [{"value": p[name], "t": p.get("t"), "converged": p.get("converged")} for p in given]
        return super().from_json({**found, "points": tuple(ScanPoint(**point) for point in points)})


@dataclass(frozen=True)
class StripPoint:
    """One point of some rows of a plane."""

    x: float
    """Value of the first parameter."""
    y: float
    """Of the second."""
    nll: float | None
    """-ln L, minimised over all others; None where it is not finite."""
    converged: bool


@dataclass(frozen=True)
class PlaneStrip(JsonRecord):
    """Some rows of a plane, which are scanned in a task of their own."""

    parameters: tuple[str, str]
    best: Mapping[str, float]
    """Of both parameters."""
    nll: float | None
    """-ln L of the free fit."""
    points: tuple[StripPoint, ...]

    def to_json(self) -> Json:
        """Give the object; coordinates stand by the names of the parameters."""
        x, y = self.parameters
        points = [{x: p.x, y: p.y, "nll": p.nll, "converged": p.converged} for p in self.points]
        return {**super().to_json(), "points": points}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read it again."""
        x, y = found["parameters"]
        points = tuple(StripPoint(p[x], p[y], p["nll"], p["converged"]) for p in found["points"])
        return super().from_json({**found, "points": points})


@dataclass(frozen=True)
class PlanePoint:
    """One point of a plane."""

    x: float
    y: float
    converged: bool
    t: float | None
    """-2 ln of the profile likelihood ratio; None where -ln L is not finite."""


@dataclass(frozen=True)
class ProfilePlane(JsonRecord):
    """`fits/plane.json`: a profile scan of two parameters together."""

    parameters: tuple[str, str]
    best: Mapping[str, float]
    points: tuple[PlanePoint, ...]
    """Row by row: the second parameter runs fastest."""
    heights: Mapping[str, float]
    """t of the contour of each level."""
    dataset: str = ""

    def to_json(self) -> Json:
        """Give the object; coordinates stand by the names of the parameters."""
        x, y = self.parameters
        points = [{x: p.x, y: p.y, "converged": p.converged, "t": p.t} for p in self.points]
        return {**super().to_json(), "points": points}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read it again."""
        x, y = found["parameters"]
        points = tuple(PlanePoint(p[x], p[y], p.get("converged"), p["t"]) for p in found["points"])
        return super().from_json({**found, "points": points})
