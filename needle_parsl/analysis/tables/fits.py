"""Fits, scans, toys and intervals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from needle_parsl.analysis.tables.data import Data
from needle_parsl.reading import within


@dataclass(frozen=True)
class Grid:
    """Equally spaced values of a parameter."""

    start: float
    """Smallest value. Unit: that of the parameter. Example: `0.0`."""
    stop: float
    """Largest value. Unit: that of the parameter. Example: `3.0`."""
    points: int = field(default=20, metadata=within(3, 100_000))
    """How many values, ends included. Unit: values."""

    def values(self) -> tuple[float, ...]:
        """List them."""
        step = (self.stop - self.start) / (self.points - 1)
        return (*(self.start + i * step for i in range(self.points - 1)), self.stop)


@dataclass(frozen=True)
class Plane:
    """`[fit] plane`: two parameters whose profile likelihood is evaluated together."""

    parameters: tuple[str, str]
    """Their names; nuisance parameters may be among them. Example: `["mu", "jes"]`."""
    points: int = field(default=15, metadata=within(5, 1000))
    """How many values of each. Unit: values."""
    ranges: tuple[tuple[float, float], tuple[float, float]] | None = None
    """Smallest and largest value of each; left out, three standard errors to each side of the best fit.
    Unit: those of the parameters. Example: `[[0.0, 3.0], [-2.0, 2.0]]`."""


@dataclass(frozen=True)
class Scan:
    """`[fit] scan`: where the profile likelihood is evaluated."""

    start: float
    """Smallest value. Unit: that of the parameter. Example: `0.0`."""
    stop: float
    """Largest value. Unit: that of the parameter. Example: `3.0`."""
    points: int = field(default=25, metadata=within(5, 100_000))
    """How many values, ends included. Unit: values."""
    parameter: str = ""
    """Which parameter; left out, the first parameter of interest. Example: `"mu"`."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """`[fit]`: what is fitted."""

    asimov: bool = True
    """Whether the expected result, from simulation at the nominal parameters, is fitted, too."""
    data: Data | tuple[str, ...] | None = None
    """Observed events: a list of files, or a table. Example: `["data/*.root"]`."""
    blind: bool | Literal["offset"] = True
    """Whether observed data is left alone; expected results only. With `offset` it is fitted, and all that is written of parameters
    of interest is shifted by a hidden offset (docs/statistics.md). `needle run --unblind` overrides both and records who did.
    Example: `"offset"`."""
    blind_phrase: str = ""
    """Makes the offset of `blind = "offset"`; left out, the name of the analysis does. Example: `"do not look"`."""
    scan: Scan | None = None
    """The profile scan; left out, 25 points over four standard errors to each side of the best fit.
    Example: `{ start = 0.0, stop = 3.0, points = 25 }`."""
    plane: Plane | None = None
    """A profile scan of two parameters. Example: `{ parameters = ["mu", "jes"] }`."""
    staterror: bool | Literal["per_process"] = True
    """Whether the finite number of simulated events in the bins of `[model.regions]` is part of the fit: one factor per bin for
    all processes, as `staterror` of HistFactory and pyhf, or, `per_process`, one for each process, as `shapesys`. Example: `"per_process"`."""
    staterror_threshold: float = field(default=0.0, metadata=within(0.0, 1.0))
    """Errors from the simulation that are a smaller share of what a bin expects are left out. Unit: share of the bin. Example: `0.05`."""
    simulation_error: Literal["report", "add"] = "report"
    """Whether the error from the finite number of simulated, unbinned events is only reported, or added: to the total error, and to intervals
    of scans and limits, whose t is divided by 1 + its variance over that of the fit. Example: `"add"`."""
    goodness: int = field(default=200, metadata=within(0, 100_000))
    """Toys that tell how well observed events of unbinned regions are described, by statistics with power against shapes that the model
    does not have (docs/statistics.md); 20 at least, or 0, which leaves it out. Unit: toys."""
    minos: bool = True
    """Whether MINOS intervals of the parameters of interest are found."""
    impacts: tuple[Literal["covariance", "observable", "refit"], ...] = ("covariance", "refit")
    """How far nuisance parameters move the parameter of interest: from the `covariance`, with the auxiliary `observable`
    moved by one sigma, or with the nuisance parameter held one sigma off (`refit`)."""
    limit: float | None = field(default=None, metadata=within(0.5, 0.9999))
    """Confidence level of an upper limit by asymptotic CLs; the discovery significance comes with it, both against the
    `background` of the parameter. Unit: probability. Example: `0.95`."""


@dataclass(frozen=True, kw_only=True)
class Toys:
    """`[toys]`: data sets thrown at known parameters, for bias, pulls and coverage."""

    source: Literal["simulation", "model"] = "simulation"
    """`simulation`: from test events, or from `generate`; `model`: from the learned ratios, blind to their errors."""
    generate: str = ""
    """A function `(generator, parameters) -> {column: array}` that makes one data set, as `"physics.py:name"`."""
    at: tuple[dict[str, float], ...] = ({},)
    """Where toys are thrown, as tables of parameters; what is not named is nominal.
    Unit: those of the parameters. Example: `[{ mu = 0.0 }, { mu = 1.0, jes = 1.0 }]`."""
    coverage: bool = False
    """Whether toys are thrown along the parameter of interest, too: at `intervals.grid`, or at five values between its bounds."""
    count: int = field(default=200, metadata=within(2, 10_000_000))
    """Toys at each of these. Unit: toys."""
    block: int = field(default=1000, metadata=within(1, 1_000_000))
    """Toys that one task throws and fits. Unit: toys."""
    pool: float = field(default=5.0, metadata=within(0.0))
    """Effective simulated events behind each expected event of a toy, at least; fewer are refused.
    Unit: events per event."""
    refitted: int = field(default=0, metadata=within(0, 10_000))
    """Times that the weights of `combine = "wifi"` are fitted again, on resampled events, each with its share of as many toys:
    coverage that holds the error of these weights. Unit: replicas. Example: `50`."""
    retrained: bool = False
    """Whether the replicas of [bootstrap] get their share of as many toys each: coverage that holds what other networks, and other
    events for them, would give."""


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """`[intervals]`: interval construction for the parameter of interest."""

    method: Literal["profile", "neyman"] = "profile"
    """`profile`: t = -2 ln of the profile likelihood ratio against chi-squared; `neyman`: against toys, too."""
    parameter: str = ""
    """Which parameter; left out, the first parameter of interest. Example: `"mu"`."""
    grid: dict[str, Grid] | Grid | tuple[float, ...] | None = None
    """Values at which `neyman` throws toys: a list, or `{ start, stop, points }`; for the region of two parameters together one such
    table for each, as `{ mu = { start = 0.0, stop = 2.0, points = 10 }, k = { start = 0.0, stop = 2.0, points = 10 } }`.
    Unit: that of the parameter. Example: `[0.0, 0.5, 1.0, 1.5]`."""
    toys_per_point: int = field(default=1000, metadata=within(10, 10_000_000))
    """Toys at each value of the grid; they are thrown from the model, with nuisance parameters as the data has them there.
    Unit: toys."""
    rounds: int = field(default=0, metadata=within(0, 100))
    """Further rounds of as many toys, at values where t of the data is within three errors of a critical value. Unit: rounds."""
    background: float | None = None
    """The value without a signal; given, toys of it are thrown for the discovery significance and for CLs with upper limits.
    Unit: that of the parameter. Example: `0.0`."""
    statistic: Literal["t_mu", "q_mu"] = "t_mu"
    """What `neyman` orders by: `t_mu` gives intervals; `q_mu`, which is t_mu above the best value and 0 below it, upper limits."""
    smooth: bool = True
    """Whether the intervals of `neyman` are read off a smooth curve through the critical values of toys, where there is one: a
    smoothing spline, whose freedom has the largest restricted likelihood. With two parameters it is a surface of second order."""
    level: tuple[float, ...] = field(default=(0.68, 0.95), metadata=within(0.01, 0.9999))
    """Confidence levels. Unit: probability."""
