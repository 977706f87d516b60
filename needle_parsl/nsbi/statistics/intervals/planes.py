"""Profile scans of two parameters together, in strips that can be scanned apart, and the heights of their contours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from needle_parsl.analysis import Plane as PlaneTable
from needle_parsl.nsbi.statistics.fits.descent import Objective
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.intervals.profile import ProfiledPoint
from needle_parsl.nsbi.statistics.results import PlanePoint, PlaneStrip, ProfilePlane, StripPoint

Floats = npt.NDArray[np.float64]
WIDTH = 3.0
"""Standard errors to each side of the best fit that are scanned where the user left it open."""


def strip(objective: Objective, best: Result, where: PlaneTable, rows: tuple[int, int]) -> PlaneStrip:
    """Scan some rows of a plane.

    Args:
        objective: Gives -ln L and its gradient.
        best: The free fit.
        where: Which parameters, and how finely.
        rows: First and last row, the latter not included: values of the first parameter.
    """
    x, y = where.parameters
    ranges = where.ranges or (_range(best, x), _range(best, y))
    first, second = (np.linspace(low, high, where.points) for low, high in ranges)
    scanned = [(float(value), row(objective, best, (x, float(value)), (y, second))) for value in first[slice(*rows)]]
    return PlaneStrip(
        (x, y),
        {name: best.value(name) for name in (x, y)},
        best.nll if np.isfinite(best.nll) else None,
        tuple(
            StripPoint(a, p.value, p.nll if np.isfinite(p.nll) else None, p.converged)
            for a, points in scanned
            for p in points
        ),
    )


def join(strips: Sequence[PlaneStrip], levels: Sequence[float], *, dataset: str = "") -> ProfilePlane:
    """Join the strips of a plane.

    Args:
        strips: In the order of their rows.
        levels: Confidence levels of the contours, at chi-squared quantiles of two degrees of freedom.
        dataset: The name of the data.
    """
    points = [point for one in strips for point in one.points]
    known = [strips[0].nll, *(point.nll for point in points if point.converged)]
    lowest = min((nll for nll in known if nll is not None), default=0.0)  # without any, no point has a t
    return ProfilePlane(
        strips[0].parameters,
        strips[0].best,
        tuple(PlanePoint(p.x, p.y, p.converged, None if p.nll is None else 2 * (p.nll - lowest)) for p in points),
        {f"{level:g}": float(chi2.ppf(level, 2)) for level in levels},
        dataset,
    )


def _range(best: Result, name: str) -> tuple[float, float]:
    low, high = best.rates.bounds[best.parameters.index(name)]
    middle, width = best.value(name), WIDTH * np.nan_to_num(best.error(name)) or (high - low) / 10
    return max(low, middle - width), min(high, middle + width)


def row(objective: Objective, best: Result, x: tuple[str, float], y: tuple[str, Floats]) -> list[ProfiledPoint]:
    """Minimise over all other parameters along one row of a plane; each fit starts from its neighbour's solution.

    Args:
        objective: Gives -ln L and its gradient.
        best: The free fit.
        x: The parameter that is the same in the row, with its value.
        y: The other one, with its values, shape (Y,).
    """
    points, start = [], best.theta
    for value in y[1]:
        held = {x[0]: x[1], y[0]: float(value)}
        fit = minimise(objective, best.rates, start=start, fixed=held, errors=False, also=best.others)
        start = fit.theta if fit.converged else start
        points.append(ProfiledPoint(float(value), fit.nll, fit.converged, fit.theta))
    return points
