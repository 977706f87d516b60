"""How the networks' share of the error of a parameter falls with members and training events, and what a wanted share needs.

    V(M, N) = T M_0 / M + S (N_0 / N) (1 + b / M),   share(M, N) = sqrt(V / (V + sigma^2)),   at most with V + c

V is the variance that networks add to the parameter of interest, and sigma the error of its fit. T, the noise of training (seeds, order of
events, initial weights), falls with the members M of each ratio and fold; S, the finite simulation that all members have seen, with the
simulated events N; b = 1 / K where each network of K folds has a bootstrap of its own, and 0 else. c is the floor, what all networks of this kind have in common: their
squared distance from exact densities, as far as V does not explain it. It is known at N_0 alone: what of it falls with N is not, so that it
is a bound beside the share, and no part of it. M_0 and N_0 are those of the run that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from needle_parsl.json_records import JsonRecord

FEWEST = 2
"""Members with which the noise of training can be told."""
STEPS, RANGE = 50, 4.0
"""Numbers of members that are tried: in steps of 1/50 of the fewest that can do, up to 5 times as many."""
CLEARLY = 2.0
"""Of its errors by which a floor is above what is allowed, where a share cannot be reached."""
REMEDY = "larger networks or longer trainings are needed"
TERMS = ("training", "simulation", "floor")
"""The terms T, S and c, in the order of rows and covariances."""


@dataclass(frozen=True, kw_only=True)
class MeasuredVariance(JsonRecord):
    """A variance that was measured, and what the terms add to it."""

    source: str
    """`members`: groups of them; `folds`: networks of different folds; `repeats`, `replicas`: of `[bootstrap]`; `weights`: the covariance of
    wifi weights; `exact`: the distance from exact densities."""
    variance: float
    """Of the parameter of interest, in its units squared."""
    relative_error: float
    """Statistical error, over the expected variance."""
    row: tuple[float, float, float]
    """What T, S and c are multiplied with in its expectation."""
    size: int = 0
    """Members of a group; 0 for other sources."""


@dataclass(frozen=True, kw_only=True)
class PrecisionLaw(JsonRecord):
    """`fits/precision.json`: how the error from networks falls with members and events. Variances are in units of the parameter squared."""

    parameter: str
    sigma: float
    """Error of the parameter in the fit of Asimov data, without that from networks."""
    members: int
    """M_0: of each ratio and fold."""
    events: int
    """N_0: simulated nominal events of all processes that train."""
    bagging: float
    """b: one over the folds where each network has a bootstrap of its own, else 0."""
    growth: float
    """Power of N with which the time of a training grows."""
    training: float | None = None
    """T; None where it is not known."""
    simulation: float | None = None
    """S, likewise."""
    floor: float | None = None
    """c, likewise: known only where exact densities are."""
    covariance: tuple[tuple[float, ...], ...] = ((0.0,) * 3,) * 3
    """Of T, S and c, shape (3, 3); zeros for what is not known."""
    chi2: float = 0.0
    """Of the fit of the terms to what was measured."""
    ndof: int = 0
    points: tuple[MeasuredVariance, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)
    """Why a term is not known."""

    @property
    def known(self) -> bool:
        """Whether anything is known that falls with members or events."""
        return self.training is not None or self.simulation is not None

    def variance(self, members: float, events: float, *, floor: bool = False) -> tuple[float, float]:
        """Predict the variance from networks, as far as its terms are known, and the statistical error of that.

        Args:
            members: M.
            events: N.
            floor: Whether c is in it, too.
        """
        row = self.members / members, self.events / events * (1 + self.bagging / members), float(floor)
        value = sum(k * (getattr(self, name) or 0.0) for k, name in zip(row, TERMS, strict=True))
        error = sum(row[i] * row[j] * self.covariance[i][j] for i in range(3) for j in range(3))
        return value, math.sqrt(max(error, 0.0))

    def share(self, members: float, events: float, *, floor: bool = False) -> tuple[float, float]:
        """Predict the networks' share of the total error, sqrt(V / (V + sigma^2)), and its statistical error."""
        (value, error), sigma2 = self.variance(members, events, floor=floor), self.sigma**2
        found = math.sqrt(value / (value + sigma2))
        low, high = (math.sqrt(v / (v + sigma2)) for v in (max(value - error, 0.0), value + error))
        return found, (high - low) / 2

    def allowed(self, share: float) -> float:
        """Give the variance that networks may add."""
        return self.sigma**2 * share**2 / (1 - share**2)

    def cost(self, members: float, events: float) -> float:
        """Give the time of all trainings over that of the run."""
        return float(members / self.members * (events / self.events) ** self.growth)


@dataclass(frozen=True, kw_only=True)
class Needed(JsonRecord):
    """What a share needs: of all numbers of members and events that reach it, those of the least time of training."""

    wanted: float
    members: int | None = None
    """Of each ratio and fold; None where the share cannot be reached."""
    events: int | None = None
    """Simulated events: at least those of the run."""
    share: float | None = None
    """What is predicted for these."""
    share_error: float | None = None
    """Its statistical error."""
    share_at_most: float | None = None
    """With the floor of the run; None where that is not known."""
    cost: float | None = None
    """Time of all trainings, over that of the run."""
    reason: str = ""
    """Why it cannot be reached."""


def needed(law: PrecisionLaw, share: float) -> Needed:
    """Find how many members and events make the networks' share as small as wanted; terms that are not known count as 0.

    Args:
        law: What was measured.
        share: In (0, 1).
    """
    if not law.known:
        return Needed(wanted=share, reason="; ".join(dict.fromkeys(law.unknown.values())))
    allowed = law.allowed(share)
    if law.floor is not None and law.floor - CLEARLY * math.sqrt(law.covariance[2][2]) > allowed:
        least = math.sqrt(law.floor / (law.floor + law.sigma**2))
        reason = f"exact densities show a floor of {least:.2g}, which more members do not lower: {REMEDY}"
        return Needed(wanted=share, reason=reason)
    members, events = min(_reaching(law, allowed), key=lambda pair: law.cost(*pair))
    reached, error = law.share(members, events)
    return Needed(
        wanted=share,
        members=members,
        events=events,
        share=reached,
        share_error=error,
        share_at_most=None if law.floor is None else law.share(members, events, floor=True)[0],
        cost=law.cost(members, events),
    )


def _reaching(law: PrecisionLaw, left: float) -> Iterator[tuple[int, int]]:
    """Give numbers of members, each with the fewest events, no fewer than the run has, for which T and S add up to a variance at most."""
    noise = (law.training or 0.0) * law.members
    fewest = max(noise / left, FEWEST) if law.training is not None else law.members
    tried = range(round(RANGE * STEPS) + 1) if law.training is not None else (0,)
    for members in dict.fromkeys(math.ceil(fewest * (1 + step / STEPS)) for step in tried):
        rest = left - noise / members
        shared = (law.simulation or 0.0) * (1 + law.bagging / members)
        if rest > 0:
            yield members, max(law.events, math.ceil(law.events * shared / rest))
