"""Profile scans and the confidence intervals they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline
from scipy.stats import chi2

from needle_parsl.analysis import Scan
from needle_parsl.nsbi.statistics.fits.fitting import Objective, Result, minimise
from needle_parsl.nsbi.statistics.model import Rates

Floats = npt.NDArray[np.float64]
AUTOMATIC = 25
"""Points of a scan whose range the user left open."""
CURVED = 41
"""Points of such a scan of a parameter that is fitted as its root."""
FEWEST = 5
"""Converged points that a curve can be drawn through."""
NARROW = 1e-6
"""Pieces of an interval that are narrower than this part of the scan are rounding."""
REFINEMENTS, TOLERANCE = 8, 1e-3
"""How often, and to what t, the edges of an interval are fitted again."""


@dataclass(frozen=True)
class Point:
    """One point of a scan."""

    value: float
    nll: float
    converged: bool


def profile(
    objective: Objective,
    best: Result,
    parameter: str,
    grid: Floats,
    held: Mapping[str, float] | None = None,
) -> list[Point]:
    """Minimise over all other parameters at each value of one; each fit starts from its neighbour's solution.

    Args:
        objective: Gives -ln L and its gradient.
        best: The free fit.
        parameter: What is scanned.
        grid: Its values, ascending.
        held: Parameters that are not minimised over, with their values.

    Returns:
        One point per value.
    """
    middle = int(np.searchsorted(grid, best.value(parameter)))
    found: dict[int, Point] = {}
    for places in (range(middle, len(grid)), range(middle - 1, -1, -1)):
        start = best.theta
        for place in places:
            fixed = {**(held or {}), parameter: float(grid[place])}
            fit = minimise(objective, best.rates, start=start, fixed=fixed, errors=False)
            start = fit.theta if fit.converged else start
            found[place] = Point(float(grid[place]), fit.nll, fit.converged)
    return [found[place] for place in range(len(grid))]


def statistic(objective: Objective, best: Result, parameter: str, grid: Floats) -> Floats:
    """Give t = -2 ln of the profile likelihood ratio at each value, shape (G,); NaN where a fit did not converge."""
    points = profile(objective, best, parameter, grid)
    lowest = min([best.nll, *(point.nll for point in points if point.converged)])
    return np.array([2 * (point.nll - lowest) if point.converged else np.nan for point in points])


def scan(
    objective: Objective,
    best: Result,
    parameter: str,
    where: Scan | None,
    levels: Sequence[float],
    held: Mapping[str, float] | None = None,
    inflation: float = 1.0,
) -> dict[str, Any]:
    """Scan a parameter and read its confidence intervals off, as in `fits/scan.json`.

    Where ensemble weights have an error, the intervals are where t / k, not t, is below the quantile of a level, to first order
    (`propagation`); beside them stand those at fixed weights.

    Args:
        objective: Gives -ln L and its gradient.
        best: The free fit.
        parameter: What is scanned.
        where: The user's grid; None chooses one.
        levels: Confidence levels.
        held: Parameters that are not minimised over, with their values: the nuisance parameters at their best fit for the
            statistical error alone.
        inflation: k; 1 without an error of ensemble weights.
    """
    rates = best.rates
    limits = rates.bounds[rates.parameters.index(parameter)]

    def evaluate(grid: Floats) -> list[Point]:
        return profile(objective, best, parameter, grid, held)

    points = _points(evaluate, best, parameter, where, inflation * float(chi2.ppf(max(levels), 1)))
    lowest = min([best.nll, *(point.nll for point in points if point.converged)])
    own = Point(best.value(parameter), best.nll, best.converged)
    inside = points[0].value <= own.value <= points[-1].value
    known = [*points, own] if inside else points

    def at(factor: float) -> dict[str, list[list[float]]]:
        heights = {f"{level:g}": factor * float(chi2.ppf(level, 1)) for level in levels}
        return {level: _refined(evaluate, rates, parameter, known, lowest, height) for level, height in heights.items()}

    intervals = at(inflation)
    return {
        "parameter": parameter,
        "points": [{parameter: p.value, "t": _t(p, lowest), "converged": p.converged} for p in points],
        "inflation": inflation,
        "intervals": intervals,
        "intervals_at_fixed_weights": intervals if inflation == 1 else at(1.0),
        "open": [level for level, pieces in intervals.items() if _is_open(pieces, points, limits)],
    }


def _points(
    evaluate: Callable[[Floats], list[Point]], best: Result, parameter: str, where: Scan | None, need: float
) -> list[Point]:
    """Evaluate t where the user says, or over all values, or as far as it has to be known."""
    place = best.rates.parameters.index(parameter)
    if where:
        return evaluate(np.linspace(where.start, where.stop, where.points))
    if best.rates.curved[place]:
        return evaluate(_everywhere(best.rates, parameter))
    return _automatic(evaluate, best, parameter, best.rates.bounds[place], need)


def _everywhere(rates: Rates, parameter: str) -> Floats:
    """Spread a scan evenly in s over all values: t may come down again far from the best fit."""
    place = rates.parameters.index(parameter)
    (low, high), (first, last) = rates.limits()[place], rates.bounds[place]
    return np.array([first, *(rates.out(parameter, s) for s in np.linspace(low, high, CURVED)[1:-1]), last])


def _t(point: Point, lowest: float) -> float | None:
    return 2 * (point.nll - lowest) if np.isfinite(point.nll) else None


def _is_open(pieces: list[list[float]], points: Sequence[Point], limits: tuple[float, float]) -> bool:
    """Whether an interval ends where the scan does, spans a point that did not converge, or was missed by the scan."""
    if not pieces:
        return True
    good = [point.value for point in points if point.converged]
    ends = [e for e, bound in zip((good[:1], good[-1:]), limits, strict=True) if e and abs(e[0] - bound) > 1e-12]
    lost = [point.value for point in points if not point.converged]
    return any(
        [piece[0]] in ends or [piece[1]] in ends or any(piece[0] <= x <= piece[1] for x in lost) for piece in pieces
    )


def _refined(
    evaluate: Callable[[Floats], list[Point]],
    rates: Rates,
    parameter: str,
    points: Sequence[Point],
    lowest: float,
    height: float,
) -> list[list[float]]:
    """Read an interval off, and fit again at its edges until t there is the height: grids may be coarse.

    The curve is drawn in the coordinate of the fit, in which t is smooth.
    """
    known = {point.value: point for point in points if point.converged}
    for _ in range(REFINEMENTS):
        if len(known) < FEWEST:
            return []
        grid = np.array(sorted(known))
        smooth = np.array([rates.inward(parameter, x) for x in grid])
        found = below(smooth, 2 * (np.array([known[x].nll for x in grid]) - lowest), height)
        ends = dict(zip(smooth, grid, strict=True))  # an end of the scan has its own value
        pieces = [[float(ends.get(x, rates.out(parameter, x))) for x in piece] for piece in found]
        edges = [edge for piece in pieces for edge in piece if edge not in known]
        new = [point for point in evaluate(np.array(edges)) if point.converged] if edges else []
        known |= {point.value: point for point in new}
        if all(abs(2 * (point.nll - lowest) - height) < TOLERANCE for point in new):
            break
    return pieces


def _automatic(
    scan: Callable[[Floats], list[Point]], best: Result, parameter: str, limits: tuple[float, float], need: float
) -> list[Point]:
    """Scan over four standard errors to each side, and farther where t does not reach what is needed within the bounds."""
    middle, width = best.value(parameter), 4 * np.nan_to_num(best.error(parameter))
    width = width or (limits[1] - limits[0]) / 10
    low, high = middle - width, middle + width
    while True:
        points = scan(np.linspace(max(low, limits[0]), min(high, limits[1]), AUTOMATIC))
        values = np.array([point.nll for point in points])
        t = 2 * (values - min(best.nll, float(np.nanmin(values))))
        short_low, short_high = t[0] < need and low > limits[0], t[-1] < need and high < limits[1]
        if not (short_low or short_high):
            return points
        low, high = low - width * short_low, high + width * short_high
        width *= 2


def below(grid: Floats, t: Floats, height: float) -> list[list[float]]:
    """Find where t stays below some height; the pieces may be several.

    Args:
        grid: Ascending values, shape (N,).
        t: Test statistic there, shape (N,).
        height: The chi-squared quantile of a level, times k.

    Returns:
        Pieces [low, high]; a piece that reaches an end of the grid ends there.
    """
    roots = CubicSpline(grid, t - height).roots(extrapolate=False)
    edges = [float(grid[0]), *sorted(float(r) for r in roots if grid[0] < r < grid[-1]), float(grid[-1])]
    curve = CubicSpline(grid, t - height)
    pieces: list[list[float]] = []
    for low, high in pairwise(edges):
        if curve((low + high) / 2) < 0:
            if pieces and pieces[-1][1] == low:
                pieces[-1][1] = high
            else:
                pieces.append([low, high])
    return [piece for piece in pieces if piece[1] - piece[0] > NARROW * (grid[-1] - grid[0])]
