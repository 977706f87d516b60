"""Results of checks that a fit of Asimov data cannot give: what comes back of what was injected, of halves, and of toys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from needle_parsl.json_records import Json, JsonRecord


@dataclass(frozen=True)
class ReturnedParameter(JsonRecord):
    """What a fit has returned of a parameter."""

    parameter: str
    true: float
    value: float
    error: float | None
    """Of the data set that was fitted; None where the fit has none."""


@dataclass(frozen=True)
class Injection(JsonRecord):
    """A fit of data whose truth is known."""

    name: str
    """`jes.up`, `mu=2`, or `half 1`."""
    converged: bool
    parameters: tuple[ReturnedParameter, ...]


@dataclass(frozen=True, kw_only=True)
class ToyScatter(JsonRecord):
    """How fits of thrown events scatter, beside the error that the Asimov fit states."""

    toys: int
    """That converged."""
    spread: float | None = None
    """Standard deviation of the best values."""
    spread_error: float | None = None
    mean: float | None = None
    error: float | None = None
    """Of the Asimov fit; None where it has none."""
    values: tuple[float, ...] = ()
    """Best values, shape (T,)."""
    reason: str | None = None
    """Why there are no numbers."""

    def to_json(self) -> Json:
        """Give the object; without numbers, the reason alone."""
        return {"toys": self.toys, "reason": self.reason} if self.reason else super().to_json()


@dataclass(frozen=True)
class RatioScale(JsonRecord):
    """What ln r of a ratio was multiplied with, and what was added then."""

    slope: float
    offset: float
    slope_error: float
    offset_error: float


@dataclass(frozen=True)
class GroupNormalisation(JsonRecord):
    """Of ratios that were normalised together."""

    ratios: Mapping[str, RatioScale]
    cross_entropy: tuple[float, float]
    """Of events that did not train, at the yields: before and after; in nats."""


@dataclass(frozen=True)
class SparseRegion(JsonRecord):
    """Where what the ratio of a process is learned against has fewer than 10 effective events all together, by ln r, and where it has none, by features."""

    share: float
    """Of the process, where there are few."""
    effective: float
    """Events there of what it is learned against."""
    beyond: float
    """Share of the process beyond all events of what it is learned against, in the feature in which that is most."""
    shift: float | None
    """Of the parameter of interest, in errors of the Asimov fit, if ln r were off by one over the root of these events where there are few, and by 1
    where there are none; None without an error."""


@dataclass(frozen=True, kw_only=True)
class InjectionTests(JsonRecord):
    """`fits/closure.json`, where ratios are normalised at the yields."""

    points: tuple[Mapping[str, float], ...] = ()
    """Parameters at which they are normalised."""
    yields: Mapping[str, float]
    """By process, in events."""
    normalisation: Mapping[str, GroupNormalisation]
    """By group: `@processes`, then `@PROCESS` for its variations."""
    variations: tuple[Injection, ...] = ()
    signals: tuple[Injection, ...] = ()
    halves: tuple[Injection, ...] = ()
    toys: ToyScatter | None = None
    sparse: Mapping[str, SparseRegion] = field(default_factory=dict)
    """By process that is not in the reference."""
