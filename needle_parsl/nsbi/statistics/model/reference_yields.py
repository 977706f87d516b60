"""At which yields ratios are normalised: those of the nominal parameters, if every process counts there."""

from __future__ import annotations

from dataclasses import dataclass

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
        unique = tuple({tuple(point.values()): point for point in points}.values())
        mean = np.mean([np.abs(_multipliers(rates, point)) for point in unique], axis=0)
        return ReferenceYields(np.maximum(mean, SMALLEST * mean.max()), unique)


def _multipliers(rates: Rates, point: dict[str, float]) -> Floats:
    return rates.factors(rates.at(point))[0]
