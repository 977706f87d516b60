"""The events of a ratio, and its exact value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from needle_parsl import refs, salts
from needle_parsl.analysis import catalogue
from needle_parsl.densities import Density
from needle_parsl.nsbi.data import hashing, parameters
from needle_parsl.nsbi.data.events import Events, Part
from needle_parsl.nsbi.data.loading.stretches import Stretch, held, located
from needle_parsl.nsbi.data.loading.transforming import fitted_to_stores
from needle_parsl.nsbi.estimators.exact import guarded, log_mixture
from needle_parsl.nsbi.estimators.joint import Role
from needle_parsl.nsbi.physics import LogDensity
from needle_parsl.nsbi.statistics.dataset import Dataset, Floats
from needle_parsl.nsbi.training import heads, packs, quadratic
from needle_parsl.nsbi.training.networks import NetworkShape
from needle_parsl.nsbi.training.packs import Pack
from needle_parsl.nsbi.training.ratio_events import BELOW, BOTH, RatioEvents
from needle_parsl.nsbi.training.stored_events import StoredEvents
from needle_parsl.plan import specs
from needle_parsl.tasks.inputs.stores import fractions, part, path, shares, total

Ratioed = specs.Combine | specs.Diagnose
"""Specs of tasks that work on the events of one ratio."""


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


def roles(root: str, spec: specs.CovarianceSpec) -> Iterator[list[Role]]:
    """Read sample by sample what its events, varied or not, have done to the weights of each ratio."""
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

    return replace(events, id=hashing.mix(events.id, salts.key("sample", density.sample)))


def training_events(root: str, spec: specs.Train) -> RatioEvents | StoredEvents:
    """Read the training events of a ratio, or leave them in their stores where there are too many to hold."""
    ratio, splitting, loss = spec.ratio, spec.splitting, catalogue.loss(spec.training.loss)
    if isinstance(ratio, specs.Surrogate):
        *points, nominal = (part(root, density.name, splitting, "train") for density in ratio.densities())
        grid = [(density.nuisances(), events) for density, events in zip(ratio.points, points, strict=True)]
        return quadratic.on_grid(ratio.nuisances, nominal, grid, spec.transform)
    joint = ratio.name if loss.joint else ""
    found = _stretches(root, ratio, splitting, joint)
    if loss.below:
        found = [stretch for stretch in found if stretch.label == 0]
    many = held(found) > spec.training.memory_mib * 2**20
    transform = fitted_to_stores(found, spec.transform)
    if isinstance(ratio, specs.Classes):
        if many:
            return StoredEvents.of(found, dict(enumerate(density.name for density in ratio.samples)), transform)
        return RatioEvents.of_classes(
            {d.name: part(root, d.name, splitting, "train") for d in ratio.samples}, transform
        )
    if many and not ratio.parameters:  # a draw of parameters needs all of the numerator's
        return StoredEvents.of(found, BELOW if loss.below else BOTH, transform)
    numerator, denominator = pair(root, ratio, splitting, "train")
    return RatioEvents.build(None if loss.below else numerator, denominator, joint, transform)


HELD = 256 * 2**20
"""Bytes of events that a process keeps between the packs of a search."""
_kept: dict[str, RatioEvents] = {}
"""Events that this process has read, the latest last."""


def kept_training_events(root: str, spec: specs.Train) -> RatioEvents | StoredEvents:
    """Read the training events of a ratio, or take those that this process has read for another pack of the search; the last few are kept."""
    stores = [path(root, "convert", density.name) for density in spec.ratio.densities()]
    stamps = [(str(one), one.stat().st_mtime_ns, one.stat().st_size, one.stat().st_ino) for one in stores]
    key = repr((replace(spec, members=()), stamps))
    found = _kept.pop(key, None) or training_events(root, spec)
    if isinstance(found, StoredEvents):
        return found
    _kept[key] = found
    while sum(map(_bytes, _kept.values())) > HELD:
        del _kept[next(iter(_kept))]
    return found


def _bytes(events: RatioEvents) -> int:
    """Count what events take in memory, about."""
    jets = events.particles
    return int(
        events.x.nbytes + events.weight.nbytes + events.id.nbytes + (jets.values.nbytes if jets is not None else 0)
    )


def _stretches(root: str, ratio: specs.Ratio | specs.Classes, splitting: specs.Splitting, joint: str) -> list[Stretch]:
    """Locate the training events of a ratio, or of all classes; each sample of a denominator counts by its yield."""

    def one(density: Density, label: float, factor: float) -> Stretch:
        return located(path(root, "convert", density.name), "train", fractions(splitting), label, factor, joint)

    if isinstance(ratio, specs.Classes):
        return [one(density, number, 1.0) for number, density in enumerate(ratio.samples)]
    below = [one(d, 0.0, expected / total(root, d.name)) for d, expected in shares(root, ratio.denominator)]
    return [one(ratio.numerator, 1.0, 1.0), *below]


def headed(root: str, ratio: specs.Ratio, pack: Pack) -> Pack:
    """Let networks of many classes, or of a surrogate, give one ratio; others do already."""
    if ratio.surrogate:
        return quadratic.at(pack, ratio.nu())
    return packs.headed(pack, partial(_head, root, ratio))


def _head(root: str, ratio: specs.Ratio, shape: NetworkShape) -> NetworkShape:
    if not shape.head:
        return shape
    below = {density.name: expected for density, expected in shares(root, ratio.denominator)}
    return replace(shape, head=heads.of_ratio(shape.head, ratio.name, below))


def log_density(physics: specs.Physics) -> LogDensity:
    """Load `log_density` of the user's Python file."""
    return guarded(refs.resolve("physics.py:log_density", physics.source, physics.path))


def exact_log_ratio(root: str, physics: specs.Physics, ratio: specs.Ratio, events: Events | Dataset) -> Floats:
    """Compute the exact log ratio of events."""
    density, x = log_density(physics), events.x.astype("float64")
    above, below = [(ratio.numerator, 1.0)], shares(root, ratio.denominator)
    return log_mixture(density, above, x) - log_mixture(density, below, x)
