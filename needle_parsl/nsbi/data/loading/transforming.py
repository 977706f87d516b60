"""The transform of features, fitted to events in memory, or to those of stores, the same for every reader of these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.loading.stretches import SCAN, Stretch
from needle_parsl.nsbi.data.store import Store
from needle_parsl.nsbi.transforms import fitting
from needle_parsl.nsbi.transforms.fitting import Portion
from needle_parsl.nsbi.transforms.transform import Transform
from needle_parsl.nsbi.transforms.wanted import Wanted


def fitted(samples: Sequence[Events], wanted: Wanted | None = None) -> Transform:
    """Fit a transform to samples in memory, which count alike; of a large one, to events from all over it.

    Args:
        samples: At least one with events.
        wanted: What the analysis asks for.

    Raises:
        InputError: A feature cannot bear the transform that is asked for.
    """
    wanted, most = wanted or Wanted(), fitting.share(len(samples))
    some = [sample.take(slice(0, None, -(-len(sample) // most))) for sample in samples if len(sample)]
    found = fitting.fit([Portion(sample.x, sample.weight) for sample in some], samples[0].names, wanted)
    found = fitting.with_categories(found, (sample.x for sample in samples))
    jets = [(s.particles, s.weight) for s in some if s.particles is not None]
    if not jets:
        return found
    portions = [Portion(packed.values, np.repeat(weight, packed.counts)) for packed, weight in jets]
    names = [f"particle[{k}]" for k in range(portions[0].x.shape[1])]
    return replace(found, particles=fitting.fit(portions, names, wanted, particles=True))


def fitted_to_stores(found: Sequence[Stretch], wanted: Wanted | None = None) -> Transform:
    """Fit a transform to the first events of each stretch; a store has them in random order.

    Args:
        found: Where events are. The first store has all features, and others may lack the last ones, which are parameters.
        wanted: What the analysis asks for.

    Raises:
        InputError: A feature cannot bear the transform that is asked for.
    """
    wanted, most = wanted or Wanted(), fitting.share(len(found))
    with Store(found[0].path) as store:
        names, jets = store.schema.features, store.schema.particles
    ends = [min(stretch.start + most, stretch.stop) for stretch in found]
    weights = [_raw(s, "weight", s.start, stop) for s, stop in zip(found, ends, strict=True)]
    x = [_raw(s, "x", s.start, stop) for s, stop in zip(found, ends, strict=True)]
    portions = [Portion(_filled(own, x[0]), weight) for own, weight in zip(x, weights, strict=True)]
    made = fitting.with_categories(fitting.fit(portions, names, wanted), _all(found))
    if not jets:
        return made
    portions = [_particles(s, stop, weight) for s, stop, weight in zip(found, ends, weights, strict=True)]
    return replace(made, particles=fitting.fit(portions, jets, wanted, particles=True))


def _raw(stretch: Stretch, name: str, start: int, stop: int) -> npt.NDArray[Any]:
    with Store(stretch.path) as store:
        return store.raw(name, start, stop)


def _filled(x: npt.NDArray[np.float32], first: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Give a sample without parameters those of another one."""
    lacking = first[:, x.shape[1] :]
    return np.concatenate([x, np.resize(lacking, (len(x), lacking.shape[1]))], axis=1) if lacking.size else x


def _all(found: Sequence[Stretch]) -> Iterator[npt.NDArray[np.float32]]:
    """Read all features, some events at a time."""
    for stretch in found:
        for start in range(stretch.start, stretch.stop, SCAN):
            yield _raw(stretch, "x", start, min(start + SCAN, stretch.stop))


def _particles(stretch: Stretch, stop: int, weight: npt.NDArray[np.float64]) -> Portion:
    """Read the particles of the first events; each counts as its event does."""
    offsets = _raw(stretch, "offsets", stretch.start, stop + 1)
    values = _raw(stretch, "particles", int(offsets[0]), int(offsets[-1]))
    return Portion(values, np.repeat(weight, np.diff(offsets)))
