"""What runs on a worker: thin shells that read, call the science, and write. Undecorated; `flow` makes them Parsl apps.

Each takes the run directory, its task, and the records of the tasks before it, which only make it wait.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needle_parsl import refs, rundir
from needle_parsl.errors import TaskError
from needle_parsl.plan import Task, specs
from needle_parsl.plan.cutting import SHARE
from needle_parsl.workflow import bootstrapping, estimating, fitting, handing, inputs, normalising, training
from needle_parsl.workflow.processes import python, tethered
from needle_parsl.workflow.records import Output, Record, warnings, writing

if TYPE_CHECKING:
    from needle_parsl.nsbi.report.gathering import Inference, Subject
    from needle_parsl.nsbi.statistics.blocks import Block
    from needle_parsl.nsbi.statistics.fits.result import Floats, Result
    from needle_parsl.nsbi.statistics.model.likelihood import Likelihood


def generate(root: str, task: Task, stdout: object, stderr: object) -> str:  # noqa: ARG001  Parsl takes the two log files
    """Give the command line of a generator, which is a process of its own."""
    spec = task.of(specs.Generate)
    physics = str(Path(root) / rundir.PHYSICS) if spec.physics.source else ""
    digest = refs.digest(spec.physics.source)
    output = str(inputs.path(root, task.stage, task.name))
    told = [spec.reference, physics, digest, spec.physics.path, str(spec.events), str(spec.seed), output]
    program = python.module("needle_parsl.nsbi.data.generation", *told)
    bounds = tethered.bounded(task.limit, task.output, "limits.generate")
    return shlex.join(tethered.command(os.getpid(), tethered.INHERIT, program, bounds))


def generated(root: str, task: Task, started: float, _exit_code: int) -> Record:
    """Record what a generator wrote, after its program has ended well."""
    return Output(task, inputs.path(root, task.stage, task.name), started).record(root)


def read(root: str, task: Task, *_before: Record) -> Record:
    """Read some pieces of a sample into a part of its store."""
    from needle_parsl.nsbi.data import gathering, store

    spec = task.of(specs.Read)
    sample = spec.sample
    with writing(root, task) as out:
        pieces, skip = inputs.pieces(root, sample, spec.pieces), sample.on_bad_file == "skip"
        found = gathering.gather(pieces, inputs.recipe(sample), skip)
        store.write(out.path, found.events, inputs.schema(sample), spec.bits, found.sources, found.lost)
    return out.record(root)


def merge(root: str, task: Task, *_before: Record) -> Record:
    """Merge one range of the hash out of all parts of a sample."""
    from needle_parsl.nsbi.data import store

    spec = task.of(specs.Merge)
    with writing(root, task) as out:
        store.merge(inputs.parts(root, spec.parts), out.path, spec.memory // SHARE, spec.share)
    return out.record(root)


def convert(root: str, task: Task, *_before: Record) -> Record:
    """Write the store of a sample, from its files or from what other tasks have made of them."""
    from needle_parsl.nsbi.data import acceptance, gathering, store

    spec = task.of(specs.Convert)
    recipe = inputs.recipe(spec)
    with writing(root, task) as out:
        if spec.parts:
            store.merge(inputs.parts(root, spec.parts), out.path, spec.memory // SHARE)
        else:
            found = gathering.gather(inputs.pieces(root, spec, spec.pieces), recipe, spec.on_bad_file == "skip")
            store.write(out.path, found.events, inputs.schema(spec), None, found.sources, found.lost)
        with store.Store(out.path) as made:
            sums = made.attributes
            if not spec.region:  # a process may have no events there
                acceptance.accept(len(made), int(sums["repeated_ids"]), sums["sum_of_weights"], _named(spec), recipe)
    return out.record(root)


def _named(spec: specs.Convert) -> list[str]:
    return [file.path or f"what {spec.sample}'s generator made" for file in spec.files]


def diagnose(root: str, task: Task, *_before: Record) -> Record:
    """Measure an estimator, or the mixture of all processes, on test events."""
    with writing(root, task) as out:
        spec = task.spec
        found = _mixture(root, spec) if isinstance(spec, specs.Mixture) else _ratio(root, task.of(specs.Diagnose))
        rundir.write_json(out.path, found)
    return out.record(root)


def _ratio(root: str, spec: specs.Diagnose) -> dict[str, Any]:
    from needle_parsl.nsbi.estimators import diagnostics, files
    from needle_parsl.nsbi.training import packs

    physics = spec.physics
    made = files.read(inputs.path(root, "combine", spec.ratio.name))
    above, below = inputs.both(root, spec, "test")
    trained = inputs.both(root, spec, "train", most=diagnostics.MOST)
    exact = (
        (inputs.exact_log_ratio(root, physics, spec.ratio, above), inputs.exact_log_ratio(root, physics, spec.ratio, below))
        if physics
        else None
    )  # fmt: skip
    pack = packs.join([packs.read(inputs.path(root, "train", name)) for name in spec.packs])
    return {**diagnostics.diagnose(made, (above, below), trained, exact), "training": diagnostics.training(pack)}


def _mixture(root: str, spec: specs.Mixture) -> dict[str, Any]:
    from needle_parsl.nsbi.estimators import files
    from needle_parsl.nsbi.statistics import mixture
    from needle_parsl.nsbi.statistics.model import Rates

    reference = inputs.mixed(root, spec.reference, spec.splitting, "test")
    x, made = reference.inputs, {name: files.read(inputs.path(root, "combine", name)) for name in spec.ratios}
    ratios = {name: estimator.log_ratio(x) for name, estimator in made.items()}
    expected = {density.name: value for density, value in inputs.shares(root, spec.samples)}
    where = spec.poi, mixture.values(spec.model.parameters[spec.poi])
    points = mixture.normalisations(Rates.build(spec.model), expected, ratios, reference.weight, where)
    return {"parameter": spec.poi, "points": points}


def evaluate(root: str, task: Task, *_before: Record) -> Record:
    """Compute the log ratios of all events of a dataset."""
    from needle_parsl.nsbi.estimators import files, joint
    from needle_parsl.nsbi.statistics import beyond, dataset, directions
    from needle_parsl.nsbi.statistics import networks as one_by_one

    spec = task.of(specs.Evaluate)
    with writing(root, task) as out:
        ratios = {name: files.read(inputs.path(root, "combine", name)) for name in spec.ratios}
        if spec.samples:
            made, networks = inputs.simulated(root, spec, ratios), inputs.networks(root, spec, ratios)
        else:
            made, networks = dataset.observed(inputs.store(root, spec.dataset), ratios), None
        names = inputs.features(root, spec.samples[0].density.name if spec.samples else spec.dataset)
        beyond.insist(made.ratios, made.x, names, spec.dataset)
        dataset.write(out.path, made)
        if networks is not None:
            one_by_one.write(out.path, networks)
        if spec.covariance:
            directions.write(out.path, made.x, ratios, joint.read(inputs.path(root, "covariance", "covariance")))
    return out.record(root)


def count(root: str, task: Task, *_before: Record) -> Record:
    """Count what is expected and observed in the bins of a region."""
    from needle_parsl.nsbi.statistics import counting

    spec = task.of(specs.Count)
    with writing(root, task) as out:
        names = [share.density.name for share in spec.samples]
        expected = {name: inputs.counted(root, spec, name, scale) for name, scale in inputs.scales(root, spec).items()}
        observed = inputs.counted(root, spec, "observed", 1.0) if spec.observed else None
        overlap = {name: inputs.shared(root, spec, name) for name in names}
        rundir.write_json(out.path, counting.record(spec.region, spec.edges, expected, observed, overlap))
    return out.record(root)


def toys(root: str, task: Task, *_before: Record) -> Record:
    """Throw and fit a block of toys."""
    from needle_parsl.nsbi.statistics import blocks
    from needle_parsl.workflow import throwing

    with writing(root, task) as out:
        blocks.write(out.path, throwing.block(root, task.of(specs.Toys)))
    return out.record(root)


def neyman(root: str, task: Task, *_before: Record) -> Record:
    """Construct the confidence belt, and read off what the data accept; the reason where there is none."""
    with writing(root, task) as out:
        try:
            found = _belt(root, task.of(specs.Neyman))
        except TaskError as error:  # of fits that did not converge: the report says so, and has all else
            found = {"parameter": task.of(specs.Neyman).poi, "reason": str(error)}
        rundir.write_json(out.path, {**found, "dataset": task.of(specs.Neyman).fit.dataset})
    return out.record(root)


def _belt(root: str, spec: specs.Neyman) -> dict[str, Any]:
    """Construct the belt.

    Raises:
        TaskError: The fit of the data did not converge, or no fit of a toy did at some value.
    """
    import numpy as np

    from needle_parsl.nsbi.statistics import corrections
    from needle_parsl.nsbi.statistics import neyman as construction
    from needle_parsl.nsbi.statistics.fits import intervals
    from needle_parsl.nsbi.statistics.fits.fitting import minimise

    learned = inputs.likelihood(root, spec.fit)
    best = minimise(learned, learned.rates)
    if not best.converged:
        raise TaskError(f"the fit of the {spec.fit.dataset} data did not converge, so that there is no belt")
    grid = np.array(spec.grid)
    observed = intervals.statistic(learned, best, spec.poi, grid)
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
    import numpy as np

    from needle_parsl.nsbi.statistics import hypotheses
    from needle_parsl.nsbi.statistics.fits import intervals

    if spec.without is None:
        return {}
    background, found = inputs.blocks(root, spec.background), best.value(spec.poi)
    (t,) = intervals.statistic(learned, best, spec.poi, np.array([spec.without]))
    q = float(t) if found > spec.without else 0.0
    return {
        "discovery": None if np.isnan(q) else hypotheses.discovery(background, spec.poi, q),
        "limits": hypotheses.limits(spec.poi, np.array(spec.grid), toys, background, observed, found, spec.levels),
    }


def coverage(root: str, task: Task, *_before: Record) -> Record:
    """Sum up toys of known truth."""
    from needle_parsl.nsbi.statistics import coverage as summing

    spec = task.of(specs.Coverage)
    with writing(root, task) as out:
        made = rundir.read_json(inputs.path(root, "neyman", "neyman")) if spec.belt else {"reason": ""}
        belt = None if "reason" in made else made
        toys = [inputs.blocks(root, names) for names in spec.blocks]
        truths = [dict(zip(block.parameters, block.truth.tolist(), strict=True)) for block in toys]
        factors = fitting.inflations(root, spec, truths)
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
        rundir.write_json(out.path, {"parameter": spec.poi, "points": [*points, *again], "linearity": straight})
    return out.record(root)


def report(root: str, task: Task, *before: Record) -> Record:
    """Write the report: a page, its figures, and the numbers it shows."""
    from needle_parsl.nsbi.report import gathering, page

    spec = task.of(specs.Report)
    with writing(root, task) as out:
        data, own = inputs.expectation(root, spec), spec.splitting
        split = inputs.fractions(own), gathering.Folds(own.folds, own.fold_salt) if own.folds else None
        known = [ratio for ratio in spec.ratios if ratio.name in data.ratios] if spec.physics else []
        facts = gathering.gather(
            _subject(root, spec, before),
            samples=[gathering.sample(name, inputs.path(root, "convert", name), *split) for name in spec.stores],
            observed=inputs.seen(root, spec),
            packs={name: inputs.path(root, "train", name) for name in spec.packs},
            diagnostics=_numbers(root, "diagnose", tuple(ratio.name for ratio in spec.ratios)),
            inference=_inference(root, spec),
            dataset=data,
            exact={r.name: inputs.exact_log_ratio(root, spec.physics, r, data) for r in known if spec.physics},
            seconds=[(record.stage, record.seconds) for record in before],
            provenance=inputs.provenance(root),
        )
        page.write(out.path, facts)
    return out.record(root)


def _numbers(root: str, stage: str, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: rundir.read_json(inputs.path(root, stage, name)) for name in names}


def _subject(root: str, spec: specs.Report, before: tuple[Record, ...]) -> Subject:
    """Say what the report is about."""
    from needle_parsl.nsbi.report.gathering import Subject

    said = (*spec.warnings, *warnings(before))
    lost = {name: inputs.lost(root, name) for name in spec.stores}
    features = () if spec.binned else inputs.features(root, spec.stores[0])
    return Subject(spec.name, spec.seed, spec.headline, spec.poi, spec.blinded, said, lost, features, spec.thresholds)


def _inference(root: str, spec: specs.Report) -> Inference:
    """Read what the inference has found; None where it was not asked for."""
    from needle_parsl.nsbi.report.gathering import Inference

    def one(stage: str, name: str, there: bool) -> Any:
        return rundir.read_json(inputs.path(root, stage, name)) if there else None

    belt = one("neyman", "neyman", spec.belt) or {}
    return Inference(
        _numbers(root, "fit", spec.fits),
        _numbers(root, "interval", spec.scans),
        one("interval", "plane", spec.plane),
        one("interval", "impacts", spec.impacts),
        one("interval", "limits", spec.limits),
        one("interval", "distributions", True),
        None if "reason" in belt else belt or None,
        one("coverage", "coverage", bool(spec.toys)),
        [inputs.blocks(root, names) for names in spec.toys],
        one("bootstrap", "bootstrap", spec.bootstrap),
        one("diagnose", "mixture", spec.mixture),
        one("interval", "closure", spec.closure),
        belt.get("reason", ""),
    )


FUNCTIONS: dict[str, Callable[..., Record | None]] = {
    "generated": generated,
    "read": read,
    "merge": merge,
    "convert": convert,
    "train": training.train,
    "piece": training.piece,
    "gather": training.gather,
    "normalise": normalising.normalise,
    "combine": estimating.combine,
    "covariance": estimating.covariance,
    "compose": estimating.compose,
    "export": estimating.export,
    "diagnose": diagnose,
    "evaluate": evaluate,
    "count": count,
    "fit": fitting.fit,
    "interval": fitting.interval,
    "replica": bootstrapping.replica,
    "bootstrap": bootstrapping.bootstrap,
    "toys": toys,
    "thrown": handing.thrown,
    "neyman": neyman,
    "coverage": coverage,
    "report": report,
}
"""What a worker can be asked to do, by name: mostly a stage. Programs of their own are that of `generate`, and toys by MPI."""
