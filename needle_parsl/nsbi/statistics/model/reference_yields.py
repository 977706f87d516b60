"""At which yields ratios are normalised: those of the nominal parameters, if every process counts there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from needle_parsl.analysis import Model as ModelTable
from needle_parsl.nsbi.statistics.model.rates import Rates

Floats = npt.NDArray[np.float64]
SMALLEST = 1e-3
"""Multiplier below which a process does not count, relative to the largest."""
BETWEEN = 4
"""Intervals between the values of a parameter, from bound to bound, over which multipliers are averaged instead."""


@dataclass(frozen=True)
class ReferenceYields:
    """What the yields of the processes are multiplied with."""

    multipliers: Floats
    """Positive, shape (J,)."""
    points: tuple[dict[str, float], ...]
    """The parameters at which they are the mean of |f_j|; the nominal ones, or several where a process vanishes or is negative there."""

    @staticmethod
    def of(table: ModelTable) -> ReferenceYields:
        """Choose them for a model, whose nuisance parameters do not matter.

        With interference a multiplier may be 0 or negative at the nominal parameters, and no class of a cross-entropy has such a weight.
        """
        rates = Rates.build(table)
        nominal = {name: parameter.nominal for name, parameter in table.parameters.items()}
        found = _multipliers(rates, nominal)
        if (found > SMALLEST * np.abs(found).max()).all():
            return ReferenceYields(found, (nominal,))
        points = [nominal]
        for name, parameter in table.parameters.items():
            points += [{**nominal, name: float(value)} for value in np.linspace(*parameter.bounds, BETWEEN + 1)]
        mean = _mean(rates, points)
        if (mean <= SMALLEST * mean.max()).any():  # as that of c_1 c_2, which needs two parameters at once
            points += [nominal | corner for corner in _corners(table)]
            mean = _mean(rates, points)
        unique = tuple({tuple(point.values()): point for point in points}.values())
        return ReferenceYields(np.maximum(mean, SMALLEST * mean.max()), unique)


def _mean(rates: Rates, points: Sequence[dict[str, float]]) -> Floats:
    """Give the mean of |f_j| over different points."""
    unique = {tuple(point.values()): point for point in points}.values()
    found: Floats = np.mean([np.abs(_multipliers(rates, point)) for point in unique], axis=0)
    return found


def _corners(table: ModelTable) -> Iterator[dict[str, float]]:
    """Give the bounds of each two parameters."""
    for pair in combinations(table.parameters.items(), 2):
        for values in product(*(parameter.bounds for _, parameter in pair)):
            yield {name: float(value) for (name, _), value in zip(pair, values, strict=True)}


def _multipliers(rates: Rates, point: dict[str, float]) -> Floats:
    return rates.factors(rates.at(point))[0]
