"""Toys: thrown and fitted in blocks, the confidence belt of such blocks, and what they say of a measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.statistics import dataset as datasets
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.intervals import corrections, hypothesis_tests, neyman, neyman_region, profile
from needle_parsl.nsbi.statistics.intervals import coverage as sums
from needle_parsl.nsbi.statistics.intervals.hypothesis_tests import too_large
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.results import Belt, Coverage, NeymanRegion
from needle_parsl.nsbi.statistics.toys.block import Block
from needle_parsl.nsbi.statistics.toys.pool import Beside, Draw, ToyPool, cut, drawn, sufficient

Floats = npt.NDArray[np.float64]


class UnfittedError(TaskError):
    """The fit that says where toys are thrown did not converge: there are none, which the belt says."""


@dataclass(frozen=True)
class ToyBatch:
    """Toys that are thrown, and not fitted yet."""

    events: Likelihood
    """Over the events of all toys."""
    toys: Iterator[Draw]
    truth: Floats
    """theta, shape (P,)."""
    pool: tuple[float, float]
    """Effective and vetoed events of the pool; no toy shares events where the first is infinite."""


@dataclass(frozen=True)
class OwnEvents:
    """Makes and evaluates events of a toy's own."""

    make: Callable[[np.random.Generator], Events]
    evaluate: Callable[[Events], Mapping[str, Floats]]
    """Gives ln r of each ratio, shape (N,)."""
    build: Callable[[Dataset], Likelihood]


def truth_of(likelihood: Likelihood, values: Mapping[str, float], *, profiled: bool, dataset: str) -> Floats:
    """Give theta at the named values, shape (P,); the other parameters are nominal, or minimised over with the data.

    Args:
        likelihood: Of the data.
        values: By parameter.
        profiled: Whether the others are minimised over.
        dataset: The name of the data.

    Raises:
        UnfittedError: That fit did not converge.
    """
    if not profiled:
        return likelihood.rates.at(values)
    found = minimise(likelihood, likelihood.rates, fixed=values, errors=False)
    if not found.converged:
        where = ", ".join(f"{name} = {value:g}" for name, value in values.items())
        raise UnfittedError(
            f"toys: with {where}, the fit of the {dataset} data did not converge; bring intervals.grid nearer"
        )
    return found.theta


def throw_toys(pool: ToyPool, truth: Floats, seeds: Sequence[int], least: float = 0.0) -> ToyBatch:
    """Draw toys from a pool of events.

    Args:
        pool: By `toys.pool`: of the model, of the simulation, or without events.
        truth: theta, shape (P,).
        seeds: One per toy.
        least: Effective events of the pool per expected event, at least.

    Raises:
        InputError: The pool is too small.
    """
    pool = sufficient(pool, least)
    return ToyBatch(pool.likelihood, drawn(pool, truth, seeds), truth, (pool.effective, pool.vetoed))


def make_toys(known: Likelihood, truth: Floats, seeds: Sequence[int], own: OwnEvents) -> ToyBatch:
    """Let every toy have events of its own; networks see one toy at a time, since sums depend on their company.

    Args:
        known: Throws auxiliary observations and counts.
        truth: theta, shape (P,).
        seeds: One per toy.
        own: Makes the events.
    """
    beside, events = [], []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        beside.append(Beside.throw(known, truth, generator))
        events.append(own.make(generator))
    evaluated = [own.evaluate(one) for one in events]
    ratios = {name: np.concatenate([one[name] for one in evaluated]) for name in evaluated[0]}
    joined = replace(datasets.observed(Events.join(events, events[0].names), {}), ratios=ratios)
    batch = own.build(joined).thinned(truth)
    return ToyBatch(batch, cut([len(one) for one in events], beside), truth, (float("inf"), 0.0))


def fit_toys(batch: ToyBatch, parameter: str, tested: Sequence[float] = (), also: Sequence[str] = ()) -> Block:
    """Fit toys, each freely and with the parameter of interest held at its truth, and at other values.

    Args:
        batch: The toys.
        parameter: The parameter of interest.
        tested: The other values.
        also: Parameters that are held at their truth together with it: t is then of all of them.
    """
    return Block.of(batch.events, batch.toys, parameter, batch.truth, batch.pool, tested, also)


def throw_block(
    pool: ToyPool,
    parameter: str,
    truth: Floats,
    seeds: Sequence[int],
    *,
    least: float = 0.0,
    tested: Sequence[float] = (),
    also: Sequence[str] = (),
) -> Block:
    """Throw toys from a pool, and fit them: see `throw_toys` and `fit_toys`."""
    return fit_toys(throw_toys(pool, truth, seeds, least), parameter, tested, also)


def is_settled(
    likelihood: Likelihood,
    parameter: str,
    tested: float,
    toys: Block,
    levels: Sequence[float],
    statistic: str = "t_mu",
) -> bool:
    """Whether toys of one value leave no doubt of whether the data accept it.

    Args:
        likelihood: Of the data.
        parameter: The parameter of interest.
        tested: The value.
        toys: Thrown there.
        levels: Confidence levels.
        statistic: `t_mu` or `q_mu`.
    """
    value, values, _ = toys.column(parameter)
    best = minimise(likelihood, likelihood.rates)
    (observed,) = profile.statistic(likelihood, best, parameter, np.array([tested]))
    ordered, seen = toys.t, float(observed)
    if statistic == "q_mu":
        ordered, seen = too_large(toys.t, values, value), seen if best.value(parameter) <= value else 0.0
    good = ordered[toys.converged]
    return not (len(good) and neyman.uncertain(good, seen, levels))


def build_belt(
    likelihood: Likelihood,
    parameter: str,
    grid: Sequence[float],
    toys: Sequence[Block],
    levels: Sequence[float] = (0.68, 0.95),
    *,
    statistic: str = "t_mu",
    smooth: bool = True,
    without: tuple[float, Block] | None = None,
    dataset: str = "observed",
) -> Belt:
    """Construct the confidence belt, and read off what the data accept.

    Args:
        likelihood: Of the data.
        parameter: The parameter of interest.
        grid: Its values, ascending, shape (G,).
        toys: Those thrown at each value.
        levels: Confidence levels.
        statistic: What orders: `t_mu` or `q_mu`.
        smooth: Whether intervals are read off a smooth curve through the critical values.
        without: The value without a signal, and toys thrown there that are tested at each value of the grid: for the discovery, and
            for CLs.
        dataset: The name of the data.

    Raises:
        InputError: At some level no value of the grid is accepted.
        TaskError: The fit of the data did not converge, or no fit of a toy did at some value.
    """
    best = minimise(likelihood, likelihood.rates)
    if not best.converged:
        raise TaskError(f"the fit of the {dataset} data did not converge, so that there is no belt")
    values = np.array(grid)
    observed = profile.statistic(likelihood, best, parameter, values)
    found = best.value(parameter)
    above = found if statistic == "q_mu" else None
    belt = neyman.belt(parameter, values, toys, observed, levels, likelihood.rates, smoothed=smooth, best=above)
    belt = replace(belt, normalisation=corrections.largest(likelihood, best.theta, toys), dataset=dataset)
    if without is None:
        return belt
    nothing, background = without
    (t,) = profile.statistic(likelihood, best, parameter, np.array([nothing]))
    q = float(t) if found > nothing else 0.0
    return replace(
        belt,
        discovery=None if np.isnan(q) else hypothesis_tests.discovery(background, parameter, q),
        limits=hypothesis_tests.limits(parameter, values, toys, background, observed, found, levels),
    )


def build_region(
    likelihood: Likelihood,
    grid: Mapping[str, Sequence[float]],
    toys: Sequence[Block],
    levels: Sequence[float] = (0.68, 0.95),
    *,
    smooth: bool = True,
    dataset: str = "observed",
) -> NeymanRegion:
    """Construct the confidence region of two parameters from toys in which both were held at their truth.

    Args:
        likelihood: Of the data.
        grid: By both parameters their values, ascending, shapes (X,) and (Y,).
        toys: Those thrown at each pair of values, the second parameter running fastest; X Y blocks.
        levels: Confidence levels.
        smooth: Whether the region is read off a smooth surface through the critical values.
        dataset: The name of the data.

    Raises:
        InputError: At some level no point of the grid is accepted.
        TaskError: The fit of the data did not converge, or no fit of a toy did at some point.
    """
    best = minimise(likelihood, likelihood.rates)
    if not best.converged:
        raise TaskError(f"the fit of the {dataset} data did not converge, so that there is no region")
    values = {name: np.array(own) for name, own in grid.items()}
    observed = neyman_region.statistic(likelihood, best, values)
    found = neyman_region.region(values, toys, observed, levels, likelihood.rates, smoothed=smooth)
    return replace(found, best={name: best.value(name) for name in grid}, dataset=dataset)


def measure_coverage(
    toys: Sequence[Block],
    parameter: str,
    levels: Sequence[float] = (0.68, 0.95),
    *,
    belt: Belt | None = None,
    inflations: Sequence[float | None] = (),
    repeated: Sequence[tuple[str, Sequence[Block]]] = (),
) -> Coverage:
    """Sum up toys of known truth: bias, pulls, and how often intervals hold the truth.

    Args:
        toys: One block per truth.
        parameter: The parameter of interest.
        levels: Confidence levels.
        belt: Whose intervals are judged, too.
        inflations: k at each truth, where ensemble weights have an error.
        repeated: Of ratios that were made again: what was, and the toys of one truth by replica.
    """
    factors = inflations or [None] * len(toys)
    points = [
        point
        for block, factor in zip(toys, factors, strict=True)
        for point in sums.points(block, parameter, levels, belt, factor)
    ]
    again = [point for kind, blocks in repeated for point in sums.repeated(blocks, parameter, levels, kind)]
    return Coverage(parameter, (*points, *again), sums.linearity(points, parameter))
