"""The task that normalises ratios at the expected yields, before their estimators are made."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from needle_parsl import refs
from needle_parsl.analysis import catalogue
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import composing, yield_scales
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.estimators.yield_scales import Simulated, YieldScales
from needle_parsl.nsbi.training import packs
from needle_parsl.nsbi.training.packs import Pack
from needle_parsl.plan import Task, specs
from needle_parsl.records import Record, writing
from needle_parsl.tasks import found_settings, inputs


def normalise(root: str, task: Task, *_before: Record) -> Record:
    """Fit slopes and offsets of ratios that belong together."""
    spec = task.of(specs.Normalise)
    with writing(root, task) as out:
        raw = {
            one.ratio.name: made(root, one, packs.join([packs.read(inputs.path(root, "train", n)) for n in one.packs]))
            for one in spec.ratios
        }
        nominal = yield_scales.read(inputs.path(root, "normalise", spec.nominal)) if spec.nominal else None
        yield_scales.write(out.path, normalised(root, spec, raw, nominal))
    return out.record(root)


def made(root: str, spec: specs.Combine, pack: Pack, resampled: int | None = None) -> Estimator:
    """Combine the members of a ratio; what needs no events is not given any.

    Args:
        root: The run directory.
        spec: How.
        pack: The members.
        resampled: Salt of the Poisson weights of a replica.
    """
    spec = found_settings.combining(root, spec)
    crossed = (spec.splitting.folds, spec.splitting.fold_salt) if spec.splitting.folds else None
    kind = spec.normalise if spec.normalise in ("reference", "none") else "none"
    combine = refs.located(spec.combine, spec.code.source, spec.code.path) if spec.code else spec.combine
    how = composing.How(combine, spec.quorum, spec.calibration, kind, crossed)
    pack = inputs.headed(root, spec.ratio, pack)
    calibrated = spec.calibration != catalogue.NO_CALIBRATION
    needed = catalogue.combiner(spec.combine).fitted or calibrated or kind == "reference"
    if not needed:
        names = inputs.features(root, spec.ratio.densities()[-1].name)
        return composing.combined(spec.ratio.name, pack, names, how)
    samples = inputs.both(root, spec, "combine", own_ids=crossed is None, resampled=resampled)
    return composing.compose(spec.ratio.name, pack, samples, how)


def normalised(
    root: str,
    spec: specs.Normalise,
    raw: Mapping[str, Estimator],
    nominal: YieldScales | None,
    resampled: int | None = None,
) -> YieldScales:
    """Normalise ratios.

    Args:
        root: The run directory.
        spec: Which.
        raw: Not normalised.
        nominal: For variations, the normalisation of the nominal ratios, if there are any.
        resampled: Salt of the Poisson weights of a replica.
    """
    simulation, first = simulated(root, spec, resampled), spec.ratios[0].ratio
    if not first.varied:
        shares = {density.name: expected for density, expected in inputs.shares(root, first.denominator)}
        return yield_scales.processes(simulation, raw, shares, shared=spec.shared)
    joined, place = simulation.joined(), simulation.processes.index(first.numerator.sample)
    weight = nominal.weight[place] if nominal else joined.weight * (simulation.labels() == place)
    own = {one.ratio.name: _events(root, spec, one.ratio.numerator.name, resampled) for one in spec.ratios}
    together = tuple(one.ratio.name for one in spec.ratios if one.ratio.surrogate)
    return yield_scales.variations(joined, weight, own, simulation.events[place], raw, together)


def simulated(root: str, spec: specs.Normalise, resampled: int | None = None) -> Simulated:
    """Read the nominal events of all processes, and at which yields they count."""
    names = tuple(share.density.name for share in spec.samples)
    expected = np.array([value for _, value in inputs.shares(root, spec.samples)])
    events = tuple(_events(root, spec, name, resampled) for name in names)
    return Simulated(names, events, expected * np.array(spec.multipliers))


def _events(root: str, spec: specs.Normalise, name: str, resampled: int | None) -> Events:
    events = inputs.part(root, name, spec.ratios[0].splitting, "combine")
    return events if resampled is None else events.resampled(resampled)
