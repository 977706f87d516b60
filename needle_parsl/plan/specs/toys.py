"""What toys, belts and coverage need to know."""

from __future__ import annotations

from dataclasses import dataclass, field

from needle_parsl.plan.keys import IF_SAID, NOT_IN_KEY
from needle_parsl.plan.specs.fits import FitSpec, Resampling
from needle_parsl.plan.specs.stores import Convert, Physics


@dataclass(frozen=True)
class Thrower:
    """A user's function that makes a toy's events."""

    reference: str
    physics: Physics
    kept: Convert
    """What is kept of them."""
    ratios: tuple[str, ...]
    """Names of the estimators."""


@dataclass(frozen=True, kw_only=True)
class ToysSpec:
    """Throw and fit a block of toys."""

    fit: FitSpec
    """The model; and the data that decide where nuisance parameters are, if they are profiled."""
    poi: str
    truth: tuple[tuple[str, float], ...]
    """Values of parameters."""
    profiled: bool
    """Whether parameters that `truth` does not name are where a fit of the data has them; else they are nominal."""
    source: str
    """`model` or `simulation`."""
    thrower: Thrower | None
    """Given where toys of the simulation have events of their own."""
    least: float = field(metadata=NOT_IN_KEY)
    """Effective events of the pool per expected event: what is refused, not what is thrown."""
    salt: int
    """Of the toys of this truth; with the number of a toy it is its seed."""
    first: int
    """Number of the first toy."""
    count: int
    tested: tuple[float, ...] = ()
    """Further values at which the parameter of interest is held."""
    earlier: tuple[str, ...] = ()
    """Names of the toys of earlier rounds: no more are thrown where these decide what is accepted."""
    levels: tuple[float, ...] = ()
    """Confidence levels at which they must."""
    statistic: str = "t_mu"
    """What orders the values of the parameter of interest there, `t_mu` or `q_mu`."""
    again: Resampling | None = None
    """Given where these toys are fitted with other ratios than those of the run."""
    also: tuple[str, ...] = field(default=(), metadata=IF_SAID)
    """Parameters that are held at their truth together with the parameter of interest."""


@dataclass(frozen=True, kw_only=True)
class Neyman:
    """Construct a confidence belt."""

    fit: FitSpec
    poi: str
    grid: tuple[float, ...]
    blocks: tuple[tuple[str, ...], ...]
    """Names of the toys at each value."""
    levels: tuple[float, ...]
    smooth: bool = True
    """Whether intervals are read off a smooth curve through the critical values."""
    statistic: str = "t_mu"
    """`t_mu` or `q_mu`."""
    without: float | None = None
    """The value without a signal, where there are toys of it."""
    background: tuple[str, ...] = ()
    """Names of these."""


@dataclass(frozen=True, kw_only=True)
class NeymanPlane:
    """Construct the confidence region of two parameters."""

    fit: FitSpec
    grid: tuple[tuple[str, tuple[float, ...]], tuple[str, tuple[float, ...]]]
    """Both parameters, each with its values."""
    blocks: tuple[tuple[str, ...], ...]
    """Names of the toys at each pair of values; the second parameter runs fastest."""
    levels: tuple[float, ...]
    smooth: bool
    """Whether the region is read off a smooth surface through the critical values."""


@dataclass(frozen=True)
class RepeatedToys:
    """Toys that are fitted with ratios of their own, replica by replica."""

    kind: str
    """`refitted`: other ensemble weights; `retrained`: other networks."""
    blocks: tuple[tuple[str, ...], ...]
    """Names of the toys of each truth, one block per replica."""


@dataclass(frozen=True, kw_only=True)
class CoverageSpec:
    """Sum up toys of known truth."""

    poi: str
    blocks: tuple[tuple[str, ...], ...]
    """Names of the toys of each truth."""
    levels: tuple[float, ...]
    belt: bool
    """Whether there is a confidence belt."""
    inflated: FitSpec | None = None
    """Given where ensemble weights are fitted: the model, in which their error is propagated."""
    repeated: tuple[RepeatedToys, ...] = ()
