"""The Neyman construction with toys: critical values of t on a grid, and the parameter values that data accept.

A value mu is accepted at a confidence level if t_mu of the data is at most the quantile of t_mu over toys thrown at mu. The
quantiles of neighbouring values share their statistics through a smooth curve (`smoothing`), where one describes them.
With q_mu in the place of t_mu, which is 0 below the best value, what is accepted ends with an upper limit.

References:
    G. J. Feldman, R. D. Cousins, arXiv:physics/9711021; ATLAS, arXiv:2412.01548.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline
from scipy.stats import chi2, norm

from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.statistics.intervals.hypothesis_tests import TIE, p_value, too_large
from needle_parsl.nsbi.statistics.intervals.smoothing import smooth
from needle_parsl.nsbi.statistics.model import Rates
from needle_parsl.nsbi.statistics.results import Belt, BeltPoint, CurveQuality, Pieces
from needle_parsl.nsbi.statistics.toys.block import Block

Floats = npt.NDArray[np.float64]
UNCERTAIN = 3.0
"""Errors of a critical value within which t of the data calls for more toys."""
RESOLVED = 2.0
"""Errors of a p-value by which a value must be rejected to part an interval."""
FINE = 2000
"""Points between which the edges of intervals are sought."""


def critical(t: Floats, level: float) -> tuple[float, float]:
    """Find the critical value of a test statistic and its statistical error.

    Args:
        t: Of the toys, shape (T,).
        level: Confidence level; at least this fraction of the toys is at or below the critical value.

    Returns:
        The value, and half the distance of the order statistics one binomial standard deviation to each side.
    """
    ordered, n = np.sort(t), len(t)
    step = np.sqrt(level * (1 - level) * n)
    places = np.clip(np.ceil([level * n, level * n - step, level * n + step]).astype(int) - 1, 0, n - 1)
    value, low, high = ordered[places]
    return float(value), float(high - low) / 2


def belt(
    parameter: str,
    grid: Floats,
    toys: Sequence[Block],
    observed: Floats,
    levels: Sequence[float],
    rates: Rates,
    *,
    smoothed: bool = True,
    best: float | None = None,
) -> Belt:
    """Construct the confidence belt and read the intervals off.

    Args:
        parameter: Its name.
        grid: Its values, ascending, shape (G,).
        toys: Those thrown at each value.
        observed: t of the data at each value, NaN where its fit did not converge, shape (G,).
        levels: Confidence levels.
        rates: The model; an interval that ends with the grid, and not at a bound, is open.
        smoothed: Whether intervals are read off a smooth curve through the critical values.
        best: The best value of the data, where q_mu orders and the intervals are upper limits; None where t_mu does.

    Raises:
        InputError: At some level no value of the grid is accepted.
        TaskError: No toy at some value has converged.
    """
    one_sided, below = best is not None, -np.inf if best is None else best
    statistics = [
        _statistics(parameter, value, block, one_sided=one_sided) for value, block in zip(grid, toys, strict=True)
    ]
    data = _Data(observed, np.where(grid < below, 0.0, observed), below)
    levelled = {
        f"{level:g}": _at_level(parameter, grid, statistics, data, level, rates, smoothed=smoothed) for level in levels
    }
    return Belt(
        parameter=parameter,
        statistic="q_mu" if one_sided else "t_mu",
        points=tuple(
            _point(float(grid[place]), float(data.ordered[place]), (t, block), (levelled, place), one_sided=one_sided)
            for place, (t, block) in enumerate(zip(statistics, toys, strict=True))
        ),
        intervals={name: found.intervals for name, found in levelled.items()},
        curves={name: found.curve for name, found in levelled.items()},
        open=tuple(name for name, found in levelled.items() if _open(parameter, found.intervals, grid, data, rates)),
        asymptotic={f"{level:g}": _asymptotic(level, one_sided=one_sided) for level in levels},
    )


def _point(
    value: float,
    observed: float,
    toys: tuple[Floats, Block],
    levelled: tuple[Mapping[str, _Level], int],
    *,
    one_sided: bool,
) -> BeltPoint:
    """Sum up one value of the grid.

    Args:
        value: Of the parameter.
        observed: The ordering statistic of the data; NaN where their fit did not converge.
        toys: Statistic of the toys that converged, and all of them.
        levelled: What is known by level, and the place of the value.
        one_sided: Whether q_mu orders.
    """
    (t, block), (levels, place) = toys, levelled
    share, error, asymptotic = _extreme(t, observed, one_sided=one_sided)
    return BeltPoint(
        value=value,
        t=None if np.isnan(observed) else observed,
        toys=len(t),
        failed=len(block.t) - len(t),
        pool_effective=block.effective if np.isfinite(block.effective) else None,
        vetoed=block.vetoed / max(float(block.events.mean()), 1.0),
        p_value=share,
        p_value_error=error,
        p_value_asymptotic=asymptotic,
        critical={name: float(found.critical[place]) for name, found in levels.items()},
        critical_error={name: float(found.critical_error[place]) for name, found in levels.items()},
        critical_raw={name: float(found.raw[place]) for name, found in levels.items()},
        critical_raw_error={name: float(found.raw_error[place]) for name, found in levels.items()},
        accepted={name: bool(found.accepted[place]) for name, found in levels.items()},
    )


class _Data(NamedTuple):
    """What the data say at each value of the grid; NaN where its fit did not converge."""

    t: Floats
    """t_mu, shape (G,)."""
    ordered: Floats
    """The statistic that orders, shape (G,)."""
    below: float
    """Where it is 0, below the best value; nowhere for t_mu."""


def _asymptotic(level: float, *, one_sided: bool) -> float:
    """Give the critical value of chi-squared; q_mu is 0 for half of the toys."""
    return float(norm.ppf(max(level, 0.5)) ** 2 if one_sided else chi2.ppf(level, 1))


def _extreme(t: Floats, observed: float, *, one_sided: bool) -> tuple[float | None, float | None, float | None]:
    """Give the p-value with its error, and what chi-squared would give."""
    if np.isnan(observed):
        return None, None, None
    share, error = p_value(t, observed)
    half = 0.5 if one_sided and observed > TIE else 1.0
    return share, error, float(half * chi2.sf(observed, 1))


def uncertain(t: Floats, observed: float, levels: Sequence[float]) -> bool:
    """Whether more toys could change what is accepted: t of the data is within some errors of a critical value.

    Args:
        t: Of the toys so far, shape (T,).
        observed: Of the data; NaN where its fit did not converge, and toys do not help.
        levels: Confidence levels.
    """
    found = [critical(t, level) for level in levels]
    return not np.isnan(observed) and any(abs(observed - value) < UNCERTAIN * error for value, error in found)


def _statistics(parameter: str, value: float, block: Block, *, one_sided: bool) -> Floats:
    _, values, _ = block.column(parameter)
    t = (too_large(block.t, values, value) if one_sided else block.t)[block.converged]
    if not len(t):
        raise TaskError(f"no toy thrown at {parameter} = {value:g} has a fit that converged")
    return t


class _Critical(NamedTuple):
    """Critical values at one level: on the grid with their errors, and between its values."""

    values: Floats
    errors: Floats
    between: Callable[[Floats], Floats]
    curve: CurveQuality | None
    """How a smooth curve agrees with what toys give; None where there is none."""


class _Level(NamedTuple):
    """What is known at one level, on the grid, each of shape (G,), and the interval."""

    critical: Floats
    critical_error: Floats
    raw: Floats
    """Of the toys at each value alone."""
    raw_error: Floats
    accepted: npt.NDArray[np.bool_]
    intervals: Pieces
    curve: CurveQuality | None


def _critical(s: Floats, statistics: Sequence[Floats], raw: Floats, errors: Floats, *, smoothed: bool) -> _Critical:
    """Smooth critical values if that is wanted and sound; else they are joined by straight lines."""
    toys = np.array([len(t) for t in statistics], np.float64)
    first = int(np.argmax(raw > 0))  # at a bound from below q_mu is 0 for all toys: known, and no part of the curve
    curve = smooth(s[first:], raw[first:], errors[first:], toys[first:]) if smoothed else None
    if curve is None:
        return _Critical(raw, errors, lambda x: np.interp(x, s, raw), None)
    values = np.append(raw[:first], curve(s[first:]))
    return _Critical(
        values,
        np.append(errors[:first], curve.error(s[first:])),
        lambda x: np.where(x < s[first], np.interp(x, s, values), curve(np.maximum(x, s[first]))),
        curve.quality(),
    )


def _at_level(
    parameter: str,
    grid: Floats,
    statistics: Sequence[Floats],
    data: _Data,
    level: float,
    rates: Rates,
    *,
    smoothed: bool,
) -> _Level:
    s = np.array([rates.inward(parameter, value) for value in grid])
    raw, raw_errors = np.array([critical(t, level) for t in statistics]).T
    used = _critical(s, statistics, raw, raw_errors, smoothed=smoothed)
    accepted = data.ordered <= used.values + TIE  # NaN is not accepted
    if not accepted.any():
        raise InputError(
            f"intervals.grid: no value is accepted at level {level:g}; t of the data is smallest at {parameter} = "
            f"{grid[int(np.argmin(np.nan_to_num(data.ordered, nan=np.inf)))]:g}, give the grid more points near there"
        )
    good = np.isfinite(data.t)
    below = rates.inward(parameter, data.below) if np.isfinite(data.below) else -np.inf
    found = pieces(s[good], data.t[good], lambda x: used.between(x) + TIE, below)
    if used.curve is None:  # critical values scatter, or jump as those of counts do
        found = resolved(found, s, _doubted(statistics, data.ordered, level), int(np.nanargmin(data.t)))
    ends = dict(zip(s, grid, strict=True))
    intervals = tuple(
        (float(ends.get(low, rates.out(parameter, low))), float(ends.get(high, rates.out(parameter, high))))
        for low, high in found
    )
    return _Level(used.values, used.errors, raw, raw_errors, accepted, intervals, used.curve)


def pieces(
    grid: Floats, observed: Floats, values: Callable[[Floats], Floats], below: float = -np.inf
) -> list[list[float]]:
    """Find where the data's t is at most critical; the pieces may be several.

    Between the points of the grid t follows a cubic spline.

    Args:
        grid: Ascending values in the coordinate of the fit, in which t is smooth, shape (G,).
        observed: t of the data, shape (G,).
        values: Gives critical values, shape (N,) to shape (N,).
        below: Up to where it counts as 0.

    Returns:
        Pieces [low, high]; one that reaches an end of the grid ends there.
    """
    fine = np.unique(np.concatenate([grid, np.linspace(grid[0], grid[-1], FINE)]))
    t = CubicSpline(grid, observed)(fine) if len(grid) > 1 else observed
    excess = np.where(fine < below, 0.0, t) - values(fine)
    edges = [float(fine[0])] if excess[0] <= 0 else []
    for (a, b), (left, right) in zip(pairwise(fine), pairwise(excess), strict=True):
        if (left <= 0) != (right <= 0):
            edges.append(float(a + (b - a) * left / (left - right)))
    edges += [float(fine[-1])] if excess[-1] <= 0 else []
    return [[low, high] for low, high in zip(edges[::2], edges[1::2], strict=True)]


def _doubted(statistics: Sequence[Floats], ordered: Floats, level: float) -> npt.NDArray[np.bool_]:
    """Say at which values of the grid the number of toys leaves it open whether the data are accepted, shape (G,)."""
    error = np.array([np.sqrt(level * (1 - level) / len(t)) for t in statistics])
    p_values = np.array([p_value(t, own)[0] for t, own in zip(statistics, np.nan_to_num(ordered), strict=True)])
    doubted: npt.NDArray[np.bool_] = np.isnan(ordered) | (np.abs(p_values - (1 - level)) < RESOLVED * error)
    return doubted


def resolved(found: list[list[float]], grid: Floats, doubted: npt.NDArray[np.bool_], lowest: int) -> list[list[float]]:
    """Join pieces between which no value of the grid is surely rejected, and drop those that hold no value of the grid.

    A piece beside the value with the smallest t stays: it has the best fit, however narrow it is. What is left has the outermost ends, as in the tables of Feldman and Cousins.

    Args:
        found: Pieces [low, high], ascending.
        grid: Shape (G,).
        doubted: Where toys leave it open, shape (G,).
        lowest: Where t of the data is smallest.
    """
    left, right = grid[max(lowest - 1, 0)], grid[min(lowest + 1, len(grid) - 1)]
    joined: list[list[float]] = []
    for low, high in found:
        if joined and doubted[(joined[-1][1] < grid) & (grid < low)].all():
            joined[-1][1] = high
        else:
            joined.append([low, high])
    return [
        [low, high] for low, high in joined if ((low <= grid) & (grid <= high)).any() or (left <= low and high <= right)
    ]


def _open(parameter: str, intervals: Sequence[Sequence[float]], grid: Floats, data: _Data, rates: Rates) -> bool:
    """Whether an interval ends with the grid, away from a bound, or spans a value whose fit did not converge.

    One of q_mu has no lower end: all values up to the best one are in it.
    """
    bounds = rates.bounds[rates.parameters.index(parameter)]
    good = grid[np.isfinite(data.t)]
    ends = {float(end) for end, bound in zip((good[0], good[-1]), bounds, strict=True) if end != bound}
    lost = grid[~np.isfinite(data.ordered)]
    two_sided = not np.isfinite(data.below)
    return any(
        (two_sided and low in ends) or high in ends or ((low <= lost) & (lost <= high)).any() for low, high in intervals
    )
