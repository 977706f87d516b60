"""Toys: data sets thrown at known parameters, from simulated events or from events of their own.

Every toy has a seed of its own, so that blocks may be cut anywhere and run in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl.errors import InputError
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.model.constraints import Constraints
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.normalisation import Simulation
from needle_parsl.nsbi.statistics.model.rows import Table

Floats = npt.NDArray[np.float64]
MOST_VETOED = 0.05
"""Share of the expected events that may be left out."""


@dataclass(frozen=True)
class ToyPool:
    """Events that toys are drawn from."""

    likelihood: Likelihood
    """Of all the events; the likelihood of a toy takes rows of it."""
    weight: Floats
    """Expected number of each event in a toy, shape (N,)."""
    vetoed: float
    """Expected events of negative density, which cannot be drawn and were left out."""

    @property
    def expected(self) -> float:
        """Count the expected events of a toy."""
        return float(self.weight.sum())

    @property
    def effective(self) -> float:
        """Count the effective events, (sum w)^2 / sum w^2; infinite where there are none to draw, so that toys share nothing."""
        if not len(self.weight):
            return float("inf")
        return self.expected**2 / float((self.weight**2).sum()) if self.expected else 0.0


def model_pool(events: Likelihood, weight: Floats, theta: Floats) -> ToyPool:
    """Throw from the reference: each event as often as the learned model says, w_e nu R(x_e | theta).

    The same events stand behind Z_j, each with its ratio, so that the model is normalised on the pool wherever a fit goes; those
    of negative weight or density are in neither.

    Args:
        events: Likelihood over simulated events of the reference.
        weight: Their weights, shape (N,), of any sum in each region.
        theta: The truth of the toys.

    Raises:
        InputError: Too many events have a negative density.
    """
    share = _shares(events, weight)
    wanted = share * _on(events, share).densities(theta)
    vetoed = float(np.maximum(-wanted, 0.0).sum())
    if vetoed > MOST_VETOED * wanted.sum():
        raise InputError(
            f"toys: {vetoed:.3g} of {wanted.sum():.3g} expected events have a negative density or weight, and cannot be drawn; "
            "a reference without negative weights is needed"
        )
    # What cannot be drawn is not in Z_j either: of the others, the density adds up to the expected events by itself.
    kept = _shares(events, np.where(wanted > 0, np.maximum(share, 0.0), 0.0))
    own = _on(events, kept)
    drawn = np.maximum(kept * own.densities(theta), 0.0)
    totals = (own.expected_by_region(theta).sum(axis=1), _split(events, drawn))
    drawn = np.concatenate([part * (total / part.sum()) for total, part in zip(*totals, strict=True)])
    return ToyPool(own.thinned(theta), drawn, vetoed)


def _split(events: Likelihood, values: Floats) -> list[Floats]:
    """Cut numbers of events by region, shape (N,) each."""
    return np.split(values, np.cumsum([table.y.shape[1] for table in events.of_kind("events")])[:-1])


def _shares(events: Likelihood, weight: Floats) -> Floats:
    """Let the weights add up to 1 in each region."""
    return np.concatenate([own / own.sum() for own in _split(events, weight)])


def _on(events: Likelihood, share: Floats) -> Likelihood:
    """Let events of the reference stand behind Z_j, each with its ratio; their weights, shape (N,), add up to 1 in each region."""
    own, totals = iter(_split(events, share)), iter(events.of_kind("total"))

    def on(table: Table) -> Table:
        part, ratio = next(own), table.y / next(totals).y
        simulation = (Simulation(j, part * r, table.responses.alone(j)) for j, r in enumerate(ratio))
        return replace(table, simulation=tuple(simulation))

    return replace(events, tables=tuple(on(t) if t.kind == "events" else t for t in events.tables))


def simulation_pool(events: Likelihood, simulated: Sequence[Dataset], theta: Floats) -> ToyPool:
    """Throw from the simulation of each process, whatever its learned ratio says: a Poisson bootstrap.

    Args:
        events: Likelihood over the simulated events of all processes.
        simulated: These events region by region, every process weighted to its nominal yield there.
        theta: The truth of the toys; shapes are nominal.

    Raises:
        InputError: Events with negative weights, or a process with a negative multiplier, cannot be drawn.
    """
    rates, expected = events.rates, events.expected_by_region(theta)
    nominal = [np.array([region.yields[process] for process in rates.processes]) for region in simulated]
    scales = zip(simulated, expected, nominal, strict=True)
    weight = np.concatenate([region.weight * (nu / own)[region.sample] for region, nu, own in scales])
    sample = np.concatenate([region.sample for region in simulated])
    if (weight < 0).any():
        names = [name for j, name in enumerate(rates.processes) if (weight[sample == j] < 0).any()]
        raise InputError(
            f"toys: {int((weight < 0).sum())} simulated events of {', '.join(names)} have negative weights there and cannot "
            'be drawn; set toys.source = "model", or, with one unbinned region, name a function in toys.generate'
        )
    return ToyPool(events.thinned(theta), weight, 0.0)


def no_pool(counts: Likelihood) -> ToyPool:
    """Throw from binned regions alone: there are no events to draw."""
    return ToyPool(counts, np.empty(0), 0.0)


def sufficient(pool: ToyPool, least: float) -> ToyPool:
    """Insist on a pool that is large against a toy.

    Args:
        pool: Where toys are to be drawn from.
        least: Effective events per expected event, at least.

    Raises:
        InputError: It is too small; the message says how large it is.
    """
    if pool.effective < least * pool.expected:
        raise InputError(
            f"toys: {pool.effective:.0f} effective simulated events stand behind toys of {pool.expected:.0f} expected events, "
            f"less than {least:g} for each; use more events for split.test, or set toys.pool lower"
        )
    return pool


class Draw(NamedTuple):
    """What makes a toy out of the likelihood of many events: `likelihood.take(*draw)`."""

    rows: npt.NDArray[np.int64]
    """Which events, shape (N,); one that was drawn twice stands there twice."""
    constraints: Constraints
    """With the auxiliary observations that were thrown."""
    counts: Sequence[Floats]
    """Of each binned region."""
    seen: Sequence[Floats] = ()
    """What says how well the simulation of each binned region is known; none stands for the nominal."""


def drawn(pool: ToyPool, theta: Floats, seeds: Sequence[int]) -> Iterator[Draw]:
    """Draw toys from a pool: as many events as Poisson says, then which ones.

    It is the law of one Poisson number per event, without a look at every event.

    Args:
        pool: The events.
        theta: The truth; the auxiliary observations are thrown around it.
        seeds: One per toy.
    """
    edges, means = np.cumsum(pool.weight), pool.likelihood.counts(theta)
    total = float(edges[-1]) if len(edges) else 0.0
    for seed in seeds:
        generator = np.random.default_rng(seed)
        constraints = pool.likelihood.constraints.throw(pool.likelihood.alpha(theta), generator)
        places = np.sort(generator.random(generator.poisson(total)) * total)
        counts = [generator.poisson(mean).astype(np.float64) for mean in means]
        yield Draw(
            np.searchsorted(edges, places, side="right"),
            constraints,
            counts,
            simulated_anew(pool.likelihood, generator),
        )


def simulated_anew(likelihood: Likelihood, generator: np.random.Generator) -> list[Floats]:
    """Throw what says how well the simulation of each binned region is known; without an error it is 1."""
    return [
        np.ones(len(table.count)) if table.staterror is None else table.staterror.throw(generator)
        for table in likelihood.of_kind("bins")
    ]


@dataclass(frozen=True)
class Beside:
    """What is thrown beside the events of a toy."""

    constraints: Constraints
    counts: Sequence[Floats]
    """Of each binned region."""
    seen: Sequence[Floats] = ()
    """What says how well the simulation of each is known."""

    @staticmethod
    def throw(likelihood: Likelihood, theta: Floats, generator: np.random.Generator) -> Beside:
        """Throw auxiliary observations and the counts of binned regions."""
        constraints = likelihood.constraints.throw(likelihood.alpha(theta), generator)
        counts = [generator.poisson(m).astype(np.float64) for m in likelihood.counts(theta)]
        return Beside(constraints, counts, simulated_anew(likelihood, generator))


def cut(numbers: Sequence[int], beside: Sequence[Beside]) -> Iterator[Draw]:
    """Cut the events of many toys, one behind the other, into toys.

    Args:
        numbers: Events of each toy.
        beside: What was thrown beside them.
    """
    ends = np.cumsum([0, *numbers])
    for start, stop, own in zip(ends, ends[1:], beside, strict=False):
        yield Draw(np.arange(start, stop), own.constraints, own.counts, own.seen)
