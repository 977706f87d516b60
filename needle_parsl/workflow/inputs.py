"""What tasks read: stores, yields, datasets and likelihoods, from a run directory. Imports the science only inside functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from needle_parsl import plan, refs, rundir
from needle_parsl.analysis import JOINT_LOSSES
from needle_parsl.plan import specs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from needle_parsl.nsbi.data.events import Events, Fractions, Part
    from needle_parsl.nsbi.data.loading.stretches import Stretch
    from needle_parsl.nsbi.data.recipes import Piece, Recipe
    from needle_parsl.nsbi.data.store import Lost, Schema
    from needle_parsl.nsbi.estimators.estimator import Estimator
    from needle_parsl.nsbi.estimators.joint import Role
    from needle_parsl.nsbi.physics import Density, LogDensity
    from needle_parsl.nsbi.report.gathering import Provenance
    from needle_parsl.nsbi.statistics.blocks import Block
    from needle_parsl.nsbi.statistics.dataset import Dataset, Floats
    from needle_parsl.nsbi.statistics.exact import ExactLikelihood
    from needle_parsl.nsbi.statistics.model.building import Counts
    from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
    from needle_parsl.nsbi.training.networks import Shape
    from needle_parsl.nsbi.training.streaming import StoredEvents
    from needle_parsl.nsbi.training.views import RatioEvents

Ratioed = specs.Combine | specs.Diagnose
"""Specs of tasks that work on the events of one ratio."""


def path(root: str, stage: str, name: str) -> Path:
    """Locate the output of a task."""
    return Path(root) / rundir.place(stage, name)


def recipe(spec: specs.Convert) -> Recipe:
    """Translate a spec into the words of `nsbi.data`."""
    from needle_parsl.nsbi.data.recipes import Recipe

    return Recipe.of(plan.content(spec), (spec.physics.source, spec.physics.path) if spec.physics else ("", ""))


def schema(spec: specs.Convert) -> Schema:
    """Say what the events of a sample's store are."""
    from needle_parsl.nsbi.data.store import Schema

    joint = tuple(known.ratio for known in spec.joint)
    return Schema(spec.features, spec.particles.names if spec.particles else (), spec.salt, joint)


def pieces(root: str, spec: specs.Convert, wanted: tuple[specs.Piece, ...]) -> list[Piece]:
    """Locate pieces of a sample's files; one without a path is what the sample's generator wrote."""
    from needle_parsl.nsbi.data.generation import TREE
    from needle_parsl.nsbi.data.recipes import InputFile, Piece

    own = str(path(root, "generate", spec.sample))
    found = []
    for piece in wanted:
        f = piece.file
        file = InputFile(f.path or own, spec.tree if f.path else TREE, f.digest, f.stamp, piece.share)
        found.append(Piece(file, piece.start, piece.stop))
    return found


def parts(root: str, names: tuple[str, ...]) -> list[Path]:
    """Locate what other tasks have read or merged."""
    return [path(root, *name.split(":", 1)) for name in names]


def store(root: str, name: str) -> Events:
    """Read all events of a store."""
    from needle_parsl.nsbi.data import store

    return store.read(path(root, "convert", name))


def first(root: str, name: str, rows: int) -> Events:
    """Read the first events of a store, which are a random sample of it."""
    from needle_parsl.nsbi.data.store import Store

    with Store(path(root, "convert", name)) as found:
        return found.read(0, min(rows, len(found)))


def part(root: str, name: str, splitting: specs.Splitting, purpose: Part, most: int | None = None) -> Events:
    """Read the events of a store that serve one purpose, or so many of them with the weight of all."""
    from needle_parsl.nsbi.data.store import Store

    with Store(path(root, "convert", name)) as found:
        start, stop = found.rows_of(purpose, fractions(splitting))
        kept = stop - start if most is None else min(stop - start, most)
        events = found.read(start, start + kept)
        return events if start + kept == stop else replace(events, weight=events.weight * ((stop - start) / kept))


def fractions(splitting: specs.Splitting) -> Fractions:
    """Say how events are split."""
    from needle_parsl.nsbi.data.events import Fractions

    return Fractions(splitting.train, splitting.combine, splitting.test, splitting.salt)


def total(root: str, name: str) -> float:
    """Read the sum of the weights of a store."""
    from needle_parsl.nsbi.data.store import Store

    with Store(path(root, "convert", name)) as found:
        return found.attributes["sum_of_weights"]


def count(root: str, name: str) -> int:
    """Count the events of a store."""
    from needle_parsl.nsbi.data.store import Store

    with Store(path(root, "convert", name)) as found:
        return len(found)


def features(root: str, name: str) -> tuple[str, ...]:
    """Name the features of a store."""
    from needle_parsl.nsbi.data.store import Store

    with Store(path(root, "convert", name)) as found:
        return found.schema.features


def lost(root: str, name: str) -> list[Lost]:
    """List the bad files that were left out of a store."""
    from needle_parsl.nsbi.data.store import Store

    with Store(path(root, "convert", name)) as found:
        return found.lost


def shares(root: str, wanted: tuple[specs.Share, ...]) -> list[tuple[Density, float]]:
    """Give each density its expected events; what the user did not state is the sum of the weights."""
    return [(share.density, share.yield_ or total(root, share.density.name)) for share in wanted]


def mixed(root: str, wanted: tuple[specs.Share, ...], splitting: specs.Splitting, purpose: Part) -> Events:
    """Read the events of several samples, each with its yield."""
    from needle_parsl.nsbi.data.events import Events

    parts = []
    for density, expected in shares(root, wanted):
        sample = part(root, density.name, splitting, purpose)
        parts.append(replace(sample, weight=sample.weight * (expected / total(root, density.name))))
    return Events.join(parts, parts[0].names)


def yields(root: str, spec: specs.Evaluate) -> dict[str, float]:
    """Give expected events; a variation's are the nominal ones times the ratio of the sums of weights."""
    nominal = {density.name: expected for density, expected in shares(root, spec.samples)}
    varied = {d.name: nominal[d.sample] * total(root, d.name) / total(root, d.sample) for d in spec.varied}
    return nominal | varied


def scales(root: str, spec: specs.Count) -> dict[str, float]:
    """Give what the weights of processes and varied processes are multiplied by, so that stated yields are theirs."""
    nominal = {share.density.name: share.yield_ for share in spec.samples}
    factors = {name: expected / total(root, name) if expected else 1.0 for name, expected in nominal.items()}
    return factors | {density.name: factors[density.sample] for density in spec.varied}


def counted(root: str, spec: specs.Count, name: str, scale: float) -> tuple[Floats, Floats]:
    """Count the weights of a store in the bins of a region, and their squares."""
    from needle_parsl.nsbi.statistics import counting

    events = store(root, f"{name}@{spec.region}")
    return counting.histogram(events.x[:, 0], events.weight * scale, spec.edges)


def shared(root: str, spec: specs.Count, name: str) -> int:
    """Count the events of a process that are in the region and among those that are fitted unbinned."""
    import numpy as np

    return len(np.intersect1d(store(root, name).id, store(root, f"{name}@{spec.region}").id))


def both(
    root: str,
    spec: Ratioed,
    purpose: Part,
    *,
    own_ids: bool = False,
    most: int | None = None,
    resampled: int | None = None,
) -> tuple[Events, Events]:
    """Read numerator and denominator of a ratio; see `pair`."""
    return pair(root, spec.ratio, spec.splitting, purpose, own_ids=own_ids, most=most, resampled=resampled)


def pair(
    root: str,
    ratio: specs.Ratio,
    splitting: specs.Splitting,
    purpose: Part,
    *,
    own_ids: bool = False,
    most: int | None = None,
    resampled: int | None = None,
) -> tuple[Events, Events]:
    """Read numerator and denominator of a ratio; each sample of the denominator counts by its yield.

    With `own_ids`, events of different samples differ in their ids, whatever the files say; those of a variation have the
    ids of its nominal sample. With `most`, so many of each sample are read, which are a random choice. With `resampled`, the
    salt of a replica, events have its Poisson weights.
    """
    from needle_parsl.nsbi.data import parameters
    from needle_parsl.nsbi.data.events import Events

    def read(density: Density) -> Events:
        events = part(root, density.name, splitting, purpose, most)
        events = events if resampled is None else events.resampled(resampled)
        return _marked(events, density) if own_ids else events

    numerator, below = read(ratio.numerator), []
    for density, expected in shares(root, ratio.denominator):
        sample = read(density)
        below.append(replace(sample, weight=sample.weight * (expected / total(root, density.name))))
    if ratio.parameters:
        return numerator, parameters.attached(Events.join(below, below[0].names), numerator, ratio.parameters)
    return numerator, Events.join(below, numerator.names)


def roles(root: str, spec: specs.Covariance) -> Iterator[list[Role]]:
    """Read sample by sample what its events, varied or not, have done to the weights of each ratio."""
    from needle_parsl.nsbi.estimators.joint import Role

    parts = [(r, 0, r.numerator, 1.0) for r in spec.ratios] + [
        (ratio, 1, density, expected / total(root, density.name))
        for ratio in spec.ratios
        for density, expected in shares(root, ratio.denominator)
    ]
    for sample in dict.fromkeys(density.sample for _, _, density, _ in parts):
        own = [part for part in parts if part[2].sample == sample]
        events = {d.name: part(root, d.name, spec.splitting, "combine") for _, _, d, _ in own}
        yield [
            Role(ratio.name, side, replace(events[d.name], weight=events[d.name].weight * scale))
            for ratio, side, d, scale in own
        ]


def _marked(events: Events, density: Density) -> Events:
    from needle_parsl.nsbi.data import hashing

    return replace(events, id=hashing.mix(events.id, hashing.key("sample", density.sample)))


def training_events(root: str, spec: specs.Train) -> RatioEvents | StoredEvents:
    """Read the training events of a ratio, or leave them in their stores where there are too many to hold."""
    from needle_parsl.nsbi.data.loading.stretches import held
    from needle_parsl.nsbi.training.streaming import StoredEvents
    from needle_parsl.nsbi.training.views import BELOW, BOTH, RatioEvents

    ratio, splitting, loss = spec.ratio, spec.splitting, spec.training.loss
    joint = ratio.name if loss in JOINT_LOSSES else ""
    found = _stretches(root, ratio, splitting, joint)
    if loss == "regression":
        found = [stretch for stretch in found if stretch.label == 0]
    many = held(found) > spec.training.memory_mib * 2**20
    if isinstance(ratio, specs.Classes):
        if many:
            return StoredEvents.of(found, dict(enumerate(density.name for density in ratio.samples)))
        return RatioEvents.of_classes({d.name: part(root, d.name, splitting, "train") for d in ratio.samples})
    if many and not ratio.parameters:  # a draw of parameters needs all of the numerator's
        return StoredEvents.of(found, BELOW if loss == "regression" else BOTH)
    numerator, denominator = pair(root, ratio, splitting, "train")
    return RatioEvents.build(None if loss == "regression" else numerator, denominator, joint)


def _stretches(root: str, ratio: specs.Ratio | specs.Classes, splitting: specs.Splitting, joint: str) -> list[Stretch]:
    """Locate the training events of a ratio, or of all classes; each sample of a denominator counts by its yield."""
    from needle_parsl.nsbi.data.loading.stretches import located

    def one(density: Density, label: float, factor: float) -> Stretch:
        return located(path(root, "convert", density.name), "train", fractions(splitting), label, factor, joint)

    if isinstance(ratio, specs.Classes):
        return [one(density, number, 1.0) for number, density in enumerate(ratio.samples)]
    below = [one(d, 0.0, expected / total(root, d.name)) for d, expected in shares(root, ratio.denominator)]
    return [one(ratio.numerator, 1.0, 1.0), *below]


def head(root: str, ratio: specs.Ratio, shape: Shape) -> Shape:
    """Let networks of many classes give one ratio; others do already."""
    from needle_parsl.nsbi.training import heads

    if not shape.head:
        return shape
    below = {density.name: expected for density, expected in shares(root, ratio.denominator)}
    return replace(shape, head=heads.of_ratio(shape.head, ratio.name, below))


def log_density(physics: specs.Physics) -> LogDensity:
    """Load `log_density` of the user's Python file."""
    from needle_parsl.nsbi.estimators.exact import guarded

    return guarded(refs.resolve("physics.py:log_density", physics.source, physics.path))


def exact_log_ratio(root: str, physics: specs.Physics, ratio: specs.Ratio, events: Events | Dataset) -> Floats:
    """Compute the exact log ratio of events."""
    from needle_parsl.nsbi.estimators.exact import log_mixture

    density, x = log_density(physics), events.x.astype("float64")
    above, below = [(ratio.numerator, 1.0)], shares(root, ratio.denominator)
    return log_mixture(density, above, x) - log_mixture(density, below, x)


def dataset(root: str, name: str) -> Dataset:
    """Read a dataset with its log ratios."""
    from needle_parsl.nsbi.statistics import dataset

    return dataset.read(path(root, "evaluate", name))


def likelihood(root: str, spec: specs.Fit) -> Likelihood:
    """Build the likelihood of a dataset; the simulated test events are behind Z_j, too."""
    return likelihood_of(spec, fitted(root, spec), dataset(root, "asimov"), regions(root, spec))


def regions(root: str, spec: specs.Fit) -> list[Counts]:
    """Read the binned regions of a fit; with Asimov data nothing was observed in them."""
    from needle_parsl.nsbi.statistics import counting

    found = [rundir.read_json(path(root, "count", name)) for name in spec.model.regions]
    return [counting.read(record, observed=spec.dataset != "asimov") for record in found]


def likelihood_of(spec: specs.Fit, data: Dataset, simulation: Dataset, regions: Sequence[Counts] = ()) -> Likelihood:
    """Build the likelihood of events that are in memory, and of counts in binned regions."""
    from needle_parsl.nsbi.statistics.model.building import Builder

    return Builder.of(spec.model, spec.shapes).likelihood(data, simulation, regions)


def expected(spec: specs.Fit) -> specs.Fit:
    """Say that Asimov data is fitted."""
    return replace(spec, dataset="asimov")


def provenance(root: str) -> Provenance:
    """Read what the run is made from, and with."""
    from needle_parsl.nsbi.report.gathering import Provenance

    state = rundir.read_json(Path(root) / rundir.RUN)
    versions = {"needle": state["needle"], **state["versions"]}
    return Provenance(
        versions,
        {path: found["digest"] for path, found in state["inputs"]["files"].items()},
        (Path(root) / rundir.ANALYSIS).read_text(encoding="utf-8"),
        [f"{one['who']}, {one['when']}, by {one['how']}" for one in state["unblinded"]],
    )


def blocks(root: str, names: tuple[str, ...]) -> Block:
    """Read the blocks of one truth."""
    from needle_parsl.nsbi.statistics import blocks

    return blocks.Block.join([blocks.read(path(root, "toys", name)) for name in names])


def simulated(root: str, spec: specs.Evaluate, ratios: Mapping[str, Estimator]) -> Dataset:
    """Evaluate ratios on the test events of the samples."""
    from needle_parsl.nsbi.statistics import dataset

    parts = {s.density.name: part(root, s.density.name, spec.splitting, "test") for s in spec.samples}
    return dataset.simulated(parts, yields(root, spec), ratios)


def fitted(root: str, spec: specs.Fit) -> Dataset:
    """Read the events of a fit; Asimov events are weighted to the nominal parameters."""
    found = dataset(root, spec.dataset)
    return found if spec.dataset != "asimov" else weighted(spec, found)


def weighted(spec: specs.Fit, found: Dataset) -> Dataset:
    """Weight simulated events to the nominal parameters: Asimov data."""
    from needle_parsl.nsbi.statistics.dataset import at
    from needle_parsl.nsbi.statistics.model import Rates

    rates = Rates.build(spec.model)
    return at(found, dict(zip(rates.processes, rates.factors(rates.start)[0], strict=True)))


def exact_likelihood(root: str, spec: specs.Exact, learned: Likelihood) -> ExactLikelihood:
    """Build the likelihood with exact densities for the events, yields and constraints of the learned one."""
    from needle_parsl.nsbi.estimators.exact import log_mixture
    from needle_parsl.nsbi.statistics.exact import ExactLikelihood

    density, data = log_density(spec.physics), fitted(root, spec.fit)
    log_reference = log_mixture(density, shares(root, spec.reference), data.x.astype("float64"))
    shapes = {name: [s.nuisance for s in spec.fit.shapes if s.process == name] for name in learned.rates.processes}
    return ExactLikelihood(learned, data, density, shapes, log_reference)
