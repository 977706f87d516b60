"""A dataset: weighted events with every learned log ratio, and what the model needs to know of the samples' yields."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from needle_parsl.densities import knot
from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.placeholders import unknown_categories

if TYPE_CHECKING:
    from needle_parsl.nsbi.estimators.estimator import Estimator  # brings torch, which fits do without

Floats = npt.NDArray[np.float64]
LARGEST = 700.0
"""ln r beyond which r is no number of double precision."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Events of an Asimov data set, or observed ones."""

    x: npt.NDArray[np.float32]
    """Features, shape (N, F)."""
    weight: Floats
    """Shape (N,); a simulated process adds up to its yield, an observed event counts 1."""
    sample: npt.NDArray[np.int64]
    """Index into `samples`, shape (N,); -1 for observed events."""
    samples: tuple[str, ...]
    ratios: Mapping[str, Floats]
    """Log ratio by name, each of shape (N,)."""
    yields: Mapping[str, float]
    """Expected events by sample and by varied sample, `background.jes.up`; empty for observed events."""
    priors: Mapping[str, float] = field(default_factory=dict)
    """Expected events of each process at which ratios are normalised; empty where they are normalised otherwise, or for observed events."""

    @staticmethod
    def of(
        x: npt.ArrayLike,
        ratios: Mapping[str, Floats],
        *,
        weight: Floats | None = None,
        samples: Mapping[str, int] | None = None,
        yields: Mapping[str, float] | None = None,
    ) -> Dataset:
        """Make a dataset of arrays.

        Args:
            x: Features, shape (N,) or (N, F).
            ratios: Log ratio by name, each of shape (N,).
            weight: Shape (N,); left out, every event counts 1.
            samples: For simulated events, one sample behind the other: how many events each has. Left out, all are observed.
            yields: For simulated events, what is expected by sample and varied sample.
        """
        features = np.asarray(x, dtype=np.float32)
        size, numbers = len(features), list((samples or {}).values())
        sample = np.repeat(np.arange(len(numbers)), numbers) if samples else np.full(size, -1)
        counted = np.ones(size) if weight is None else weight
        return Dataset(
            x=features.reshape(size, math.prod(features.shape[1:])),
            weight=counted,
            sample=sample,
            samples=tuple(samples or ()),
            ratios=ratios,
            yields=yields or {},
        )


def nothing(yields: Mapping[str, float] | None = None) -> Dataset:
    """Give the events of an analysis of binned regions alone.

    Args:
        yields: What is expected in the regions, by sample and varied sample.
    """
    return Dataset(
        x=np.empty((0, 0), np.float32),
        weight=np.empty(0),
        sample=np.empty(0, np.int64),
        samples=(),
        ratios={},
        yields=yields or {},
    )


class Knots(NamedTuple):
    """Values of a parameter of the simulation at which ratios are evaluated."""

    nominal: float
    values: tuple[float, ...]
    processes: tuple[str, ...]
    """Whose ratios depend on it."""


def simulated(
    parts: Mapping[str, Events],
    yields: Mapping[str, float],
    ratios: Mapping[str, Estimator],
    priors: Mapping[str, float] | None = None,
    knots: Knots | None = None,
) -> Dataset:
    """Make the simulation behind Asimov data and toys: the test events of samples, each weighted to its nominal yield.

    Args:
        parts: Test events by sample.
        yields: Expected events by sample and varied sample.
        ratios: The estimators.
        priors: See `Dataset`.
        knots: Of a parameter of the simulation; parts of processes that depend on it are events of the reference, which are weighted to its
            nominal value.

    Raises:
        TaskError: A ratio is no finite number for some events.
    """
    joined = Events.join([*parts.values()], next(iter(parts.values())).names)
    sample = np.repeat(np.arange(len(parts)), [len(events) for events in parts.values()])
    log_ratios = _evaluated(joined, ratios, knots, "simulated", lambda estimator: estimator.of(joined))
    raw = joined.weight.copy()
    for name in (one for one in (knots.processes if knots else ()) if one in parts):
        own = sample == list(parts).index(name)
        raw[own] *= np.exp(log_ratios[name][own])
    totals = np.bincount(sample, raw, len(parts))
    weight = raw * np.array([yields[name] for name in parts])[sample] / totals[sample]
    return Dataset(
        x=joined.x,
        weight=weight,
        sample=sample,
        samples=tuple(parts),
        ratios=log_ratios,
        yields=yields,
        priors=priors or {},
    )


def at(simulation: Dataset, multipliers: Mapping[str, float]) -> Dataset:
    """Weight simulated events to a point of the model: every process by its multiplier there."""
    factors = np.array([multipliers[name] for name in simulation.samples])
    return replace(simulation, weight=simulation.weight * factors[simulation.sample])


def _evaluated(
    events: Events, ratios: Mapping[str, Estimator], knots: Knots | None, kind: str, of: Callable[[Estimator], Floats]
) -> dict[str, Floats]:
    """Evaluate all ratios; those that depend on a parameter of the simulation at its nominal value and at all knots."""
    found = {}
    for name, estimator in ratios.items():
        if knots is None or name not in knots.processes:
            found[name] = _judged(name, of(estimator), kind)
            continue
        found[name] = _judged(name, estimator.at(events.inputs, knots.nominal), kind)
        for number, value in enumerate(knots.values):
            found[knot(name, number)] = _judged(name, estimator.at(events.inputs, value), kind)
    return found


def observed(
    events: Events, ratios: Mapping[str, Estimator], knots: Knots | None = None, *, folds: bool = False
) -> Dataset:
    """Make the data set of observed events.

    Args:
        events: Observed ones.
        ratios: The estimators.
        knots: Of a parameter of the simulation.
        folds: Whether each event is evaluated by the networks of one fold alone, as simulated events are, instead of by all: ln r is then
            distributed as theirs is.

    Raises:
        InputError: Some have categories that no training event of a ratio has.
        TaskError: A ratio is no finite number for some events.
    """
    plain = {name: own for name, own in ratios.items() if not (knots and name in knots.processes)}
    for name, estimator in plain.items():
        transform = estimator.transform
        for feature, values in transform.unknown(events.x[:, : transform.inputs]).items():
            raise InputError(f"sample observed: {unknown_categories(feature, values, f'training event of {name}')}")
    inputs = events.inputs
    log_ratios = _evaluated(
        events, ratios, knots, "observed", lambda own: own.of(events) if folds else own.log_ratio(inputs)
    )
    return Dataset(
        x=events.x, weight=events.weight, sample=np.full(len(events), -1), samples=(), ratios=log_ratios, yields={}
    )


def _judged(name: str, log_ratio: Floats, kind: str) -> Floats:
    """Refuse a ratio of which no likelihood can be made: one event without a number would leave every fit without one."""
    lost = int((~np.isfinite(log_ratio)).sum())
    large = int((log_ratio[np.isfinite(log_ratio)] > LARGEST).sum())
    if lost or large:
        what = f"ln r is not finite for {lost}" if lost else f"r overflows, ln r > {LARGEST:g}, for {large}"
        raise TaskError(
            f"ratio {name}: {what} of {len(log_ratio)} {kind} events, so that nothing can be fitted; look for feature values "
            "far from all others there, and for members that diverged in diagnostics.json"
        )
    return log_ratio


def write(path: Path, dataset: Dataset) -> None:
    """Write a dataset as HDF5."""
    with h5py.File(path, "w") as file:
        file["x"], file["weight"], file["sample"] = dataset.x, dataset.weight, dataset.sample
        for name, values in dataset.ratios.items():
            file[f"log_ratio/{name}"] = values
        for name, value in (
            ("samples", dataset.samples),
            ("yields", dict(dataset.yields)),
            ("priors", dict(dataset.priors)),
        ):
            file.attrs[name] = json.dumps(value)


def read(path: Path) -> Dataset:
    """Read a dataset."""
    with hdf5.opened(path, "dataset of ratios") as file:
        group = file.get("log_ratio", {})
        return Dataset(
            x=file["x"][...],
            weight=file["weight"][...],
            sample=file["sample"][...],
            samples=tuple(json.loads(file.attrs["samples"])),
            ratios={name: values[...] for name, values in group.items()},
            yields=json.loads(file.attrs["yields"]),
            priors=json.loads(file.attrs.get("priors", "{}")),
        )
