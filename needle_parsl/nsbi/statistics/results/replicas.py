"""Results of replicas: uncertainties from simulated events and the noise of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from needle_parsl.json_records import Json, JsonRecord


@dataclass(frozen=True)
class PartErrors(JsonRecord):
    """Statistical errors of the parts of a scatter."""

    total: float
    training: float
    simulation: float


@dataclass(frozen=True, kw_only=True)
class Scatter(JsonRecord):
    """Errors of the run's own result, as replicas tell them; None where fewer than two of a kind are known."""

    total: float | None = None
    training: float | None = None
    """From seeds and lengths."""
    simulation: float | None = None
    """From the finite simulation behind ratios."""
    uncertainty: PartErrors | None = None


@dataclass(frozen=True, kw_only=True)
class ParameterScatter(Scatter):
    """Of a parameter."""

    resampled: tuple[float, ...]
    """Best values of replicas, shape (B,)."""
    repeated: tuple[float, ...]
    """Of repeats, shape (S,)."""
    at_bound: int
    failed: int
    """Fits that did not converge, of all."""


@dataclass(frozen=True, kw_only=True)
class ScatterBin(Scatter):
    """Of ln r, in a bin of it."""

    log_ratio: float
    """Its mean."""

    def to_json(self) -> Json:
        """Give the object, which begins with ln r."""
        return {"log_ratio": self.log_ratio, **super().to_json()}


@dataclass(frozen=True, kw_only=True)
class LogRatioScatter(Scatter):
    """Of ln r, as root mean square over all points."""

    bins: tuple[ScatterBin, ...]


@dataclass(frozen=True, kw_only=True)
class Replicas(JsonRecord):
    """`fits/bootstrap.json`: what replicas of all ratios and fits say."""

    replicas: int
    """With events resampled."""
    repeats: int
    """With other seeds alone."""
    failed: int
    """Of both, without ratios."""
    reasons: tuple[str, ...]
    """Why."""
    members: int
    """Networks per ratio in each."""
    fits: Mapping[str, Mapping[str, ParameterScatter]]
    """By dataset and parameter."""
    log_ratio: Mapping[str, LogRatioScatter]
    """By ratio."""
