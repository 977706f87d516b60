"""Results of hypothesis tests: asymptotic upper limits and discovery, and the same from toys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from needle_parsl.json_records import Json, JsonRecord, decode


@dataclass(frozen=True)
class AsymptoticDiscovery(JsonRecord):
    """The test of no signal; all None where a fit failed."""

    q0: float | None
    significance: float | None
    """sqrt(q0), in standard deviations."""
    p_value: float | None


@dataclass(frozen=True)
class LimitInflation(JsonRecord):
    """What t was divided by for the error of ensemble weights."""

    observed: float
    expected: float


@dataclass(frozen=True, kw_only=True)
class Limits(JsonRecord):
    """`fits/limits.json`: asymptotic upper limits by CLs, and the discovery significance."""

    parameter: str
    level: float
    background: float
    """The value of the parameter without a signal."""
    inflation: LimitInflation
    converged: bool
    """All fits that limits start from."""
    observed: float | None
    """None where data may not be looked at, or where there is none."""
    expected: Mapping[str, float | None]
    """Without a signal, by standard deviation of the background: `-2` to `2`."""
    reasons: Mapping[str, str]
    """Why a limit is None: `observed`, or a standard deviation."""
    discovery: AsymptoticDiscovery
    dataset: str = ""


@dataclass(frozen=True)
class AsymptoticTest(JsonRecord):
    """What chi-squared would give."""

    p_value: float
    significance: float


@dataclass(frozen=True, kw_only=True)
class ToyDiscovery(JsonRecord):
    """How rarely toys without a signal look as much like one as the data do."""

    q_0: float
    toys: int
    failed: int
    beyond: int
    """Toys at least as extreme."""
    p_value: float
    error: float
    significance: float | None
    """None where the p-value is 0 or 1."""
    extrapolated: bool
    """Whether a tail was fitted, for want of toys beyond."""
    asymptotic: AsymptoticTest


@dataclass(frozen=True, kw_only=True)
class ClsPoint:
    """CLs at one value of the grid; all but the value is None where the fit of the data failed."""

    value: float
    q: float | None = None
    """q_mu of the data."""
    p_signal: float | None = None
    """Share of toys with the signal that are at least as extreme."""
    p_background: float | None = None
    """Of toys without."""
    cls: float | None = None
    """None where no toy without a signal is as extreme."""
    cls_error: float | None = None
    expected: tuple[float, ...] | None = None
    """CLs of toys without a signal, at five places of their spread; from the smallest."""


@dataclass(frozen=True)
class ClsLimits:
    """CLs along the grid, from toys, and the upper limits that follow."""

    points: tuple[ClsPoint, ...]
    upper: Mapping[str, float | None]
    """By level; None where CLs does not cross on the grid."""

    def to_json(self, parameter: str) -> Json:
        """Give the object; the values of the grid stand by the name of the parameter."""
        return {"points": [_cls_json(point, parameter) for point in self.points], "upper": dict(self.upper)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any], parameter: str) -> Self:
        """Read it again."""
        points = [{"value": p[parameter], **{k: p.get(k) for k in CLS_KEYS}} for p in found["points"]]
        return cls(tuple(ClsPoint(**point) for point in points), decode(dict[str, float], found["upper"]))


CLS_KEYS = ("q", "p_signal", "p_background", "cls", "cls_error", "expected")


def _cls_json(point: ClsPoint, parameter: str) -> Json:
    if point.q is None:
        return {parameter: point.value, "cls": None}
    numbers = {key: getattr(point, key) for key in CLS_KEYS}
    return {parameter: point.value, **numbers, "expected": point.expected and list(point.expected)}
