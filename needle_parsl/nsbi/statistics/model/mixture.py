"""Is the learned mixture a density? Its mean over the reference is 1 at every value of the parameters.

E_ref[R(mu)] = sum_e w_e R_e / sum_e w_e,   R = sum_j f_j(mu) nu_j r_j / sum_j f_j(mu) nu_j
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from needle_parsl.analysis import Parameter
from needle_parsl.nsbi.statistics.model import Rates
from needle_parsl.nsbi.statistics.results import Mixture, MixturePoint

Floats = npt.NDArray[np.float64]
BETWEEN = 4
"""Intervals between the values at which the mixture is looked at, from bound to bound."""


def values(parameter: Parameter) -> tuple[float, ...]:
    """List where the mixture is looked at: from bound to bound, and at the nominal value."""
    found = {*np.linspace(*parameter.bounds, BETWEEN + 1).tolist(), parameter.nominal}
    return tuple(sorted(found))


def normalisations(
    rates: Rates,
    yields: Mapping[str, float],
    ratios: Mapping[str, Floats],
    weight: Floats,
    where: tuple[str, Sequence[float]],
) -> Mixture:
    """Give E_ref[R] along a parameter, the others at their nominal values.

    Args:
        rates: Of the model.
        yields: nu_j by process.
        ratios: ln r_j of reference events by process, each of shape (N,); a process without is the reference itself.
        weight: Of these events, shape (N,).
        where: A parameter, and its values; one at which no event is expected is left out.
    """
    name, points = where
    nu = np.array([yields[process] for process in rates.processes])
    r = np.array([np.exp(ratios[p]) if p in ratios else np.ones(len(weight)) for p in rates.processes])
    found = []
    for point in points:
        expected = rates.factors(rates.at({name: point}))[0] * nu
        if expected.sum() > 0:
            mixture = expected @ r / expected.sum()
            mean = float(np.average(mixture, weights=weight))
            error = float(np.sqrt((weight**2 * (mixture - mean) ** 2).sum()) / weight.sum())
            negative = float(weight[mixture <= 0].sum() / weight.sum())
            found.append(MixturePoint(float(point), mean, error, negative))
    return Mixture(name, tuple(found))
