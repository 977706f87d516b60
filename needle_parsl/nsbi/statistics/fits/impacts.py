"""Impacts: how far the parameter of interest moves with each nuisance parameter, by three definitions.

    covariance   V_mu,k / sigma_k
    observable   the auxiliary observation a_k is moved by +-1 sigma, and everything fitted again
    refit        alpha_k is held at its best value +-1 sigma, and everything else fitted again

In the linear limit the first and the third are the same, and the second is sigma_k times the third for a unit Gaussian
constraint: an impact by `observable` is smaller where data constrain the nuisance parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.results import Impacts, NuisanceImpact

Floats = npt.NDArray[np.float64]
METHODS = ("covariance", "observable", "refit")


def impacts(likelihood: Likelihood, best: Result, poi: str, methods: Sequence[str]) -> Impacts:
    """Compute impacts.

    Args:
        likelihood: Of the data.
        best: Its free fit.
        poi: The parameter of interest.
        methods: Which definitions, of `METHODS`.

    Returns:
        The nuisance parameters with their pulls and impacts, the largest first; a fit that failed has null.
    """
    names = best.parameters[best.rates.physics :]
    entries = [_entry(likelihood, best, poi, name, methods) for name in names]
    return Impacts(poi, tuple(methods), tuple(sorted(entries, key=_size, reverse=True)))


def _entry(likelihood: Likelihood, best: Result, poi: str, name: str, methods: Sequence[str]) -> NuisanceImpact:
    error, place = best.error(name), best.parameters.index(name)
    moved = {
        "covariance": _by_covariance, "observable": _by_observable, "refit": _by_refit,
    }  # fmt: skip
    return NuisanceImpact(
        name=name,
        value=best.value(name),
        error=None if np.isnan(error) else error,
        nominal=float(best.rates.outward(best.rates.start)[place]),
        pull=float(best.theta[place] - best.rates.start[place]),
        pull_error=None if np.isnan(error) else error / float(best.rates.stretch(best.theta)[place]),
        impacts={method: moved[method](likelihood, best, poi, name) for method in methods},
    )


def _size(entry: NuisanceImpact) -> float:
    """Give the largest shift to either side, by any of the definitions that were asked for."""
    shifts = [x for pair in entry.impacts.values() for x in pair if x is not None]
    return max(map(abs, shifts), default=0.0)


Pair = tuple[float | None, float | None]
"""Shifts of the parameter of interest with the nuisance parameter down and up."""


def _by_covariance(likelihood: Likelihood, best: Result, poi: str, name: str) -> Pair:  # noqa: ARG001  all three methods are called alike
    k = best.parameters.index(name)
    covariance, error = best.covariance, best.error(name)
    shift = covariance[best.parameters.index(poi), k] / error
    return (-float(shift), float(shift)) if np.isfinite(shift) else (None, None)


def _by_observable(likelihood: Likelihood, best: Result, poi: str, name: str) -> Pair:
    place = best.parameters.index(name) - best.rates.physics
    constraints = (likelihood.constraints.shifted(place, side) for side in (-1.0, 1.0))
    down, up = (_shift(replace(likelihood, constraints=moved), best, poi, {}) for moved in constraints)
    return down, up


def _by_refit(likelihood: Likelihood, best: Result, poi: str, name: str) -> Pair:
    error, (low, high) = best.error(name), best.rates.bounds[best.parameters.index(name)]
    if np.isnan(error):
        return None, None
    held = (min(max(best.value(name) + side * error, low), high) for side in (-1.0, 1.0))
    down, up = (_shift(likelihood, best, poi, {name: value}) for value in held)
    return down, up


def _shift(likelihood: Likelihood, best: Result, poi: str, held: dict[str, float]) -> float | None:
    found = minimise(likelihood, best.rates, start=best.theta, fixed=held, errors=False, also=best.others)
    return found.value(poi) - best.value(poi) if found.converged else None


def linear(likelihood: Likelihood, best: Result, poi: str) -> Floats:
    """Give d poi / d a_k of unit Gaussian constraints, shape (K,): `observable` in its limit, by the implicit function theorem.

    d theta / d a_k = H^-1 e_k
    """
    place = best.parameters.index(poi)
    inverse = np.linalg.inv(likelihood.hessian(best.theta))
    found: Floats = inverse[place, best.rates.physics :] * best.rates.stretch(best.theta)[place]
    return found
