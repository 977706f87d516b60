"""Results of toys: the confidence belt, and what toys say of bias, pulls and coverage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from needle_parsl.json_records import Json, JsonRecord, encode
from needle_parsl.nsbi.statistics.results.limits import ClsLimits, ToyDiscovery
from needle_parsl.nsbi.statistics.results.scans import Pieces


@dataclass(frozen=True, kw_only=True)
class BeltPoint(JsonRecord):
    """One value of the grid of a belt."""

    value: float
    """Of the parameter."""
    t: float | None
    """The ordering statistic of the data; None where their fit did not converge."""
    toys: int
    """Whose fits converged."""
    failed: int
    pool_effective: float | None
    """Effective events of the pool; None where every toy has events of its own."""
    vetoed: float
    """Share of the expected events that cannot be drawn."""
    p_value: float | None
    p_value_error: float | None
    p_value_asymptotic: float | None
    """By chi-squared."""
    critical: Mapping[str, float]
    """By level; on the smooth curve, where there is one."""
    critical_error: Mapping[str, float]
    critical_raw: Mapping[str, float]
    """Of the toys at this value alone."""
    critical_raw_error: Mapping[str, float]
    accepted: Mapping[str, bool]

    def at(self, parameter: str) -> Json:
        """Give the object, with the value by the name of the parameter."""
        written = self.to_json()
        return {parameter: written.pop("value"), **written}


@dataclass(frozen=True)
class CurveQuality(JsonRecord):
    """How a smooth curve agrees with the critical values that it was drawn through."""

    parameters: float
    """Effective ones."""
    chi2: float
    ndof: float


@dataclass(frozen=True)
class Correction(JsonRecord):
    """The largest correction by Z_j where fits have ended."""

    log_z: float
    """|ln Z_j|."""
    process: str
    of: str
    """`data`, `truth` or `toy`."""
    parameters: Mapping[str, float]
    """Where."""


@dataclass(frozen=True, kw_only=True)
class Belt(JsonRecord):
    """`intervals/neyman.json`: the Neyman construction, and what the data accept."""

    parameter: str
    statistic: str
    """`t_mu` or `q_mu`."""
    points: tuple[BeltPoint, ...]
    intervals: Mapping[str, Pieces]
    """By level."""
    curves: Mapping[str, CurveQuality | None]
    """By level; None where critical values are joined by straight lines."""
    open: tuple[str, ...]
    """Levels whose interval ends with the grid."""
    asymptotic: Mapping[str, float]
    """Critical values of chi-squared, by level."""
    normalisation: Correction | None = None
    """None without unbinned events."""
    discovery: ToyDiscovery | None = None
    """Against no signal, where toys of it were asked for; None where a fit failed, too."""
    limits: ClsLimits | None = None
    """Where toys without a signal were asked for."""
    dataset: str = ""

    def to_json(self) -> Json:
        """Give the object; the tests against no signal are in it only where they were asked for."""
        written = {field.name: encode(getattr(self, field.name)) for field in fields(self) if field.name != "limits"}
        written |= {
            "points": [p.at(self.parameter) for p in self.points],
            "normalisation": written["normalisation"] or {},
        }
        discovery, dataset = written.pop("discovery"), written.pop("dataset")
        tests = {} if self.limits is None else {"discovery": discovery, "limits": self.limits.to_json(self.parameter)}
        return {**written, **tests, "dataset": dataset}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read it again."""
        name, tests = found["parameter"], found.get("limits")
        points = tuple(BeltPoint.from_json({**point, "value": point[name]}) for point in found["points"])
        limits = ClsLimits.from_json(tests, name) if tests else None
        correction = found.get("normalisation") or None
        return super().from_json({**found, "points": points, "limits": limits, "normalisation": correction})


@dataclass(frozen=True, kw_only=True)
class RegionPoint(JsonRecord):
    """One pair of values of the grid of a region."""

    x: float
    """Value of the first parameter."""
    y: float
    """Of the second."""
    t: float | None
    """-2 ln of the profile likelihood ratio of the data, with both parameters held; None where that fit did not converge."""
    toys: int
    """Whose fits converged."""
    failed: int
    pool_effective: float | None
    """Effective events of the pool; None where every toy has events of its own."""
    vetoed: float
    """Share of the expected events that cannot be drawn."""
    p_value: float | None
    p_value_error: float | None
    p_value_asymptotic: float | None
    """By chi-squared with two degrees of freedom."""
    critical: Mapping[str, float]
    """By level; on the smooth surface, where there is one."""
    critical_error: Mapping[str, float]
    critical_raw: Mapping[str, float]
    """Of the toys at this pair alone."""
    critical_raw_error: Mapping[str, float]
    accepted: Mapping[str, bool]


@dataclass(frozen=True, kw_only=True)
class NeymanRegion(JsonRecord):
    """`intervals/neyman_region.json`: the Neyman construction of two parameters, and what the data accept."""

    parameters: tuple[str, str]
    best: Mapping[str, float]
    """Of both parameters."""
    points: tuple[RegionPoint, ...]
    """Row by row: the second parameter runs fastest."""
    asymptotic: Mapping[str, float]
    """Critical values of chi-squared with two degrees of freedom, by level."""
    extents: Mapping[str, Mapping[str, tuple[float, float]]]
    """By level, the smallest and the largest value of each parameter in the region; no interval of one parameter."""
    smooth: Mapping[str, bool]
    """By level, whether critical values are those of a smooth surface."""
    open: tuple[str, ...]
    """Levels whose region reaches the end of the grid, or where a fit of the data did not converge."""
    dataset: str = ""

    def near(self) -> list[RegionPoint]:
        """List the pairs whose toys tell what is accepted: t is at most twice the chi-squared quantile of the largest level, or not known."""
        most = 2 * max(self.asymptotic.values())
        return [point for point in self.points if point.t is None or point.t <= most] or list(self.points)

    def accepted(self, level: str) -> int:
        """Count the pairs that are accepted at a level."""
        return sum(point.accepted[level] for point in self.points)

    def limits(self, level: str) -> list[float]:
        """List the critical values of a level at these pairs."""
        return [point.critical[level] for point in self.near()]

    def to_json(self) -> Json:
        """Give the object; coordinates stand by the names of the parameters."""
        x, y = self.parameters
        points = [p.to_json() for p in self.points]
        return {**super().to_json(), "points": [{x: p.pop("x"), y: p.pop("y"), **p} for p in points]}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read it again."""
        x, y = found["parameters"]
        points = tuple(RegionPoint.from_json({**p, "x": p[x], "y": p[y]}) for p in found["points"])
        return super().from_json({**found, "points": points})


@dataclass(frozen=True)
class NoBelt(JsonRecord):
    """`intervals/neyman.json`, or `neyman_region.json`, where there is no construction."""

    parameter: str
    reason: str
    dataset: str


def read_region(found: Mapping[str, Any]) -> NeymanRegion | NoBelt:
    """Read `intervals/neyman_region.json`."""
    return NoBelt.from_json(found) if "reason" in found else NeymanRegion.from_json(found)


def read_belt(found: Mapping[str, Any]) -> Belt | NoBelt:
    """Read `intervals/neyman.json`."""
    return NoBelt.from_json(found) if "reason" in found else Belt.from_json(found)


@dataclass(frozen=True, kw_only=True)
class ToyEstimates(JsonRecord):
    """What the fits of toys of one truth say of the parameter of interest; None where there are not enough."""

    bias: float | None
    """Mean best value minus truth."""
    bias_error: float | None
    spread: float | None
    """Standard deviation of best values."""
    mean_error: float | None
    """Mean standard error."""
    at_bound: int
    """Toys that have no error."""
    pull_mean: float | None
    """In the coordinate of the fit."""
    pull_mean_error: float | None
    pull_width: float | None
    pull_width_error: float | None


@dataclass(frozen=True, kw_only=True)
class CoveragePoint(ToyEstimates):
    """How often the intervals of one method and level hold one truth."""

    truth: Mapping[str, float]
    """All parameters."""
    toys: int
    """Whose fits converged."""
    failed: int
    events: float
    """Mean number in a toy."""
    pool_effective: float | None
    vetoed: float
    method: str
    """`profile`, `neyman`, `profile_ensemble`, `profile_refitted` or `profile_retrained`."""
    level: float
    inflation: float | None = None
    """k at the truth, of `profile_ensemble`."""
    coverage: float | None
    """None without toys."""
    error: float | None
    """Binomial; of the mean over replicas where there are such."""
    replicas: int | None = None
    """Of ratios that were made again."""

    def at(self, parameter: str) -> Json:
        """Give the object, which begins with the true value of the parameter."""
        truth, own = dict(self.truth), self.to_json()
        written = {parameter: truth[parameter], "truth": truth, **{name: own[name] for name in COVERAGE_KEYS}}
        return {
            name: value for name, value in written.items() if value is not None or name not in ("inflation", "replicas")
        }


COVERAGE_KEYS = (
    "toys", "failed", "events", *ToyEstimates.__dataclass_fields__, "pool_effective", "vetoed", "method", "level",
    "inflation", "coverage", "error", "replicas",
)  # fmt: skip
"""In the order of the file."""


@dataclass(frozen=True, kw_only=True)
class Linearity(JsonRecord):
    """A straight line through mean best values against the truth."""

    slope: float
    slope_error: float
    offset: float
    """At the mean truth."""
    offset_error: float
    at: float
    """The mean truth."""
    chi2: float
    truths: int


@dataclass(frozen=True)
class Coverage(JsonRecord):
    """`intervals/coverage.json`: what toys of known truth say of a measurement."""

    parameter: str
    points: tuple[CoveragePoint, ...]
    linearity: Linearity | None
    """None for fewer than three truths."""

    def to_json(self) -> Json:
        """Give the object."""
        return {**super().to_json(), "points": [point.at(self.parameter) for point in self.points]}
