"""Profile scans of two parameters together, and the heights of their contours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from needle_parsl.analysis import Plane
from needle_parsl.nsbi.statistics.fits.fitting import Objective, Result, minimise
from needle_parsl.nsbi.statistics.fits.intervals import Point

Floats = npt.NDArray[np.float64]
WIDTH = 3.0
"""Standard errors to each side of the best fit that are scanned where the user left it open."""


def scan(objective: Objective, best: Result, where: Plane, levels: Sequence[float]) -> dict[str, Any]:
    """Scan two parameters, as in `fits/plane.json`.

    Args:
        objective: Gives -ln L and its gradient.
        best: The free fit.
        where: Which parameters, and how finely.
        levels: Confidence levels of the contours, at chi-squared quantiles of two degrees of freedom.
    """
    x, y = where.parameters
    ranges = where.ranges or (_range(best, x), _range(best, y))
    first, second = (np.linspace(low, high, where.points) for low, high in ranges)
    rows = [_row(objective, best, (x, float(value)), (y, second)) for value in first]
    points = [(float(a), point) for a, row in zip(first, rows, strict=True) for point in row]
    lowest = min([best.nll, *(point.nll for _, point in points if point.converged)])
    return {
        "parameters": [x, y],
        "best": {name: best.value(name) for name in (x, y)},
        "points": [
            {x: a, y: p.value, "t": 2 * (p.nll - lowest) if np.isfinite(p.nll) else None, "converged": p.converged}
            for a, p in points
        ],
        "heights": {f"{level:g}": float(chi2.ppf(level, 2)) for level in levels},
    }


def _range(best: Result, name: str) -> tuple[float, float]:
    low, high = best.rates.bounds[best.parameters.index(name)]
    middle, width = best.value(name), WIDTH * np.nan_to_num(best.error(name)) or (high - low) / 10
    return max(low, middle - width), min(high, middle + width)


def _row(objective: Objective, best: Result, x: tuple[str, float], y: tuple[str, Floats]) -> list[Point]:
    """Minimise over all other parameters along one row; each fit starts from its neighbour's solution."""
    points, start = [], best.theta
    for value in y[1]:
        held = {x[0]: x[1], y[0]: float(value)}
        fit = minimise(objective, best.rates, start=start, fixed=held, errors=False)
        start = fit.theta if fit.converged else start
        points.append(Point(float(value), fit.nll, fit.converged))
    return points
