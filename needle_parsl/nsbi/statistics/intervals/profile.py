"""Profile scans and the confidence intervals they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from scipy.stats import chi2

from needle_parsl.analysis import Scan
from needle_parsl.nsbi.statistics.fits.descent import Objective
from needle_parsl.nsbi.statistics.fits.fitting import AGAIN, DEEPER, minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model import Rates
from needle_parsl.nsbi.statistics.results import Pieces, ScanPoint
from needle_parsl.nsbi.statistics.results import ProfileScan as ScanResult

Floats = npt.NDArray[np.float64]
AUTOMATIC = 25
"""Points of a scan whose range the user left open."""
CURVED = 41
"""Points of such a scan of a parameter along which there may be several minima: over all values."""
FEWEST = 5
"""Converged points that a curve can be drawn through."""
NARROW = 1e-6
"""Pieces of an interval that are narrower than this part of the scan are rounding."""
FAR = 4.0
"""t at the end of a scan beyond which it is looked for other minima there."""
MORE = 8
"""Points by which a scan is extended to a side at a time."""
REFINEMENTS, TOLERANCE = 12, 1e-3
"""How often, and to what t, the edges of an interval are fitted again."""


@dataclass(frozen=True)
class ProfiledPoint:
    """One point of a scan."""

    value: float
    nll: float
    converged: bool
    theta: Floats
    """Where the others are, shape (P,)."""


def profile(
    objective: Objective,
    best: Result,
    parameter: str,
    grid: Floats,
    held: Mapping[str, float] | None = None,
) -> list[ProfiledPoint]:
    """Minimise over all other parameters at each value of one: outward from the best fit, each from its neighbour's solution, and back.

    Args:
        objective: Gives -ln L and its gradient.
        best: The free fit.
        parameter: What is scanned.
        grid: Its values, ascending.
        held: Parameters that are not minimised over, with their values.

    Returns:
        One point per value.
    """

    def fit(value: float, start: Floats, *, thorough: bool | None = None) -> ProfiledPoint:
        fixed = {**(held or {}), parameter: value}
        found = minimise(
            objective, best.rates, start=start, fixed=fixed, errors=False, also=best.others, thorough=thorough
        )
        return ProfiledPoint(value, found.nll, found.converged, found.theta)

    values = [float(x) for x in grid]
    middle = int(np.searchsorted(grid, best.value(parameter)))
    sides = [_outward(fit, best, values[:middle][::-1]), _outward(fit, best, values[middle:])]
    below, above = (_inward(fit, best, side) for side in sides)
    return [*below[::-1], *above]


def _outward(fit: Callable[..., ProfiledPoint], best: Result, values: Sequence[float]) -> list[ProfiledPoint]:
    """Fit at values that lead away from the best fit."""
    found, start = [], best.theta
    for value in values:
        found.append(fit(value, start))
        start = found[-1].theta if found[-1].converged else start
    return found


def _inward(fit: Callable[..., ProfiledPoint], best: Result, points: list[ProfiledPoint]) -> list[ProfiledPoint]:
    """Look for further minima at the last of the points, and follow a deeper one back as far as it is the deepest.

    The minimum that is followed outward from the best fit need not be the deepest any more where t is large.
    """
    if not points or not 2 * (points[-1].nll - best.nll) > FAR:
        return points
    deeper = fit(points[-1].value, points[-1].theta, thorough=True)
    found = list(points)
    for place in range(len(points) - 1, -1, -1):
        if not deeper.converged or (points[place].converged and deeper.nll > points[place].nll - DEEPER):
            break
        found[place] = deeper
        if place:
            deeper = fit(points[place - 1].value, deeper.theta)
    return found


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
) -> ScanResult:
    """Scan a parameter and read its confidence intervals off.

    Where ensemble weights have an error, the intervals are where t / k, not t, is below the quantile of a level, to first order
    (`ensemble_error`); beside them stand those at fixed weights.

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
    for _ in range(AGAIN):
        found = _Scanned.of(objective, best, parameter, where, inflation * float(chi2.ppf(max(levels), 1)), held)
        deepest = min((p for p in found.points if p.converged), key=lambda p: p.nll, default=None)
        if not best.converged or deepest is None or deepest.nll > best.nll - DEEPER:
            break
        best = _deeper(objective, best, deepest, held)
    return _record(found, levels, inflation)


def _deeper(objective: Objective, best: Result, point: ProfiledPoint, held: Mapping[str, float] | None) -> Result:
    """Fit again from a point that is deeper than the best fit."""
    again = minimise(objective, best.rates, start=point.theta, fixed=held, errors=False, also=best.others)
    return replace(
        best, nll=again.nll, theta=again.theta, minima=(again.theta, *best.minima), converged=again.converged
    )


@dataclass(frozen=True)
class _Scanned:
    """The points of a scan, and what further points are made by."""

    evaluate: Callable[[Floats], list[ProfiledPoint]]
    best: Result
    parameter: str
    points: list[ProfiledPoint]

    @staticmethod
    def of(
        objective: Objective,
        best: Result,
        parameter: str,
        where: Scan | None,
        need: float,
        held: Mapping[str, float] | None,
    ) -> _Scanned:
        """Evaluate t where the user says, or over all values, or around the best fit; and on, as far as it has to be known."""

        def evaluate(grid: Floats) -> list[ProfiledPoint]:
            return profile(objective, best, parameter, grid, held)

        place = best.rates.parameters.index(parameter)
        if where:
            points = evaluate(np.linspace(where.start, where.stop, where.points))
        elif best.rates.bent[place] or best.rates.curved[place]:
            points = evaluate(
                np.unique(np.concatenate([_everywhere(best.rates, parameter), *_around(best, parameter)]))
            )
        else:
            (around,) = _around(best, parameter)[:1]
            points = evaluate(around)
        return _Scanned(evaluate, best, parameter, _extended(evaluate, points, best, parameter, need))

    @property
    def lowest(self) -> float:
        """Give the smallest -ln L."""
        return min([self.best.nll, *(point.nll for point in self.points if point.converged)])


def _record(found: _Scanned, levels: Sequence[float], inflation: float) -> ScanResult:
    """Read the intervals off; of a fit that did not converge there are none."""
    best, name, lowest = found.best, found.parameter, found.lowest
    limits = best.rates.bounds[best.rates.parameters.index(name)]
    heights = {f"{level:g}": float(chi2.ppf(level, 1)) for level in levels}
    at: dict[float, dict[str, Pieces]] = {}
    for factor in dict.fromkeys((inflation, 1.0)):
        wanted = [factor * height for height in heights.values()]
        cuts = _cut(found, lowest, wanted) if best.converged else [() for _ in wanted]
        at[factor] = dict(zip(heights, cuts, strict=True))
    return ScanResult(
        parameter=name,
        points=tuple(ScanPoint(p.value, _t(p, lowest), p.converged) for p in found.points),
        best=best.value(name),
        converged=best.converged,
        minima=len(best.minima),
        inflation=inflation,
        intervals=at[inflation],
        intervals_at_fixed_weights=at[1.0],
        open=tuple(level for level, pieces in at[inflation].items() if _is_open(pieces, found.points, limits)),
    )


def _around(best: Result, parameter: str) -> list[Floats]:
    """Spread points over four standard errors to each side of every minimum that was found, the best one first."""
    place = best.rates.parameters.index(parameter)
    low, high = best.rates.bounds[place]
    width = 4 * np.nan_to_num(best.error(parameter)) or (high - low) / 10
    middles = dict.fromkeys([best.value(parameter), *(float(best.rates.outward(m)[place]) for m in best.minima)])
    return [np.linspace(max(m - width, low), min(m + width, high), AUTOMATIC) for m in middles]


def _extended(
    evaluate: Callable[[Floats], list[ProfiledPoint]],
    points: list[ProfiledPoint],
    best: Result,
    parameter: str,
    need: float,
) -> list[ProfiledPoint]:
    """Go on beyond the ends of a scan, up to the bounds, until t there is what the widest interval needs."""
    bounds = best.rates.bounds[best.rates.parameters.index(parameter)]
    for _ in range(REFINEMENTS):
        lowest = min([best.nll, *(p.nll for p in points if p.converged)])
        width = points[-1].value - points[0].value
        more: list[Floats] = []
        for end, bound, side in ((points[0], bounds[0], -1.0), (points[-1], bounds[1], 1.0)):
            beyond = side * (best.value(parameter) - end.value) > 0
            short = np.isfinite(end.nll) and (beyond or 2 * (end.nll - lowest) < need)
            if short and side * (bound - end.value) > NARROW * width:
                reach = side * min(side * bound, side * end.value + width / 2)
                more.append(np.linspace(end.value, reach, MORE + 1)[1:])
        if not more or not best.converged:
            return points
        points = sorted([*points, *evaluate(np.sort(np.concatenate(more)))], key=lambda p: p.value)
    return points


def _everywhere(rates: Rates, parameter: str) -> Floats:
    """Spread a scan evenly in s over all values: t may come down again far from the best fit."""
    place = rates.parameters.index(parameter)
    (low, high), (first, last) = rates.limits()[place], rates.bounds[place]
    return np.array([first, *(rates.out(parameter, s) for s in np.linspace(low, high, CURVED)[1:-1]), last])


def _t(point: ProfiledPoint, lowest: float) -> float | None:
    return 2 * (point.nll - lowest) if np.isfinite(point.nll) else None


def _is_open(pieces: Pieces, points: Sequence[ProfiledPoint], limits: tuple[float, float]) -> bool:
    """Whether an interval ends where the scan does, spans a point that did not converge, or was missed by the scan."""
    if not pieces:
        return True
    good = [point.value for point in points if point.converged]
    ends = [e for e, bound in zip((good[:1], good[-1:]), limits, strict=True) if e and abs(e[0] - bound) > 1e-12]
    lost = [point.value for point in points if not point.converged]
    return any(
        [piece[0]] in ends or [piece[1]] in ends or any(piece[0] <= x <= piece[1] for x in lost) for piece in pieces
    )


def _cut(found: _Scanned, lowest: float, heights: Sequence[float]) -> list[Pieces]:
    """Cut one curve of t at all heights, so that intervals are nested; fit again at the edges until t there is the height.

    The curve is drawn in the coordinate of the fit, in which t is smooth, and goes through every point without overshooting.
    """
    rates, name = found.best.rates, found.parameter
    own = ProfiledPoint(found.best.value(name), found.best.nll, found.best.converged, found.best.theta)
    inside = found.points[0].value <= own.value <= found.points[-1].value
    known = {point.value: point for point in (*found.points, *([own] if inside else [])) if point.converged}
    pieces: list[Pieces] = [() for _ in heights]
    for _ in range(REFINEMENTS):
        if len(known) < FEWEST:
            return [() for _ in heights]
        grid = np.array(sorted(known))
        smooth = np.array([rates.inward(name, x) for x in grid])
        t = 2 * (np.array([known[x].nll for x in grid]) - lowest)
        ends = dict(zip(smooth, grid, strict=True))  # an end of the scan has its own value
        cuts = [below(smooth, t, height) for height in heights]
        out = {x: float(ends.get(x, rates.out(name, x))) for own in cuts for piece in own for x in piece}
        pieces = [tuple((out[low], out[high]) for low, high in own) for own in cuts]
        wanted = {
            edge: h
            for h, own in zip(heights, pieces, strict=True)
            for piece in own
            for edge in piece
            if edge not in known
        }
        new = [point for point in found.evaluate(np.array(sorted(wanted))) if point.converged] if wanted else []
        known |= {point.value: point for point in new}
        if all(abs(2 * (point.nll - lowest) - wanted[point.value]) < TOLERANCE for point in new):
            break
    return pieces


def below(grid: Floats, t: Floats, height: float) -> list[list[float]]:
    """Find where t stays below some height; the pieces may be several, and each holds a point that is below.

    Args:
        grid: Ascending values, shape (N,).
        t: Test statistic there, shape (N,).
        height: The chi-squared quantile of a level, times k.

    Returns:
        Pieces [low, high]; a piece that reaches an end of the grid ends there.
    """
    curve = PchipInterpolator(grid, t)
    roots = curve.solve(height, extrapolate=False)
    inner = sorted({float(r) for r in roots if np.isfinite(r) and grid[0] < r < grid[-1]})
    edges = [float(grid[0]), *inner, float(grid[-1])]
    pieces: list[list[float]] = []
    for low, high in pairwise(edges):
        if curve((low + high) / 2) < height:
            if pieces and pieces[-1][1] == low:
                pieces[-1][1] = high
            else:
                pieces.append([low, high])
    wide = NARROW * (grid[-1] - grid[0])
    return [p for p in pieces if p[1] - p[0] > wide and ((grid >= p[0]) & (grid <= p[1]) & (t < height)).any()]
