"""What a task of toys throws: from pools of simulated events, or from a user's function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from needle_parsl.errors import TaskError
from needle_parsl.files import read_json, write_json
from needle_parsl.nsbi.data import conversion, generation
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.statistics import dataset
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.intervals import corrections, hypothesis_tests, profile
from needle_parsl.nsbi.statistics.intervals import coverage as summing
from needle_parsl.nsbi.statistics.intervals import neyman as construction
from needle_parsl.nsbi.statistics.intervals.hypothesis_tests import too_large
from needle_parsl.nsbi.statistics.intervals.neyman import uncertain
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.toys import block as blocks
from needle_parsl.nsbi.statistics.toys.block import Block
from needle_parsl.nsbi.statistics.toys.pool import (
    Beside,
    Draw,
    Floats,
    Pool,
    cut,
    drawn,
    model_pool,
    no_pool,
    simulation_pool,
    sufficient,
)
from needle_parsl.plan import Task, specs
from needle_parsl.records import Record, writing
from needle_parsl.salts import key
from needle_parsl.tasks import fits, inputs

if TYPE_CHECKING:
    from needle_parsl.nsbi.estimators.estimator import Estimator


@dataclass(frozen=True)
class ToyBatch:
    """The toys of a task."""

    events: Likelihood
    """Over the events of all toys."""
    toys: Iterator[Draw]
    truth: Floats
    """theta, shape (P,)."""
    pool: tuple[float, float]
    """Effective and vetoed events of the pool; no toy shares events where the first is infinite."""


@dataclass(frozen=True)
class _Known:
    """What a user's function has no part in."""

    learned: Likelihood
    simulation: Dataset
    ratios: Mapping[str, Estimator]


class QuorumError(TaskError):
    """A ratio that is made again has too few members: a replica less, and no failure of the run."""


class UnfittedError(TaskError):
    """The fit that says where toys are thrown did not converge: there are none, which the belt says."""


def block(root: str, spec: specs.Toys) -> Block:
    """Throw and fit the toys of a block.

    There are none where earlier rounds decide, where a replica has too few members, or where no fit of the data says what to throw.

    Args:
        root: The run directory.
        spec: Which toys.
    """
    if decided(root, spec):
        before = inputs.blocks(root, spec.earlier)
        return Block.empty(before.parameters, before.truth, (before.effective, before.vetoed), spec.tested)
    try:
        thrown = throw(root, spec)
    except (QuorumError, UnfittedError):
        rates = inputs.likelihood(root, spec.fit).rates
        return Block.empty(
            rates.parameters, rates.outward(rates.at(dict(spec.truth))), (float("inf"), 0.0), spec.tested
        )
    return Block.of(thrown.events, thrown.toys, spec.poi, thrown.truth, thrown.pool, spec.tested)


def throw(root: str, spec: specs.Toys) -> ToyBatch:
    """Throw the toys of a block.

    Raises:
        InputError: Toys cannot be drawn from these events, or a user's function does not make them.
        QuorumError: Of ratios that are made again.
    """
    learned = inputs.likelihood(root, spec.fit)
    truth = _truth(spec, learned)
    ratios = _ratios(root, spec)
    simulation = (
        inputs.simulated(root, spec.again.simulation, ratios) if spec.again else inputs.simulation(root, spec.fit)
    )
    if spec.thrower:
        thrown = _generated(root, spec, spec.thrower, _Known(learned, simulation, ratios), truth)
        return ToyBatch(*thrown, truth, (float("inf"), 0.0))
    pool = sufficient(_pool(root, spec, simulation, truth), spec.least)
    return ToyBatch(pool.likelihood, drawn(pool, truth, _seeds(spec)), truth, (pool.effective, pool.vetoed))


def _ratios(root: str, spec: specs.Toys) -> Mapping[str, Estimator]:
    """Give the ratios that are evaluated here: those that are made again, or those that a user's events need."""
    if not spec.again and spec.thrower is None:
        return {}
    from needle_parsl.nsbi.estimators import files  # noqa: PLC0415  with torch, which toys of the model do without
    from needle_parsl.tasks import replicas  # noqa: PLC0415  with torch, which other tasks do without

    if spec.again:
        try:
            return replicas.remade(root, spec.again)
        except TaskError as error:
            raise QuorumError(str(error)) from error
    assert spec.thrower is not None
    return {name: files.read(inputs.path(root, "combine", name)) for name in spec.thrower.ratios}


def decided(root: str, spec: specs.Toys) -> bool:
    """Whether the toys of earlier rounds leave no doubt of what is accepted at this value; they are whole rounds."""
    if not spec.earlier:
        return False
    learned, before = inputs.likelihood(root, spec.fit), inputs.blocks(root, spec.earlier)
    best = minimise(learned, learned.rates)
    (observed,) = profile.statistic(learned, best, spec.poi, np.array([dict(spec.truth)[spec.poi]]))
    value, values, _ = before.column(spec.poi)
    ordered, seen = before.t, float(observed)
    if spec.statistic == "q_mu":
        ordered, seen = too_large(before.t, values, value), seen if best.value(spec.poi) <= value else 0.0
    good = ordered[before.converged]
    return not (len(good) and uncertain(good, seen, spec.levels))


def _seeds(spec: specs.Toys) -> list[int]:

    return [key(spec.salt, number) for number in range(spec.first, spec.first + spec.count)]


def _truth(spec: specs.Toys, learned: Likelihood) -> Floats:
    """Give theta at the named values; the other parameters are nominal, or minimised over with the data."""
    values = dict(spec.truth)
    if not spec.profiled:
        return learned.rates.at(values)
    found = minimise(learned, learned.rates, fixed=values, errors=False)
    if not found.converged:
        where = ", ".join(f"{name} = {value:g}" for name, value in values.items())
        raise UnfittedError(
            f"toys: with {where}, the fit of the {spec.fit.dataset} data did not converge; bring intervals.grid nearer"
        )
    return found.theta


def _pool(root: str, spec: specs.Toys, simulation: Dataset, truth: Floats) -> Pool:

    if spec.fit.binned:
        return no_pool(inputs.likelihood(root, spec.fit))
    data = inputs.dataset(root, "reference") if spec.source == "model" else simulation
    events = inputs.likelihood_of(spec.fit, data, simulation, inputs.regions(root, spec.fit))
    if spec.source == "model":
        return model_pool(events, data.weight, truth)
    return simulation_pool(events, simulation, truth)


def _generated(
    root: str, spec: specs.Toys, thrower: specs.Thrower, known: _Known, truth: Floats
) -> tuple[Likelihood, Iterator[Draw]]:
    """Let the user's function make every toy's events; networks see one toy at a time, since sums depend on their company."""
    rates = known.learned.rates
    parameters = dict(zip(rates.parameters, rates.outward(truth).tolist(), strict=True))
    beside, events = [], []
    for seed in _seeds(spec):
        generator = np.random.default_rng(seed)
        beside.append(Beside.throw(known.learned, truth, generator))
        made = generation.pseudo_data(
            thrower.reference, thrower.physics.source, thrower.physics.path, generator, parameters
        )
        events.append(conversion.select(made, inputs.recipe(thrower.kept), thrower.reference))
    log_ratios = {
        name: np.concatenate([known.ratios[name].log_ratio(e.inputs) for e in events]) for name in thrower.ratios
    }
    joined = replace(dataset.observed(Events.join(events, thrower.kept.features), {}), ratios=log_ratios)
    every = inputs.likelihood_of(spec.fit, joined, known.simulation, inputs.regions(root, spec.fit))
    return every.thinned(truth), cut([len(e) for e in events], beside)


def toys(root: str, task: Task, *_before: Record) -> Record:
    """Throw and fit a block of toys."""
    with writing(root, task) as out:
        blocks.write(out.path, block(root, task.of(specs.Toys)))
    return out.record(root)


def neyman(root: str, task: Task, *_before: Record) -> Record:
    """Construct the confidence belt, and read off what the data accept; the reason where there is none."""
    with writing(root, task) as out:
        try:
            found = _belt(root, task.of(specs.Neyman))
        except TaskError as error:  # of fits that did not converge: the report says so, and has all else
            found = {"parameter": task.of(specs.Neyman).poi, "reason": str(error)}
        write_json(out.path, {**found, "dataset": task.of(specs.Neyman).fit.dataset})
    return out.record(root)


def _belt(root: str, spec: specs.Neyman) -> dict[str, Any]:
    """Construct the belt.

    Raises:
        TaskError: The fit of the data did not converge, or no fit of a toy did at some value.
    """
    learned = inputs.likelihood(root, spec.fit)
    best = minimise(learned, learned.rates)
    if not best.converged:
        raise TaskError(f"the fit of the {spec.fit.dataset} data did not converge, so that there is no belt")
    grid = np.array(spec.grid)
    observed = profile.statistic(learned, best, spec.poi, grid)
    toys = [inputs.blocks(root, names) for names in spec.blocks]
    above = best.value(spec.poi) if spec.statistic == "q_mu" else None
    belt = construction.belt(
        spec.poi, grid, toys, observed, spec.levels, learned.rates, smoothed=spec.smooth, best=above
    )
    belt["normalisation"] = corrections.largest(learned, best.theta, toys)
    return {**belt, **_without(root, spec, learned, best, toys, observed)}


def _without(
    root: str, spec: specs.Neyman, learned: Likelihood, best: Result, toys: list[Block], observed: Floats
) -> dict[str, Any]:
    """Test against no signal, where toys of it were asked for."""
    if spec.without is None:
        return {}
    background, found = inputs.blocks(root, spec.background), best.value(spec.poi)
    (t,) = profile.statistic(learned, best, spec.poi, np.array([spec.without]))
    q = float(t) if found > spec.without else 0.0
    return {
        "discovery": None if np.isnan(q) else hypothesis_tests.discovery(background, spec.poi, q),
        "limits": hypothesis_tests.limits(
            spec.poi, np.array(spec.grid), toys, background, observed, found, spec.levels
        ),
    }


def coverage(root: str, task: Task, *_before: Record) -> Record:
    """Sum up toys of known truth."""
    spec = task.of(specs.Coverage)
    with writing(root, task) as out:
        made = read_json(inputs.path(root, "neyman", "neyman")) if spec.belt else {"reason": ""}
        belt = None if "reason" in made else made
        toys = [inputs.blocks(root, names) for names in spec.blocks]
        truths = [dict(zip(block.parameters, block.truth.tolist(), strict=True)) for block in toys]
        factors = fits.inflations(root, spec, truths)
        points = [
            point
            for block, factor in zip(toys, factors, strict=True)
            for point in summing.points(block, spec.poi, spec.levels, belt, factor)
        ]
        again = [
            point
            for own in spec.repeated
            for names in own.blocks
            for point in summing.repeated(
                [inputs.blocks(root, (name,)) for name in names], spec.poi, spec.levels, own.kind
            )
        ]
        straight = summing.linearity(points, spec.poi)
        write_json(out.path, {"parameter": spec.poi, "points": [*points, *again], "linearity": straight})
    return out.record(root)
