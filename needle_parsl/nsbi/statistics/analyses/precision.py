"""How many networks and events are enough: everything that a run tells of its networks, put into one law."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics import network_error
from needle_parsl.nsbi.statistics import precision as measuring
from needle_parsl.nsbi.statistics.analyses.fits import CrossFitted
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.results import FitResult, Replicas
from needle_parsl.precision import MeasuredVariance, PrecisionLaw

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
UNKNOWN = {
    "training": "the noise of training is told by two or more members of cross-fitted ratios, or by [bootstrap]",
    "simulation": "the part of the finite simulation is told by two or more members of cross-fitted ratios, by [bootstrap], or by wifi weights",
    "floor": "what all networks have in common is told by exact densities alone",
}
"""Why a term is not known."""


@dataclass(frozen=True)
class Ensemble:
    """How ratios are made of networks."""

    weighted: bool
    """Whether ensemble weights are fitted, and have a covariance."""
    normalised: bool
    """Whether ratios are normalised at the yields: Asimov data close by construction, and replicas normalise anew."""
    kinds: tuple[int, ...] = ()
    """Of each member, where they have several settings."""


@dataclass(frozen=True)
class Shifts:
    """psi of simulated events for the parameter of interest, by networks of one's choice."""

    crossed: CrossFitted
    some: Dataset
    """Those of the simulated events on which networks are compared."""
    best: Result
    """The fit of Asimov data."""
    parameter: str

    @property
    def weight(self) -> Floats:
        """Give the expected events, shape (S,)."""
        return np.abs(network_error.expected(self.some, self.best))

    def of(self, log_ratio: Mapping[str, Singles | Floats]) -> Floats:
        """Give psi of each event with ratios of their own, shape (S,)."""
        place, best = self.best.parameters.index(self.parameter), self.best
        scores = network_error.scores(self.some, log_ratio, best, self.crossed.build)
        found: Floats = best.rates.stretch(best.theta)[place] * best.theta_covariance[place] @ scores
        return found

    def folds(self, chosen: Sequence[int] | int) -> Floats:
        """Give psi of the mean of some networks of each fold, shape (K, S); 0 is the mean of all members, which stand behind it."""
        ratios = self.crossed.networks.log_ratio
        count = len(next(iter(ratios.values())))
        rows = [chosen] if isinstance(chosen, int) else list(chosen)
        return np.array(
            [self.of({name: own[k, rows].mean(axis=0) for name, own in ratios.items()}) for k in range(count)]
        )


def measure(
    law: PrecisionLaw,
    asimov: Likelihood,
    *,
    networks: CrossFitted | None,
    exact: Callable[[], Mapping[str, Floats]],
    fits: Mapping[str, FitResult],
    replicas: Replicas | None,
    how: Ensemble,
) -> PrecisionLaw:
    """Measure what networks add to the error of the parameter of interest, and fit the law to it.

    Args:
        law: Which parameter, and how many members and events there are.
        asimov: The likelihood of Asimov data.
        networks: Those of cross-fitted ratios, one by one; None where ratios are made otherwise.
        exact: Gives the exact log ratios of all simulated events, by ratio; none where they are not known.
        fits: Of all datasets, the headline first.
        replicas: Of `[bootstrap]`.
        how: What the ratios are.
    """
    best = minimise(asimov, asimov.rates)
    sigma = best.error(law.parameter)
    if not (best.converged and np.isfinite(sigma)):
        why = f"{law.parameter} has no symmetric error in the fit of Asimov data"
        return replace(law, unknown=dict.fromkeys(UNKNOWN, why))
    found: list[MeasuredVariance] = []
    if networks is not None:
        law = replace(law, members=networks.networks.members)  # some may have failed
        some = network_error.taken(networks.simulation, networks.networks.rows)
        found += of_networks(law, Shifts(networks, some, best, law.parameter), exact(), how.kinds)
    found += _of_ensembles(law, fits, replicas, how)
    return measuring.fit_law(replace(law, sigma=sigma), found, UNKNOWN)


def of_networks(
    law: PrecisionLaw, shifts: Shifts, exact: Mapping[str, Floats], kinds: Sequence[int] = ()
) -> list[MeasuredVariance]:
    """Measure cross-fitted networks: groups of members, folds, and exact densities where they are known.

    Args:
        law: How many members there are.
        shifts: Of events.
        exact: Exact log ratios of all simulated events.
        kinds: Of each member, where they have several settings.
    """
    networks, weight = shifts.crossed.networks, shifts.weight
    members, found = networks.members, []
    for size, cuts in measuring.pairs(kinds, members):
        each = np.stack([shifts.folds([1 + member for member in cut]) for cut in cuts], axis=1)
        found.append(measuring.of_members(each, weight, size=size, members=members, bagging=law.bagging))
    means = shifts.folds(0)
    between = measuring.of_folds(means, weight, law.bagging / members)
    if exact:
        true = shifts.of({name: values[networks.rows] for name, values in exact.items()})
        single = between.relative_error * np.sqrt(len(means) - 1)
        found.append(
            measuring.of_exact(means.mean(axis=0), true, weight, bagging=law.bagging / members, relative=single)
        )
    return [*found, between]


def _of_ensembles(
    law: PrecisionLaw, fits: Mapping[str, FitResult], replicas: Replicas | None, how: Ensemble
) -> list[MeasuredVariance]:
    """Take what is known of whole ensembles: from replicas, and else from the covariance of weights."""
    headline = next(iter(fits))
    if replicas and not (how.normalised and headline == "asimov"):
        fitted = fits[headline].parameters[law.parameter]
        finite = (fitted.simulation_error or 0.0) ** 2 if how.normalised else 0.0
        return measuring.of_replicas(replicas.fits[headline][law.parameter], law.members, replicas.members, finite)
    added = fits["asimov" if "asimov" in fits else headline].parameters[law.parameter].ensemble_error
    return [measuring.of_weights(added**2)] if how.weighted and added is not None else []
