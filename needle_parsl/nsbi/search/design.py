"""The design of a search: its space, and the brackets and rungs that are fixed before anything is known. Needs nothing but the standard library.

References:
    Successive halving: K. Jamieson, A. Talwalkar, arXiv:1502.07943. Hyperband: L. Li et al., arXiv:1603.06560.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from needle_parsl.analysis import Search, catalogue, space
from needle_parsl.analysis.space import Axis

OPEN_STEPS = 2
"""Steps that may be open at a time: while the packs of one are waited for, those of the next are trained, so that no worker is idle at the end of a rung."""
FEWEST, PART, MOST = 4, 8, 32
"""Trials that begin together where a sampler learns: a part of all, within bounds."""


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """Trials that begin together, and of which the best part goes on."""

    step: int
    """In which they begin."""
    counts: tuple[int, ...]
    """Trials in each rung."""
    epochs: tuple[int, ...]
    """At which each rung ends; 0 where a training ends by itself."""

    def rung_at(self, step: int) -> int | None:
        """Give the rung that is trained in a step; None where there is none."""
        rung, between = divmod(step - self.step, OPEN_STEPS)
        return rung if not between and 0 <= rung < len(self.counts) else None

    @property
    def end(self) -> int:
        """Give the step of its last rung."""
        return self.step + OPEN_STEPS * (len(self.counts) - 1)


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is searched, and how."""

    space: tuple[tuple[str, Axis], ...]
    metrics: tuple[str, ...]
    risk: float
    sampler: str
    seed: int
    pick: str
    taken: int
    """Settings that the ensemble is made of."""
    brackets: tuple[Bracket, ...]

    @property
    def steps(self) -> int:
        """Count the steps."""
        return 1 + max(bracket.end for bracket in self.brackets)

    def running(self, step: int) -> list[tuple[Bracket, int]]:
        """List the brackets that are trained in a step, with their rungs."""
        found = [(bracket, bracket.rung_at(step)) for bracket in self.brackets]
        return [(bracket, rung) for bracket, rung in found if rung is not None]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Give the epochs of all rungs, ascending; none where trainings end by themselves."""
        return tuple(sorted({epochs for bracket in self.brackets for epochs in bracket.epochs if epochs}))


def of(search: Search, epochs: int | None, seed: int) -> Design:
    """Lay a search out.

    Args:
        search: `[search]`.
        epochs: `training.epochs`.
        seed: Of the sampler.
    """
    axes = {name: space.parse(text) for name, text in space.flat(search.space).items()}
    return Design(
        space=tuple(axes.items()),
        metrics=search.metrics(),
        risk=search.risk,
        sampler=search.sampler,
        seed=seed,
        pick=search.pick,
        taken=search.taken(),
        brackets=brackets(search, trials(search, axes), epochs),
    )


def trials(search: Search, axes: dict[str, Axis]) -> int:
    """Count the trials: of a grid, no more than it has points."""
    if search.sampler != "grid":
        return search.trials
    return min(search.trials, math.prod(axis.count() for axis in axes.values()))


def complete(search: Search, epochs: int | None) -> int:
    """Count the trials that are trained to their end, if none fails."""
    axes = {name: space.parse(text) for name, text in space.flat(search.space).items()}
    return sum(bracket.counts[-1] for bracket in brackets(search, trials(search, axes), epochs))


def rungs(search: Search, epochs: int | None) -> tuple[int, ...]:
    """Give the epochs at which rungs end."""
    how = search.scheduler
    longest = how.max_epochs or epochs
    if how.name == "none" or longest is None:
        return (0,)
    factor = how.reduction_factor
    found = [how.grace_period or max(1, round(longest / factor**2))]
    while found[-1] * factor < longest:
        found.append(found[-1] * factor)
    return (*found, longest)


def brackets(search: Search, count: int, epochs: int | None) -> tuple[Bracket, ...]:
    """Divide trials into brackets, one beginning in each step; of `hyperband`, the first rung is another one each time.

    The others are of equal size: a few trials that are left over would be a bracket at whose rungs most workers have nothing to do.
    """
    ends, factor = rungs(search, epochs), search.scheduler.reduction_factor
    found: list[Bracket] = []
    left, size = count, _size(search, count, len(ends))
    hyperband, several = search.scheduler.name == "hyperband", max(1, round(count / size))
    while left > 0:
        first = len(found) % len(ends) if hyperband else 0
        begun = (
            min(left, max(1, round(size / factor**first))) if hyperband else math.ceil(left / (several - len(found)))
        )
        own = ends[first:]
        counts = tuple(max(1, round(begun / factor**rung)) for rung in range(len(own)))
        found.append(Bracket(step=len(found), counts=counts, epochs=own))
        left -= begun
    return tuple(found)


def _size(search: Search, count: int, rungs: int) -> int:
    """Give the trials that begin together."""
    if catalogue.SAMPLERS[search.sampler].adaptive:
        compared = int(search.scheduler.reduction_factor ** (rungs - 1))  # so that there is a choice in every rung
        return min(max(math.ceil(count / PART), FEWEST, compared), max(MOST, compared))
    return count if rungs == 1 else math.ceil(count / OPEN_STEPS)
