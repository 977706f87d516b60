"""How well the model describes data: in unbinned regions, and in regions that are fitted to nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from needle_parsl.json_records import JsonRecord
from needle_parsl.nsbi.statistics.results.fits import Distribution, Goodness


@dataclass(frozen=True, kw_only=True)
class ComparedStatistic(JsonRecord):
    """A statistic that compares data with the model after the fit."""

    name: str
    """`classifier`, `ln r of PROCESS`, or the feature whose deviance it is."""
    value: float
    """Of the data."""
    mean: float
    """Of toys."""
    deviation: float
    """Standard deviation of toys."""
    above: int
    """Toys in which it is at least as large."""
    p_value: float


@dataclass(frozen=True, kw_only=True)
class RegionGoodness(JsonRecord):
    """An unbinned region."""

    comparisons: tuple[ComparedStatistic, ...]
    p_value: float
    """Of the smallest of all p-values, that of as many looks."""
    looks: float
    """How many independent statistics they are worth."""
    toys: Mapping[str, Sequence[float]]
    """The statistic in each toy, of the classifier and of the worst of the others; shape (T,)."""

    @property
    def worst(self) -> ComparedStatistic:
        """Give the statistic that is the least likely."""
        return min(self.comparisons, key=lambda own: own.p_value)


@dataclass(frozen=True, kw_only=True)
class GoodnessOfFit(JsonRecord):
    """`fits/goodness.json`: whether the model describes the events of unbinned regions."""

    regions: Mapping[str, RegionGoodness]
    """By name, "" where there is one; none without numbers."""
    toys: int
    """That were fitted."""
    failed: int
    """Toys whose fit did not converge, which are left out."""
    reason: str = ""
    """Why there are no numbers; empty where there are."""


@dataclass(frozen=True, kw_only=True)
class Validation(JsonRecord):
    """`fits/validation.json`: regions that are fitted to nothing."""

    regions: Mapping[str, Distribution]
    """Expected before and after the fit, with errors that hold parameters and finite simulation; `deviance` is chi-squared with the
    covariance of what is expected, and its p-value is from toys."""
    judged: str
    """What observed events are held against: `postfit`, or, where the fit is of no data, `prefit`."""
    dataset: str = ""

    def tested(self) -> dict[str, Goodness]:
        """Give how well those are described that were compared with data."""
        return {name: own.goodness for name, own in self.regions.items() if own.goodness}
