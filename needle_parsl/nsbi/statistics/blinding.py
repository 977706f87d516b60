"""A hidden offset: what fits to data say of parameters of interest is shifted by an unknown, reproducible amount where it is written.

    offset = 4 s u,   s = 2^ceil(log2 sigma),   u in [-1, 1) from BLAKE2b(phrase, parameter, log2 s)

sigma is the expected error, of the fit to Asimov data; the offset is uniform within four to eight of it. The power of two keeps the
offset the same when sigma changes a little, so that versions of an analysis can be compared; where it changes by more, another u is
drawn, and their difference tells nothing of either.

Only what is written is shifted, never the model: bounds and starts are the true ones. So nothing may be written from which the
distance to a known value follows: a bound, a grid that the user has named, no signal.

References:
    J. R. Klein, A. Roodman, Ann. Rev. Nucl. Part. Sci. 55 (2005) 141, "Hidden offset".
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from needle_parsl.analysis import Scan
from needle_parsl.errors import InputError
from needle_parsl.nsbi.statistics.results import (
    Distribution,
    Distributions,
    FitResult,
    FittedParameter,
    Impacts,
    ProfileScan,
    Validation,
)

Shifts = tuple[float | None, float | None]
RANGE = 4.0
"""Largest offset, in units of s."""
SPAN = 4
"""Standard errors to each side of the best value over which a scan is written, at most."""
DENSITY = 4
"""Points of such a scan in a standard error."""
NEAR = 0.02
"""Expected errors from a bound within which a value is taken for being on it: fits end so close."""
NOT_SHOWN: Any = None
"""In the place of a value on a bound, which is known and would show the offset."""


@dataclass(frozen=True)
class HiddenOffset:
    """What is added to the values of a parameter before they are written."""

    value: float
    error: float
    """The expected one."""
    bounds: tuple[float, float]
    """Of the parameter: where they come in is not written."""

    @staticmethod
    def draw(phrase: str, parameter: str, error: float | None, bounds: tuple[float, float]) -> HiddenOffset:
        """Draw the offset of a parameter.

        Args:
            phrase: The same phrase, the same offset.
            parameter: Its name.
            error: The expected one.
            bounds: Smallest and largest value.

        Raises:
            InputError: There is no expected error.
        """
        if not error:
            raise InputError(
                f'the Asimov fit gives {parameter} no error, in units of which fit.blind = "offset" draws; set fit.blind = true'
            )
        exponent = math.ceil(math.log2(error))
        digest = hashlib.blake2b(f"{phrase}\n{parameter}\n{exponent}".encode(), digest_size=8).digest()
        share = int.from_bytes(digest, "big") / 2**63 - 1
        return HiddenOffset(RANGE * 2.0**exponent * share, error, bounds)

    def at_bound(self, value: float) -> bool:
        """Whether a value is on a bound, so that the value itself must not be written."""
        return min(value - self.bounds[0], self.bounds[1] - value) < NEAR * self.error

    def window(self, best: float) -> Scan | None:
        """Give the scan that may be written: whole errors to each side, as far as the bounds are away; None closer than one error.

        The points are at fixed distances from the best value, whatever the bounds.
        """
        errors = min(SPAN, math.floor(min(best - self.bounds[0], self.bounds[1] - best) / self.error))
        if errors < 1:
            return None
        width = errors * self.error
        return Scan(best - width, best + width, 2 * DENSITY * errors + 1)


def hide_fit(found: FitResult, offsets: Mapping[str, HiddenOffset]) -> FitResult:
    """Shift the parameters of interest of a fit; what is on a bound has no value."""
    parameters = {
        name: _parameter(fitted, offsets[name], at_bound=name in found.at_bound) if name in offsets else fitted
        for name, fitted in found.parameters.items()
    }
    outside = found.outside
    if outside is not None:  # a shift that ends on a bound is the distance to it
        values = {name: found.parameters[name].value for name in offsets}
        ended = [name for name in offsets if offsets[name].at_bound(values[name] + outside.shift.get(name, 0.0))]
        outside = replace(outside, shift={name: x for name, x in outside.shift.items() if name not in ended})
    at_bound = tuple(name for name in found.at_bound if name not in offsets)
    return replace(found, parameters=parameters, at_bound=at_bound, outside=outside)


def _parameter(fitted: FittedParameter, offset: HiddenOffset, *, at_bound: bool) -> FittedParameter:
    if at_bound or offset.at_bound(fitted.value):
        return replace(fitted, value=NOT_SHOWN, minos=None)
    minos = fitted.minos
    if minos is not None:
        low, high = minos
        at_end = offset.at_bound(low) or offset.at_bound(high)
        minos = None if at_end else (low + offset.value, high + offset.value)
    return replace(fitted, value=fitted.value + offset.value, minos=minos)


def hide_scan(found: ProfileScan, offset: HiddenOffset) -> ProfileScan:
    """Shift a scan, and leave out what is beyond its window: points, and intervals that end at a bound."""
    window = offset.window(found.best)
    low, high = (window.start, window.stop) if window else (math.inf, -math.inf)
    slack = 1e-9 * offset.error
    points = [point for point in found.points if low - slack <= point.value <= high + slack]
    pieces = {
        name: {
            level: tuple((a + offset.value, b + offset.value) for a, b in own if not (offset.at_bound(a) or offset.at_bound(b)))
            for level, own in getattr(found, name).items()
        }
        for name in ("intervals", "intervals_at_fixed_weights")
    }  # fmt: skip
    return replace(
        found,
        points=tuple(replace(point, value=point.value + offset.value) for point in points),
        best=NOT_SHOWN if offset.at_bound(found.best) else found.best + offset.value,
        open=tuple(level for level in found.open if pieces["intervals"][level]),
        intervals=pieces["intervals"],
        intervals_at_fixed_weights=pieces["intervals_at_fixed_weights"],
    )


def hide_shifts(shifts: Shifts, best: float, offset: HiddenOffset) -> Shifts:
    """Leave out shifts down and up of a parameter that end on a bound: they are the distance to it.

    Args:
        shifts: From the best value.
        best: That value.
        offset: Of the parameter.
    """
    down, up = (None if shift is None or offset.at_bound(best + shift) else shift for shift in shifts)
    return down, up


def hide_impacts(found: Impacts, best: float, offset: HiddenOffset) -> Impacts:
    """Leave out impacts that end on a bound."""
    nuisances = [
        replace(one, impacts={method: hide_shifts(pair, best, offset) for method, pair in one.impacts.items()})
        for one in found.nuisances
    ]
    return replace(found, nuisances=tuple(nuisances))


def hide_processes(found: Distributions) -> Distributions:
    """Leave out what each process has after the fit; the sum of all stays."""
    return replace(found, columns=_summed(found.columns), regions=_summed(found.regions))


def hide_validation(found: Validation) -> Validation:
    """Do so in regions that are only looked at."""
    return replace(found, regions=_summed(found.regions))


def _summed(found: Mapping[str, Distribution]) -> dict[str, Distribution]:
    return {name: replace(one, postfit=replace(one.postfit, processes={})) for name, one in found.items()}
