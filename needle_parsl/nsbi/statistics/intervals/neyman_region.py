"""The Neyman construction of two parameters: the region of their values that data accept.

    t(mu, k) = -2 ln [ max over nuisances L(mu, k, nuisances) / max L ]

A pair of values is accepted at a confidence level if t of the data is at most the quantile of t over toys thrown there. Where it
describes them, a surface of second order through the quantiles shares the statistics of the toys of all pairs. The edge of the
region is where t, between the points of the grid a cubic spline, crosses it.

References:
    G. J. Feldman, R. D. Cousins, arXiv:physics/9711021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.interpolate import RectBivariateSpline
from scipy.stats import chi2

from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.statistics.fits.descent import Objective
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.intervals import planes
from needle_parsl.nsbi.statistics.intervals.hypothesis_tests import TIE, p_value
from needle_parsl.nsbi.statistics.intervals.neyman import critical
from needle_parsl.nsbi.statistics.model import Rates
from needle_parsl.nsbi.statistics.results import NeymanRegion, RegionPoint
from needle_parsl.nsbi.statistics.toys.block import Block

Floats = npt.NDArray[np.float64]
TERMS = 6
"""Of a surface of second order."""
LEAST = 0.01
"""p-value of chi-squared below which no such surface describes the critical values."""
FAR = 2.0
"""t of the data, in chi-squared quantiles of the largest level, beyond which a pair is far from the region: what toys say there decides
nothing, and nuisance parameters may be where no fit of a toy converges."""
FINE = 201
"""Points to a side between which the edges of regions are sought."""


def statistic(objective: Objective, best: Result, grid: Mapping[str, Floats]) -> Floats:
    """Give t of the data at each pair of values, shape (X, Y); NaN where its fit did not converge.

    Args:
        objective: Gives -ln L and its gradient.
        best: The free fit.
        grid: By both parameters their values, shapes (X,) and (Y,).
    """
    (x, first), (y, second) = grid.items()
    rows = [planes.row(objective, best, (x, float(value)), (y, second)) for value in first]
    nll = np.array([[point.nll if point.converged else np.nan for point in row] for row in rows])
    t: Floats = 2 * (nll - np.nanmin(np.append(nll, best.nll)))
    return t


class _Level(NamedTuple):
    """What is known at one level, each of shape (X, Y)."""

    critical: Floats
    error: Floats
    raw: Floats
    """Of the toys at each pair alone."""
    raw_error: Floats
    smooth: bool


def region(
    grid: Mapping[str, Floats],
    toys: Sequence[Block],
    observed: Floats,
    levels: Sequence[float],
    rates: Rates,
    *,
    smoothed: bool = True,
) -> NeymanRegion:
    """Construct the confidence region.

    Args:
        grid: By both parameters their values, ascending, shapes (X,) and (Y,).
        toys: Those thrown at each pair, with both parameters held at their truth; the second parameter runs fastest.
        observed: t of the data at each pair, NaN where its fit did not converge, shape (X, Y).
        levels: Confidence levels.
        rates: The model; a region that reaches the end of the grid, and not a bound, is open.
        smoothed: Whether critical values are those of a smooth surface, where one describes them.

    Raises:
        InputError: At some level no point of the grid is accepted.
        TaskError: No toy at some point has converged.
    """
    (x, first), (y, second) = grid.items()
    places = [(float(a), float(b)) for a in first for b in second]
    t, far = observed.ravel(), observed > FAR * chi2.ppf(max(levels), 2)
    statistics = [
        _converged(block, {x: a, y: b}, far=bool(beyond))
        for block, (a, b), beyond in zip(toys, places, far.ravel(), strict=True)
    ]
    known = {f"{level:g}": _at_level((first, second), statistics, level, far, smoothed=smoothed) for level in levels}
    points = [
        _point(place, float(t[n]), statistics[n], toys[n], {name: _flat(own, n) for name, own in known.items()})
        for n, place in enumerate(places)
    ]
    found = NeymanRegion(
        parameters=(x, y),
        best={},
        points=tuple(points),
        asymptotic={f"{level:g}": float(chi2.ppf(level, 2)) for level in levels},
        extents={},
        smooth={name: own.smooth for name, own in known.items()},
        open=(),
    )
    for level in known:
        if not any(point.accepted[level] for point in points):
            a, b = places[int(np.nanargmin(t))]
            raise InputError(
                f"intervals.grid: no point is accepted at level {level}; t of the data is smallest at {x} = {a:g}, {y} = {b:g}, "
                "give the grid more points near there"
            )
    inside = {level: _inside(found, level) for level in known}
    opened = tuple(level for level, (_, _, own) in inside.items() if _open(own, grid, rates) or np.isnan(t).any())
    extents = {level: _extents((x, y), *own) for level, own in inside.items()}
    return NeymanRegion(**{**vars(found), "extents": extents, "open": opened})


def excess(found: NeymanRegion, level: str, points: int = FINE) -> tuple[Floats, Floats, Floats]:
    """Give t of the data minus its critical value between the points of the grid: the region is where it is not positive.

    Args:
        found: The construction.
        level: As `0.68`.
        points: To each side.

    Returns:
        Values of both parameters, shapes (F,) each, and the difference, shape (F, F).
    """
    first, second = _axes(found)
    limit = np.array([p.critical[level] for p in found.points]).reshape(len(first), len(second))
    fine = [np.linspace(own[0], own[-1], points) for own in (first, second)]
    bound = RectBivariateSpline(first, second, limit, kx=1, ky=1)(*fine)
    return fine[0], fine[1], between(found, points) - bound - TIE


def between(found: NeymanRegion, points: int = FINE) -> Floats:
    """Give t of the data between the points of the grid, shape (F, F); where no fit converged, the largest that is known."""
    first, second = _axes(found)
    t = np.array([np.nan if p.t is None else p.t for p in found.points]).reshape(len(first), len(second))
    known = np.where(np.isfinite(t), t, np.nanmax(t))
    kx, ky = min(3, len(first) - 1), min(3, len(second) - 1)
    spline = RectBivariateSpline(first, second, known, kx=kx, ky=ky)
    fine: Floats = spline(*(np.linspace(own[0], own[-1], points) for own in (first, second)))
    return fine


def _axes(found: NeymanRegion) -> tuple[Floats, Floats]:
    """Give the values of both parameters, shapes (X,) and (Y,)."""
    first, second = (np.unique([getattr(p, name) for p in found.points]) for name in "xy")
    return first, second


def _converged(block: Block, values: Mapping[str, float], *, far: bool) -> Floats:
    t = block.t[block.converged]
    if not len(t) and not far:
        where = ", ".join(f"{name} = {value:g}" for name, value in values.items())
        raise TaskError(f"no toy thrown at {where} has a fit that converged")
    return t


def _at_level(
    axes: tuple[Floats, Floats],
    statistics: Sequence[Floats],
    level: float,
    far: npt.NDArray[np.bool_],
    *,
    smoothed: bool,
) -> _Level:
    """Find the critical values of a level: smoothed near the region, if that is wanted and sound; by chi-squared where there is no toy.

    Args:
        axes: Values of both parameters, shapes (X,) and (Y,).
        statistics: t of toys at each pair.
        level: The confidence level.
        far: Which pairs are far from the region, shape (X, Y).
        smoothed: Whether a surface is tried.
    """
    without = float(chi2.ppf(level, 2)), 0.0
    found = np.array([critical(t, level) if len(t) else without for t in statistics])
    raw, errors = (column.reshape(far.shape) for column in found.T)
    toys = np.array([len(t) for t in statistics], np.float64).reshape(far.shape)
    surface = _surface(axes, raw, errors, toys, far) if smoothed else None
    values, own = surface or (raw, errors)
    return _Level(np.where(far, raw, values), np.where(far, errors, own), raw, errors, surface is not None)


def _surface(
    axes: tuple[Floats, Floats], raw: Floats, errors: Floats, toys: Floats, far: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats] | None:
    """Fit a surface of second order to the values that are not far from the region; None where it does not describe the values, or an error is 0, as of discrete data.

    The error of a single value is large where it has fluctuated upwards, so that it would pull the surface down: weights are from
    the median of error times sqrt(toys).

    Returns:
        The values, and their errors, shapes (X, Y).
    """
    near = ~far.ravel()
    if near.sum() < 2 * TERMS or not (errors[~far] > 0).all():
        return None
    scaled = (errors * np.sqrt(toys)).ravel()[near]
    sigma, values = np.median(scaled) / np.sqrt(toys.ravel()[near]), raw.ravel()[near]
    u, v = (2 * (own - own[0]) / (own[-1] - own[0]) - 1 for own in axes)
    a, b = (own.ravel() for own in np.meshgrid(u, v, indexing="ij"))
    terms = np.column_stack([np.ones_like(a), a, b, a * a, a * b, b * b])
    weighted = terms[near] / sigma[:, None] ** 2
    if np.linalg.matrix_rank(weighted) < TERMS:  # all near ones on a line or two
        return None
    covariance = np.linalg.inv(weighted.T @ terms[near])
    surface = terms @ (covariance @ weighted.T @ values)
    distance = (((values - surface[near]) / sigma) ** 2).sum()
    if chi2.sf(distance, near.sum() - TERMS) < LEAST:
        return None
    return surface.reshape(raw.shape), np.sqrt(((terms @ covariance) * terms).sum(axis=1)).reshape(raw.shape)


def _flat(own: _Level, place: int) -> tuple[float, float, float, float]:
    values = (own.critical, own.error, own.raw, own.raw_error)
    a, b, c, d = (float(array.ravel()[place]) for array in values)
    return a, b, c, d


def _point(
    place: tuple[float, float],
    observed: float,
    t: Floats,
    block: Block,
    known: Mapping[str, tuple[float, float, float, float]],
) -> RegionPoint:
    """Sum up one pair of values.

    Args:
        place: The pair.
        observed: t of the data; NaN where their fit did not converge.
        t: Of the toys that converged, shape (T,).
        block: All of them.
        known: By level the critical value and its error, smoothed and of these toys alone.
    """
    seen = not np.isnan(observed)
    share, error = p_value(t, observed) if seen and len(t) else (None, None)
    return RegionPoint(
        x=place[0],
        y=place[1],
        t=observed if seen else None,
        toys=len(t),
        failed=len(block.t) - len(t),
        pool_effective=block.effective if np.isfinite(block.effective) else None,
        vetoed=block.vetoed / max(float(block.events.mean()) if len(block.events) else 0.0, 1.0),
        p_value=share,
        p_value_error=error,
        p_value_asymptotic=float(chi2.sf(observed, 2)) if seen else None,
        critical={level: own[0] for level, own in known.items()},
        critical_error={level: own[1] for level, own in known.items()},
        critical_raw={level: own[2] for level, own in known.items()},
        critical_raw_error={level: own[3] for level, own in known.items()},
        accepted={level: seen and observed <= own[0] + TIE for level, own in known.items()},
    )


def _inside(found: NeymanRegion, level: str) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    first, second, own = excess(found, level)
    return first, second, own <= 0


def _extents(
    names: tuple[str, str], first: Floats, second: Floats, inside: npt.NDArray[np.bool_]
) -> dict[str, tuple[float, float]]:
    """Give the smallest and the largest value of each parameter in a region."""
    found = {}
    for name, values, own in ((names[0], first, inside.any(axis=1)), (names[1], second, inside.any(axis=0))):
        kept = values[own]
        found[name] = (float(kept[0]), float(kept[-1])) if len(kept) else (np.nan, np.nan)
    return found


def _open(inside: npt.NDArray[np.bool_], grid: Mapping[str, Floats], rates: Rates) -> bool:
    """Whether a region reaches an end of the grid that is no bound of the parameter."""
    edges = []
    for axis, (name, values) in enumerate(grid.items()):
        bounds = rates.bounds[rates.parameters.index(name)]
        edges += [
            inside.take(end, axis).any() for end, bound in zip((0, -1), bounds, strict=True) if values[end] != bound
        ]
    return any(edges)
