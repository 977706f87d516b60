"""The normalisation of estimators at the expected yields: of all processes together, then of the variations of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import offsets
from needle_parsl.nsbi.estimators.estimator import Estimator

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class YieldScale:
    """What ln r of one ratio is multiplied with, and what is added then."""

    slope: float
    offset: float
    slope_error: float
    """From the finite number of simulated events."""
    offset_error: float
    """Likewise; that of a variation is 0, since its centre is what these very events have."""

    def apply(self, estimator: Estimator) -> Estimator:
        """Normalise an estimator that is not normalised yet."""
        return replace(estimator, slope=self.slope, log_norm=-self.offset)


@dataclass(frozen=True)
class YieldScales:
    """Of ratios that belong together."""

    scales: Mapping[str, YieldScale]
    """By ratio."""
    loss: tuple[float, float]
    """Mean cross-entropy of events that did not train, at the yields: before and after."""
    weight: Floats
    """w_i P_ij of all nominal simulated events, shape (J, N): how much of process j an event is. Empty for variations."""


@dataclass(frozen=True)
class Simulated:
    """Nominal events of all processes, one behind the other."""

    processes: tuple[str, ...]
    events: tuple[Events, ...]
    """Of each."""
    yields: Floats
    """Expected events, at which all is normalised; shape (J,)."""

    def joined(self) -> Events:
        """Put all events behind each other, with weights that add up to the yields."""
        parts = [
            replace(own, weight=own.weight * (expected / own.weight.sum()))
            for own, expected in zip(self.events, self.yields, strict=True)
        ]
        return Events.join(parts, parts[0].names)

    def labels(self) -> npt.NDArray[np.int64]:
        """Number the processes of the events."""
        return np.repeat(np.arange(len(self.events)), [len(own) for own in self.events])


def processes(
    simulated: Simulated, raw: Mapping[str, Estimator], shares: Mapping[str, float], *, shared: bool
) -> YieldScales:
    """Normalise the nominal ratios together.

    Args:
        simulated: Events that trained nothing, or that are evaluated out of their fold.
        raw: Not normalised, by process; one without is the reference.
        shares: Expected events of the samples in the reference.
        shared: Whether all have one slope.

    Raises:
        TaskError: It cannot be found.
    """
    joined, names = simulated.joined(), simulated.processes
    log_ratio = np.array([raw[name].of(joined) if name in raw else np.zeros(len(joined)) for name in names])
    _finite(log_ratio, names)
    learned = [name for name in names if name in raw]
    slopes = [-1 if name not in raw else 0 if shared else learned.index(name) for name in names]
    events = offsets.Labelled(log_ratio, simulated.labels(), joined.weight, joined.id)
    found = offsets.fit(events, slopes)
    offset = offsets.gauge(found.offset, np.array([shares.get(name, 0.0) for name in names]))
    scales = {
        name: YieldScale(*map(float, (found.slope[j], offset[j], found.slope_error[j], found.offset_error[j])))
        for j, name in enumerate(names)
        if name in raw
    }
    share = offsets.posterior(found.slope[:, None] * log_ratio + offset[:, None], simulated.yields)
    return YieldScales(scales, found.loss, share * joined.weight)


def variations(
    joined: Events,
    weight: Floats,
    own: Mapping[str, Events],
    nominal: Events,
    raw: Mapping[str, Estimator],
    together: Sequence[str] = (),
) -> YieldScales:
    """Normalise the variations of a process: a slope for each, and a centre over all events, each as far as it is of this process.

    Args:
        joined: Nominal events of all processes.
        weight: w_i P_ij for this process, shape (N,).
        own: Events of each variation.
        nominal: Nominal events of the process.
        raw: The ratios over the nominal sample, not normalised, by variation.
        together: Variations that have one slope, since one network gives them, and stay a quadratic form.

    Raises:
        TaskError: It cannot be found.
    """
    classes = Simulated(("", *raw), (nominal, *(own[name] for name in raw)), np.ones(1 + len(raw)))
    every = classes.joined()
    log_ratio = np.array([np.zeros(len(every)), *(estimator.of(every) for estimator in raw.values())])
    _finite(log_ratio, classes.processes)
    groups = [together[0] if name in together else name for name in raw]
    slopes = [[*dict.fromkeys(groups)].index(group) for group in groups]
    found = offsets.fit(offsets.Labelled(log_ratio, classes.labels(), every.weight, every.id), [-1, *slopes])
    scales = {}
    for place, (name, estimator) in enumerate(raw.items(), 1):
        slope = float(found.slope[place])
        offset = offsets.centre(slope * estimator.of(joined), weight)
        scales[name] = YieldScale(slope, offset, float(found.slope_error[place]), 0.0)
    return YieldScales(scales, found.loss, np.empty((0, 0)))


def _finite(log_ratio: Floats, names: tuple[str, ...]) -> None:
    """Refuse ratios that are no numbers, with their names."""
    for name, row in zip(names, log_ratio, strict=True):
        if bad := int((~np.isfinite(row)).sum()):
            raise TaskError(f"ratio {name}: ln r is no number for {bad} of {len(row)} simulated events")


def write(path: Path, found: YieldScales) -> None:
    """Write a normalisation as HDF5."""
    with h5py.File(path, "w") as file:
        file.attrs["scales"] = json.dumps({name: asdict(scale) for name, scale in found.scales.items()})
        file.attrs["loss"] = found.loss
        file["weight"] = found.weight


def read(path: Path) -> YieldScales:
    """Read a normalisation."""
    with hdf5.opened(path, "normalisation of ratios") as file:
        scales = {name: YieldScale(**table) for name, table in json.loads(file.attrs["scales"]).items()}
        before, after = file.attrs["loss"]
        return YieldScales(scales, (float(before), float(after)), file["weight"][...])
