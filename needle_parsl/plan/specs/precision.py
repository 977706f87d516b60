"""What the measurement of the networks' precision needs to know."""

from __future__ import annotations

from dataclasses import dataclass

from needle_parsl.plan.specs.fits import FitSpec
from needle_parsl.plan.specs.networks import Ratio, Splitting
from needle_parsl.plan.specs.stores import Physics, Share


@dataclass(frozen=True, kw_only=True)
class PrecisionSpec:
    """Find how the error from networks falls with members and training events."""

    fit: FitSpec
    """Of Asimov data."""
    poi: str
    members: int
    """Of each ratio and fold."""
    bagging: float
    """One over the folds where each network has a bootstrap of its own, else 0."""
    kinds: tuple[int, ...]
    """Of each member, where they have several settings: of a search, or of `training.members`; empty where they are alike."""
    weighted: bool
    """Whether ensemble weights are fitted, and have a covariance."""
    normalised: bool
    """Whether ratios are normalised at the yields."""
    growth: float
    """Power of the events with which the time of a training grows."""
    samples: tuple[Share, ...]
    """The processes, whose events are counted."""
    splitting: Splitting
    fits: tuple[str, ...]
    """Names of the fits, the headline's first."""
    replicas: int
    """Members of a replica of `[bootstrap]`; 0 without."""
    ratios: tuple[Ratio, ...]
    """Those whose exact densities are known."""
    physics: Physics | None
    """Given where they are."""
