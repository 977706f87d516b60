"""What the networks add to the errors of a fit: the finite simulation that trained them, and the noise of training.

With cross-fitting, the networks of fold k are those of a simulation without its events: a delete-a-group jackknife. With scores
s_k(x) = d ln lambda / d theta of the model that the networks of fold k make, normalised like the whole,

    V = C [ (K - 1) / K sum_k E(d_k d_k^T) - (K - 2) / m E(t t^T) ] C,   d_k = s_k - mean_k s

is the variance of the fitted parameters over simulations and seeds, for the same data. E is the sum over expected events, C the covariance of
the fit, m the networks of a fold and t their scatter about it: the jackknife takes their noise for K - 1 times the error of the simulation. What the
finite simulation does to the normalisation is not in it, see `model.finite`.

References:
    B. Efron, C. Stein, Ann. Stat. 9 (1981) 586; J. Shao, C. F. J. Wu, Ann. Stat. 17 (1989) 1176.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.estimators import offsets
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.rows import FLOOR

if TYPE_CHECKING:
    from needle_parsl.nsbi.data.events import Events
    from needle_parsl.nsbi.estimators.estimator import Estimator  # brings torch, which fits do without

Floats = npt.NDArray[np.float64]
EVENTS = 5_000
"""Simulated events of each process on which networks are compared."""
GROUP = "networks"
Build = Callable[[Dataset, Dataset], Likelihood]
"""Makes the likelihood of events, with others behind Z_j."""


@dataclass(frozen=True)
class Networks:
    """The networks of cross-fitted ratios, one by one, on some of the simulated events of a dataset."""

    rows: npt.NDArray[np.int64]
    """Which events, shape (S,)."""
    log_ratio: Mapping[str, npt.NDArray[np.float32]]
    """By ratio, with the slope of the ensemble and without its offset: mean of the members m < M of each fold, and the members themselves;
    shape (K, 1 + M, S)."""

    @property
    def members(self) -> int:
        """Count the members of a fold."""
        return int(next(iter(self.log_ratio.values())).shape[1]) - 1


def chosen(parts: Mapping[str, Events]) -> tuple[npt.NDArray[np.int64], dict[str, Events]]:
    """Take the first events of each process, which are a random choice, and say where they are among all."""
    starts = np.cumsum([0, *(len(events) for events in parts.values())])
    kept = {name: events.take(slice(0, EVENTS)) for name, events in parts.items()}
    rows = [start + np.arange(len(own)) for start, own in zip(starts, kept.values(), strict=False)]
    return np.concatenate(rows), kept


def evaluated(x: npt.NDArray[np.float32], estimator: Estimator) -> npt.NDArray[np.float32] | None:
    """Evaluate the networks of a ratio, fold by fold; None where events are not cross-fitted, or a fold has lost networks.

    Args:
        x: `Events.inputs`.
        estimator: The ratio.
    """
    crossed = estimator.crossed
    if crossed is None:
        return None
    members = estimator.slope * estimator.members(x)
    folds = [members[crossed.fold == fold] for fold in range(crossed.folds)]
    if len({len(own) for own in folds}) != 1:
        return None
    return np.array([np.concatenate([own.mean(axis=0)[None], own]) for own in folds], np.float32)


def write(path: Path, networks: Networks) -> None:
    """Add the networks to the file of a dataset."""
    with h5py.File(path, "a") as file:
        group = file.create_group(GROUP)
        group["rows"] = networks.rows
        for name, values in networks.log_ratio.items():
            group[f"log_ratio/{name}"] = values


def read(path: Path) -> Networks | None:
    """Read the networks behind a dataset; None where ratios are not cross-fitted."""
    with hdf5.opened(path, "dataset of ratios") as file:
        if GROUP not in file:
            return None
        group = file[GROUP]
        return Networks(group["rows"][...], {name: values[...] for name, values in group["log_ratio"].items()})


def covariance(networks: Networks, simulation: Dataset, best: Result, build: Build) -> Floats:
    """Estimate what the networks add to the covariance of the fitted parameters, shape (P, P).

    Args:
        networks: On some of the simulated events.
        simulation: All of these, each process weighted to its yield.
        best: The fit.
        build: Makes likelihoods of the model.
    """
    some = taken(simulation, networks.rows)
    folds, several, _ = next(iter(networks.log_ratio.values())).shape
    slopes = np.array([
        [scores(some, {name: values[k, m] for name, values in networks.log_ratio.items()}, best, build) for m in range(several)]
        for k in range(folds)
    ])  # fmt: skip
    weight = np.abs(expected(some, best))
    mean, single = slopes[:, 0], slopes[:, 1:]
    jackknife = (folds - 1) / folds * _summed(mean - mean.mean(axis=0), weight)
    members = several - 1
    noise = _summed((single - mean[:, None]).reshape(-1, *mean.shape[1:]), weight) / max(folds * (members - 1), 1)
    least = noise / (folds * members)
    c = best.theta_covariance
    found, floor = (c @ (jackknife - (folds - 2) / members * noise) @ c, c @ least @ c)
    stretch = best.rates.stretch(best.theta)
    kept = found if (np.diag(found) >= np.diag(floor)).all() else _raised(found, floor)
    whole: Floats = kept * np.outer(stretch, stretch)
    return whole


def _raised(found: Floats, floor: Floats) -> Floats:
    """Take the noise of training alone where more of it was taken away than there is."""
    low = np.diag(found) < np.diag(floor)
    return np.where(low[:, None] | low, floor, found)


def _summed(deviations: Floats, weight: Floats) -> Floats:
    """Give sum_k sum_e w_e d_ke d_ke^T of deviations of shape (k, P, S)."""
    total: Floats = np.einsum("kpe,kqe,e->pq", deviations, deviations, weight)
    return total


def taken(simulation: Dataset, rows: npt.NDArray[np.int64]) -> Dataset:
    """Keep some events, each process with its yield."""
    sample, weight = simulation.sample[rows], simulation.weight[rows]
    sums, whole = (
        np.bincount(s, w, len(simulation.samples))
        for s, w in ((sample, weight), (simulation.sample, simulation.weight))
    )
    scale = np.divide(whole, sums, out=np.zeros_like(sums), where=sums > 0)
    ratios = {name: values[rows] for name, values in simulation.ratios.items()}
    return replace(simulation, x=simulation.x[rows], weight=weight * scale[sample], sample=sample, ratios=ratios)


def expected(some: Dataset, best: Result) -> Floats:
    """Weight the events to the best fit, as far as the rates of processes go; shape (S,)."""
    factors = best.rates.factors(best.theta)[0]
    weight: Floats = some.weight * factors[some.sample]
    return weight


def scores(some: Dataset, raw: Mapping[str, npt.NDArray[np.float32] | Floats], best: Result, build: Build) -> Floats:
    """Give d ln lambda / d theta of each event with ratios of their own, shape (P, S); their normalisation is made again."""
    ratios = {name: values.astype(np.float64) for name, values in raw.items()}
    own = replace(some, ratios=_Scales.of(some, ratios, slopes=False).apply(ratios))
    likelihood = build(own, own)
    (table,) = likelihood.of_kind("events")
    at = likelihood.point(table, best.theta)
    found: Floats = at.slopes / np.maximum(at.density, FLOOR)
    return found


def renormalised(simulation: Dataset, ratios: Mapping[str, Floats]) -> dict[str, Floats]:
    """Give ratios the slope and the offsets that simulated events have at the expected yields, and center responses there.

    Args:
        simulation: With ratios of their own, which were evaluated out of fold.
        ratios: Of other events, from the same networks.
    """
    found = _Scales.of(simulation, simulation.ratios, slopes=True)
    return found.apply(ratios)


@dataclass(frozen=True)
class _Scales:
    """Of nominal ratios slope and offset, of responses the centre."""

    slope: float
    offset: Mapping[str, float]

    @staticmethod
    def of(simulation: Dataset, raw: Mapping[str, Floats], *, slopes: bool) -> _Scales:
        """Normalise ratios of simulated events at the yields.

        Args:
            simulation: The events.
            raw: Their ratios.
            slopes: Whether nominal ratios get a common slope, too; else it is 1.
        """
        names, flat = list(simulation.priors), np.zeros(len(simulation.weight))
        prior = np.array([simulation.priors[name] for name in names])
        scale = prior / np.array([simulation.yields[name] for name in names])
        weight = simulation.weight * scale[simulation.sample]
        log_ratio = np.array([raw.get(name, flat) for name in names])
        ids = np.arange(len(flat), dtype=np.uint64)
        free = [0 if slopes and name in raw else -1 for name in names]
        found = offsets.fit(offsets.Labelled(log_ratio, simulation.sample, weight, ids), free)
        share = offsets.posterior(found(log_ratio), prior) * weight
        reference = next((float(found.offset[j]) for j, name in enumerate(names) if name not in raw), 0.0)
        offset = {name: float(found.offset[j]) - reference for j, name in enumerate(names) if name in raw}
        for name, values in raw.items():
            process = name.partition(".")[0]
            if name not in offset and process in names:
                offset[name] = offsets.centre(values, share[names.index(process)])
        slope = next((float(found.slope[j]) for j, name in enumerate(names) if name in raw), 1.0)
        return _Scales(slope, offset)

    def apply(self, raw: Mapping[str, Floats]) -> dict[str, Floats]:
        """Normalise ratios; those of which nothing is known stay as they are."""
        return {
            name: (self.slope if "." not in name else 1.0) * values + self.offset.get(name, 0.0)
            for name, values in raw.items()
        }
