"""How many networks and events are enough: everything that a run tells of its networks, put into one law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics import network_error, precision
from needle_parsl.nsbi.statistics.analyses.fits import CrossFitted
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.network_error import Networks
from needle_parsl.nsbi.statistics.results import FittedParameter, ParameterScatter
from needle_parsl.precision import MeasuredVariance, PrecisionLaw

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shifts:
    """psi of the parameter of interest, of simulated events, by networks of one's choice."""

    crossed: CrossFitted
    best: Result
    """The fit of Asimov data."""
    parameter: str

    @property
    def weight(self) -> Floats:
        """Give the expected events, shape (S,)."""
        return np.abs(network_error.expected(self._some(), self.best))

    def _some(self):  # noqa: ANN202
        return network_error.taken(self.crossed.simulation, self.crossed.networks.rows)

    def of(self, log_ratio: Mapping[str, npt.NDArray[np.floating]]) -> Floats:
        """Give psi of each event with ratios of their own, shape (S,)."""
        place = self.best.parameters.index(self.parameter)
        scores = network_error.scores(self._some(), log_ratio, self.best, self.crossed.build)
        stretch = self.best.rates.stretch(self.best.theta)[place]
        found: Floats = stretch * self.best.theta_covariance[place] @ scores
        return found


def of_networks(shifts: Shifts, exact: Mapping[str, Floats]) -> list[MeasuredVariance]:
    """Measure cross-fitted networks: groups of members, folds, and, where they are known, exact densities.

    Args:
        shifts: Of events.
        exact: Exact log ratios of all simulated events; none where they are not known.
    """
    ratios, weight = shifts.crossed.networks.log_ratio, shifts.weight
    folds, several, _ = next(iter(ratios.values())).shape
    members = several - 1
    found = []
    for size in precision.sizes(members):
        each = np.array([
            [shifts.of({name: own[k, 1:][cut].mean(axis=0) for name, own in ratios.items()}) for cut in precision.groups(members, size)]
            for k in range(folds)
        ])  # fmt: skip
        found.append(precision.of_members(each, weight, size, members))
    means = np.array([shifts.of({name: own[k, 0] for name, own in ratios.items()}) for k in range(folds)])
    between = precision.of_folds(means, weight)
    found.append(between)
    if exact:
        rows = shifts.crossed.networks.rows
        whole = shifts.of({name: own[:, 0].mean(axis=0) for name, own in ratios.items()})
        true = shifts.of({name: values[rows] for name, values in exact.items()})
        relative = between.relative_error * np.sqrt(folds - 1)
        found.append(precision.of_exact(whole, true, weight, relative=relative))
    return found
