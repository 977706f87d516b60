"""Uncertainty from the finite simulation behind ratios and the noise of their training, from replicas of everything.

A replica trains all ratios on events with Poisson(1) weights, one draw per event whatever the ratio, and fits the same data. A
repeat trains on the events as they are, with other seeds. Of V, the scatter of a fitted parameter or of ln r at a point,

    V_simulation = V(replicas) - V(repeats)
    V_training   = V(repeats) m / M + b V_simulation / M

for M members in the run's ensembles, m in those of replicas, and b = 1 if each member has a bootstrap of its own, which
averages out among them. Their sum is what the run's own result scatters by over independent simulations.

References:
    B. Efron, Ann. Stat. 7 (1979) 1; ATLAS, arXiv:2412.01600.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from needle_parsl.errors import TaskError
from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.results import (
    LogRatioScatter,
    ParameterScatter,
    PartErrors,
    Replicas,
    Scatter,
    ScatterBin,
)

Floats = npt.NDArray[np.float64]
POINTS = 500
"""Simulated events of each process at which ln r is kept."""
BINS = 8
"""Of ln r, each with as many of these events, in which its scatter is averaged."""


@dataclass(frozen=True)
class ReplicaValues:
    """What one replica has fitted to a dataset."""

    parameters: tuple[str, ...]
    values: Floats
    """Shape (P,)."""
    converged: bool
    at_bound: tuple[str, ...]

    @staticmethod
    def of(best: Result) -> ReplicaValues:
        """Keep what is needed of a fit."""
        return ReplicaValues(best.parameters, best.values, best.converged, best.at_bound)


@dataclass(frozen=True)
class Replica:
    """One replica, or one repeat."""

    reason: str
    """Why it has no ratios; empty if it has."""
    fits: Mapping[str, ReplicaValues]
    """By dataset."""
    ratios: Mapping[str, Floats]
    """ln r at the same points in every replica, each of shape (K,)."""


def fit_replica(likelihoods: Iterable[tuple[str, Likelihood]], simulation: Dataset) -> Replica:
    """Fit every dataset with the ratios of a replica.

    Args:
        likelihoods: By dataset, one after the other.
        simulation: All simulated events, with these ratios.
    """
    fits = {name: ReplicaValues.of(minimise(own, own.rates, errors=False)) for name, own in likelihoods}
    return Replica("", fits, points(simulation))


@dataclass(frozen=True)
class NetworkCounts:
    """How many networks are behind one result."""

    replica: int
    """m: members in a replica."""
    run: int
    """M: members in the run's own ensembles."""
    own: bool
    """b: whether each of these has a bootstrap of its own."""


def split(resampled: Floats, repeated: Floats, counts: NetworkCounts) -> Scatter:
    """Split a scatter; where repeats scatter more than replicas do, the simulation's part is 0.

    Args:
        resampled: Of replicas: values of shape (B,), or of several points, (B, K), over which variances are averaged.
        repeated: Of repeats, shape (S,) or (S, K).
        counts: Members.
    """
    variances = np.array([values.var(axis=0, ddof=1).mean() for values in (resampled, repeated)])
    errors = variances * np.sqrt([2 / (len(values) - 1) for values in (resampled, repeated)])
    noise, own = counts.replica / counts.run, counts.own / counts.run
    parts = np.array([[1.0 + own, noise - 1.0 - own], [own, noise - own], [1.0, -1.0]])  # total, training, simulation
    spread = np.sqrt(parts**2 @ errors**2)
    if variances[0] < variances[1]:
        parts = np.array([[0.0, noise], [0.0, noise], [0.0, 0.0]])
    found = np.sqrt(parts @ variances)
    floor = np.maximum(2 * found, np.sqrt(spread))  # near 0 the root is not linear
    slope = np.divide(spread, floor, out=np.zeros(3), where=spread > 0)
    total, trained, simulated = found.tolist()
    return Scatter(total=total, training=trained, simulation=simulated, uncertainty=_errors(slope))


def _errors(slope: Floats) -> PartErrors:
    """Name the statistical errors of total, training and simulation, to first order; shape (3,)."""
    total, training, simulation = slope.tolist()
    return PartErrors(total=total, training=training, simulation=simulation)


def points(simulation: Dataset) -> dict[str, Floats]:
    """Give ln r of the first simulated events of each process, which are a random sample of them."""
    rows = np.concatenate([np.flatnonzero(simulation.sample == j)[:POINTS] for j in range(len(simulation.samples))])
    return {name: values[rows] for name, values in simulation.ratios.items()}


def summarise(resampled: Sequence[Replica], repeated: Sequence[Replica], counts: NetworkCounts) -> Replicas:
    """Sum replicas up.

    Args:
        resampled: With resampled events.
        repeated: With other seeds alone.
        counts: Members.

    Raises:
        TaskError: Fewer than two of a kind have ratios.
    """
    good, again = ([one for one in found if not one.reason] for found in (resampled, repeated))
    reasons = sorted({one.reason for one in (*resampled, *repeated) if one.reason})
    if min(len(good), len(again)) < 2:
        raise TaskError(f"fewer than two replicas of a kind were trained: {'; '.join(reasons)}")
    return Replicas(
        replicas=len(resampled),
        repeats=len(repeated),
        failed=sum(bool(one.reason) for one in (*resampled, *repeated)),
        reasons=tuple(reasons),
        members=counts.replica,
        fits={
            name: _parameters([one.fits[name] for one in good], [one.fits[name] for one in again], counts)
            for name in good[0].fits
        },
        log_ratio={name: _log_ratio(_stacked(good, name), _stacked(again, name), counts) for name in good[0].ratios},
    )


def _stacked(replicas: Sequence[Replica], name: str) -> Floats:
    return np.array([one.ratios[name] for one in replicas])


def _parameters(
    resampled: Sequence[ReplicaValues], repeated: Sequence[ReplicaValues], counts: NetworkCounts
) -> dict[str, ParameterScatter]:
    """Split the scatter of each parameter over the fits that converged; None where fewer than two have."""
    good, again = ([fit for fit in fits if fit.converged] for fits in (resampled, repeated))
    lost = len(resampled) + len(repeated) - len(good) - len(again)
    found = {}
    for place, name in enumerate(resampled[0].parameters):
        values, others = (np.array([fit.values[place] for fit in fits]) for fits in (good, again))
        known = split(values, others, counts) if min(len(good), len(again)) > 1 else Scatter()
        found[name] = ParameterScatter(
            **vars(known),
            resampled=tuple(values.tolist()),
            repeated=tuple(others.tolist()),
            at_bound=sum(name in fit.at_bound for fit in (*good, *again)),
            failed=lost,
        )
    return found


def _log_ratio(resampled: Floats, repeated: Floats, counts: NetworkCounts) -> LogRatioScatter:
    """Split the scatter of ln r over all points, and in bins of ln r."""
    middle = repeated.mean(axis=0)
    groups = np.array_split(np.argsort(middle), BINS)
    bins = tuple(
        ScatterBin(log_ratio=float(middle[own].mean()), **vars(split(resampled[:, own], repeated[:, own], counts)))
        for own in groups
        if len(own)
    )
    return LogRatioScatter(**vars(split(resampled, repeated, counts)), bins=bins)


def write(path: Path, replica: Replica) -> None:
    """Write a replica."""
    with h5py.File(path, "w") as file:
        file.attrs["reason"] = replica.reason
        for name, fit in replica.fits.items():
            group = file.create_group(f"fits/{name}")
            group["values"], group.attrs["converged"] = fit.values, fit.converged
            group.attrs["parameters"], group.attrs["at_bound"] = json.dumps(fit.parameters), json.dumps(fit.at_bound)
        for name, values in replica.ratios.items():
            file[f"log_ratio/{name}"] = values


def read(path: Path) -> Replica:
    """Read a replica."""
    with hdf5.opened(path, "replica") as file:
        fits = {
            name: ReplicaValues(
                tuple(json.loads(group.attrs["parameters"])),
                group["values"][...],
                bool(group.attrs["converged"]),
                tuple(json.loads(group.attrs["at_bound"])),
            )
            for name, group in file.get("fits", {}).items()
        }
        ratios = {name: values[...] for name, values in file.get("log_ratio", {}).items()}
        return Replica(str(file.attrs["reason"]), fits, ratios)
