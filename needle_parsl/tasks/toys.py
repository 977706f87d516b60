"""Tasks of toys: blocks of them, the confidence belt, and what they say of the measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from needle_parsl.errors import TaskError
from needle_parsl.files import read_json, write_json
from needle_parsl.nsbi.data import conversion, generation
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.statistics import analyses
from needle_parsl.nsbi.statistics.analyses import OwnEvents, ToyBatch, UnfittedError
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.results import Belt, NeymanRegion, NoBelt, read_belt
from needle_parsl.nsbi.statistics.toys import block as blocks
from needle_parsl.nsbi.statistics.toys.block import Block
from needle_parsl.nsbi.statistics.toys.pool import Floats, ToyPool, model_pool, no_pool, simulation_pool
from needle_parsl.plan import Task, specs
from needle_parsl.records import Record, writing
from needle_parsl.salts import key
from needle_parsl.tasks import fits, inputs

if TYPE_CHECKING:
    from needle_parsl.nsbi.estimators.estimator import Estimator


class QuorumError(TaskError):
    """A ratio that is made again has too few members: a replica less, and no failure of the run."""


def toys(root: str, task: Task, *_before: Record) -> Record:
    """Throw and fit a block of toys."""
    with writing(root, task) as out:
        blocks.write(out.path, block(root, task.of(specs.ToysSpec)))
    return out.record(root)


def block(root: str, spec: specs.ToysSpec) -> Block:
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
        return analyses.fit_toys(throw(root, spec), spec.poi, spec.tested, spec.also)
    except (QuorumError, UnfittedError):
        rates = inputs.likelihood(root, spec.fit).rates
        truth = rates.outward(rates.at(dict(spec.truth)))
        return Block.empty(rates.parameters, truth, (float("inf"), 0.0), spec.tested)


def decided(root: str, spec: specs.ToysSpec) -> bool:
    """Whether the toys of earlier rounds leave no doubt of what is accepted at this value; they are whole rounds."""
    if not spec.earlier:
        return False
    learned, before = inputs.likelihood(root, spec.fit), inputs.blocks(root, spec.earlier)
    return analyses.is_settled(learned, spec.poi, dict(spec.truth)[spec.poi], before, spec.levels, spec.statistic)


def throw(root: str, spec: specs.ToysSpec) -> ToyBatch:
    """Throw the toys of a block.

    Raises:
        InputError: Toys cannot be drawn from these events, or a user's function does not make them.
        QuorumError: Of ratios that are made again.
        UnfittedError: No fit of the data says what to throw.
    """
    learned = inputs.likelihood(root, spec.fit)
    truth = analyses.truth_of(learned, dict(spec.truth), profiled=spec.profiled, dataset=spec.fit.dataset)
    ratios = _ratios(root, spec)
    simulated = (
        [inputs.simulated(root, spec.again.simulation, ratios)] if spec.again else inputs.simulations(root, spec.fit)
    )
    seeds = [key(spec.salt, number) for number in range(spec.first, spec.first + spec.count)]
    if spec.thrower:
        own = _own_events(root, spec, spec.thrower, _parameters(learned, truth), ratios, simulated[0])
        return analyses.make_toys(learned, truth, seeds, own)
    return analyses.throw_toys(_pool(root, spec, simulated, truth), truth, seeds, spec.least)


def _ratios(root: str, spec: specs.ToysSpec) -> Mapping[str, Estimator]:
    """Give the ratios that are evaluated here: those that are made again, or those that a user's events need."""
    if not spec.again and spec.thrower is None:
        return {}
    from needle_parsl.tasks import replicas  # noqa: PLC0415  with torch, which other tasks do without

    if spec.again:
        try:
            return replicas.remade(root, spec.again)
        except TaskError as error:
            raise QuorumError(str(error)) from error
    assert spec.thrower is not None
    return inputs.opened(root, spec.thrower.ratios)


def _pool(root: str, spec: specs.ToysSpec, simulated: Sequence[Dataset], truth: Floats) -> ToyPool:
    """Read the events that toys are drawn from."""
    if spec.fit.binned:
        return no_pool(inputs.likelihood(root, spec.fit))
    folders, from_model = inputs.places(root, spec.fit), spec.source == "model"
    drawn = [inputs.dataset(folder, "reference") for folder in folders.values()] if from_model else simulated
    pairs = dict(zip(folders, zip(drawn, simulated, strict=True), strict=True))
    events = inputs.likelihood_of_all(spec.fit, pairs, inputs.regions(root, spec.fit))
    if from_model:
        return model_pool(events, np.concatenate([own.weight for own in drawn]), truth)
    return simulation_pool(events, simulated, truth)


def _parameters(learned: Likelihood, truth: Floats) -> dict[str, float]:
    return dict(zip(learned.rates.parameters, learned.rates.outward(truth).tolist(), strict=True))


def _own_events(
    root: str,
    spec: specs.ToysSpec,
    thrower: specs.Thrower,
    parameters: Mapping[str, float],
    ratios: Mapping[str, Estimator],
    simulation: Dataset,
) -> OwnEvents:
    """Let the user's function make every toy's events."""
    recipe, regions = inputs.recipe(thrower.kept), inputs.regions(root, spec.fit)

    def make(generator: np.random.Generator) -> Events:
        physics = thrower.physics
        made = generation.pseudo_data(thrower.reference, physics.source, physics.path, generator, parameters)
        return conversion.select(made, recipe, thrower.reference)

    def evaluate(events: Events) -> dict[str, Floats]:
        return {name: ratios[name].log_ratio(events.inputs) for name in thrower.ratios}

    return OwnEvents(make, evaluate, lambda joined: inputs.likelihood_of(spec.fit, joined, simulation, regions))


def neyman(root: str, task: Task, *_before: Record) -> Record:
    """Construct the confidence belt, or the region of two parameters: what the data accept; the reason where there is none."""
    spec = task.spec
    assert isinstance(spec, specs.Neyman | specs.NeymanPlane)
    with writing(root, task) as out:
        found: Belt | NeymanRegion | NoBelt
        try:
            found = _belt(root, spec) if isinstance(spec, specs.Neyman) else _region(root, spec)
        except TaskError as error:  # of fits that did not converge: the report says so, and has all else
            named = spec.poi if isinstance(spec, specs.Neyman) else ", ".join(name for name, _ in spec.grid)
            found = NoBelt(named, str(error), spec.fit.dataset)
        write_json(out.path, found.to_json())
    return out.record(root)


def _belt(root: str, spec: specs.Neyman) -> Belt:
    """Construct the belt.

    Raises:
        TaskError: The fit of the data did not converge, or no fit of a toy did at some value.
    """
    return analyses.build_belt(
        inputs.likelihood(root, spec.fit),
        spec.poi,
        spec.grid,
        [inputs.blocks(root, names) for names in spec.blocks],
        spec.levels,
        statistic=spec.statistic,
        smooth=spec.smooth,
        without=None if spec.without is None else (spec.without, inputs.blocks(root, spec.background)),
        dataset=spec.fit.dataset,
    )


def _region(root: str, spec: specs.NeymanPlane) -> NeymanRegion:
    """Construct the region of two parameters; raises as `_belt` does."""
    return analyses.build_region(
        inputs.likelihood(root, spec.fit),
        dict(spec.grid),
        [inputs.blocks(root, names) for names in spec.blocks],
        spec.levels,
        smooth=spec.smooth,
        dataset=spec.fit.dataset,
    )


def coverage(root: str, task: Task, *_before: Record) -> Record:
    """Sum up toys of known truth."""
    spec = task.of(specs.CoverageSpec)
    with writing(root, task) as out:
        belt = read_belt(read_json(inputs.path(root, "neyman", "neyman"))) if spec.belt else None
        toys = [inputs.blocks(root, names) for names in spec.blocks]
        truths = [dict(zip(block.parameters, block.truth.tolist(), strict=True)) for block in toys]
        found = analyses.measure_coverage(
            toys,
            spec.poi,
            spec.levels,
            belt=belt if isinstance(belt, Belt) else None,
            inflations=fits.inflations(root, spec, truths),
            repeated=[
                (own.kind, [inputs.blocks(root, (name,)) for name in names])
                for own in spec.repeated
                for names in own.blocks
            ],
        )
        write_json(out.path, found.to_json())
    return out.record(root)
