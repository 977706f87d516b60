"""Minimising -ln L with iminuit: from several starts, at bounds and kinks, with MINOS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from needle_parsl.analysis import WALL
from needle_parsl.nsbi.statistics.fits import degeneracy, starts
from needle_parsl.nsbi.statistics.fits.descent import Descent, Objective, descend
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model import Rates

Floats = npt.NDArray[np.float64]
DEEPER = 1e-3
"""A point that is lower than the best fit by this is of a deeper minimum, and the fit starts again from there."""
ACCURACY = 1e-4
"""Of the end of a MINOS interval, in standard errors."""
SETTLED = 1e-4
"""Distance of -ln L from its minimum, as its slopes tell, within which a point on a bound is the minimum."""
AGAIN = 3
"""How often a fit starts again from deeper points."""


def minimise(
    objective: Objective,
    rates: Rates,
    *,
    start: Floats | None = None,
    fixed: Mapping[str, float] | None = None,
    errors: bool = True,
    minos: Sequence[str] = (),
    also: Sequence[Floats] = (),
    thorough: bool | None = None,
) -> Result:
    """Minimise -ln L within the bounds of the parameters, from several starts where one may miss the minimum.

    Args:
        objective: Gives -ln L and its gradient, as a function of theta.
        rates: Names, starting values and bounds.
        start: The theta to start from first; left out, the nominal one.
        fixed: Parameters that are held, with their values.
        errors: Whether the error matrix is wanted; without it, a point of a scan costs a third.
        minos: Parameters whose MINOS interval is wanted.
        also: Further theta to start from, as minima that are known.
        thorough: Whether further minima are looked for along parameters that change shapes, too; left out, where there is no start
            that is near the minimum, and where several minima are known.
    """
    theta = np.array(rates.start if start is None else start, dtype=np.float64)
    free = np.array([name not in (fixed or {}) for name in rates.parameters])
    held = {rates.parameters.index(name): rates.inward(name, value) for name, value in (fixed or {}).items()}
    theta[list(held)] = list(held.values())
    if not free.any():  # a scan of the only parameter: there is nothing to minimise
        value = float(objective(theta)[0])
        return Result(
            rates=rates,
            converged=bool(np.isfinite(value)),
            nll=value,
            theta=theta,
            theta_covariance=np.zeros((len(theta),) * 2),
            minima=(theta,),
        )
    descents = _descents(
        objective,
        rates,
        [theta, *(np.where(free, other, theta) for other in also)],
        free,
        # Where the free fit has several minima, one with parameters held may have others.
        thorough=start is None or bool(also) if thorough is None else thorough,
    )
    if not descents:
        return Result(
            rates=rates, converged=False, nll=np.nan, theta=theta, theta_covariance=np.zeros((len(theta),) * 2)
        )
    best = min(descents, key=Descent.rank)
    minima = starts.distinct(descents, rates)
    second = 2 * (float(objective(minima[1])[0]) - best.nll) if len(minima) > 1 else None
    found = replace(_result(best, rates, errors=errors), minima=minima or (best.theta,), next_minimum=second)
    return _with_minos(objective, best, found, minos) if found.converged and minos else found


def _descents(
    objective: Objective,
    rates: Rates,
    first: Sequence[Floats],
    free: npt.NDArray[np.bool_],
    *,
    thorough: bool,
) -> list[Descent]:
    """Go down from all starts: those given, and those that structure and probes say.

    Args:
        objective: Gives -ln L and its gradient.
        rates: Names and bounds.
        first: Starts.
        free: Which parameters are not held.
        thorough: Whether further minima are looked for along parameters that change shapes, too.
    """
    found: list[Descent] = []

    def go(theta: Floats) -> None:
        if np.isfinite(objective(theta)[0]):
            found.append(descend(objective, rates, theta, free))

    bent, shaped = starts.masks(objective, rates)
    moved, probed = bent & free, (bent | shaped if thorough else bent) & free
    for theta in first:
        go(theta)
    if not found or not found[0].valid:  # try elsewhere, whatever the structure says
        moved = moved if moved.any() else (np.arange(len(free)) < rates.physics) & free
    base = starts.inside(rates, min(found, key=Descent.rank).theta if found else first[0], free)
    for theta in starts.spread(rates, moved):
        go(np.where(moved, theta, base))
    for _ in range(AGAIN if found else 0):
        best = min(found, key=Descent.rank)
        further = [*starts.crossed(objective, rates, best.theta, free)]
        if probed.any():
            # Where there are several minima, there may be more that no single parameter leads to.
            wide = probed if thorough and len(starts.distinct(found, rates)) > 1 else moved
            further += starts.scattered(objective, rates, best.theta, wide)
            further += starts.probed(objective, rates, best.theta, probed)
        for theta in further:
            go(theta)
        if min(found, key=Descent.rank).nll > best.nll - DEEPER:
            break
    return found


def _result(found: Descent, rates: Rates, *, errors: bool) -> Result:
    minuit, problem = found.minuit, found.problem
    theta, value = found.theta, found.nll
    near = np.array([_near(*at) for at in zip(minuit.values, minuit.limits, minuit.errors, strict=True)])
    ends = [name for name, end in zip(minuit.parameters, near, strict=True) if end]
    on_wall = tuple(name for name in ends if rates.is_wall(name, float(minuit.values[name])))
    at_bound = tuple(name for name in ends if name not in on_wall)
    on_kink = tuple(name for name, pinned in zip(rates.parameters, found.pinned, strict=True) if pinned)
    flat = _flat(found, ~near) if errors else {}
    inner = _covariance(found, ~near) if errors and not flat else np.zeros((len(near),) * 2)
    valid = found.valid or (bool(near.any()) and _settled(found, near))
    good = bool(valid and inner is not None and np.isfinite(value) and not flat)
    covariance = np.zeros((len(theta),) * 2)
    if inner is not None:
        covariance[np.ix_(problem.free, problem.free)] = inner
        theta, value = _polished(found, inner) if good and errors else (theta, value)
    return Result(
        rates=rates,
        converged=good,
        nll=value,
        theta=theta,
        theta_covariance=covariance,
        minima=(theta,),
        at_bound=at_bound,
        on_wall=on_wall,
        on_kink=on_kink,
        degenerate=flat,
    )


def _polished(found: Descent, covariance: Floats) -> tuple[Floats, float]:
    """Take one of Newton's steps, and give theta and -ln L there: MIGRAD ends within 1e-6 of the minimum, which is 1e-3 errors away."""
    problem, x = found.problem, np.array(found.minuit.values)
    low, high = np.array(found.minuit.limits).T
    if problem.second is not None:
        moved = x - covariance @ problem.gradient(x)
        if ((low <= moved) & (moved <= high)).all() and problem.value(moved) < found.nll:
            return problem.whole(moved), problem.value(moved)
    return found.theta, found.nll


def _settled(found: Descent, near: npt.NDArray[np.bool_]) -> bool:
    """Whether a descent to a bound is at a minimum: what slope is left leads out of the bounds (Karush, Kuhn, Tucker).

    Args:
        found: What MIGRAD takes for no minimum, since it sees a bound by a change of variables alone.
        near: Which free parameters are on a bound.
    """
    problem, x = found.problem, np.array(found.minuit.values)
    if problem.second is None:
        return False
    slope, own = problem.gradient(x), problem.hessian(x)
    low, high = np.array(found.minuit.limits).T
    inner, inside = own[np.ix_(~near, ~near)], slope[~near]
    if not (np.isfinite(own).all() and np.isfinite(slope).all()):
        return False
    down = np.maximum(np.where(x - low < high - x, -slope, slope), 0.0)[near]  # into the bounds
    bend, width = np.diag(own)[near], (high - low)[near]
    reach = np.minimum(np.divide(down, bend, out=np.full_like(down, np.inf), where=bend > 0), width)
    if np.linalg.eigvalsh(inner).min(initial=np.inf) <= 0 or (down[down > 0] * reach[down > 0] > 2 * SETTLED).any():
        return False
    return bool(inside @ np.linalg.solve(inner, inside) < 2 * SETTLED)


def _flat(found: Descent, inside: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Find the direction along which -ln L does not change, where its Hessian is known."""
    if found.problem.second is None:
        return {}
    names = [name for name, free in zip(found.minuit.parameters, inside, strict=True) if free]
    own = found.problem.hessian(np.array(found.minuit.values))[np.ix_(inside, inside)]
    return degeneracy.flat(own, names) if np.isfinite(own).all() else {}


def _covariance(found: Descent, inside: npt.NDArray[np.bool_]) -> Floats | None:
    """Invert the Hessian of the free parameters; one on its bound has none. None where it is not positive."""
    minuit = found.minuit
    if found.problem.second is None:
        minuit.hesse()
        return None if minuit.covariance is None else np.array(minuit.covariance)
    whole, rows = np.zeros((len(inside),) * 2), np.ix_(inside, inside)
    own = found.problem.hessian(np.array(minuit.values))[rows]
    if not (np.isfinite(own).all() and np.linalg.eigvalsh(own).min(initial=np.inf) > 0):
        return None
    whole[rows] = np.linalg.inv(own)
    return whole


def _with_minos(objective: Objective, best: Descent, found: Result, names: Sequence[str]) -> Result:
    """Add MINOS intervals; a point that is deeper than the fit on the way there starts it again.

    iminuit's MINOS knows nothing of other minima and kinks; where there are such, or where it fails, each end is sought by fits
    with the parameter held.
    """
    wanted = [name for name in names if name not in (*found.at_bound, *found.on_kink)]
    simple = len(found.minima) == 1 and not found.on_kink
    intervals = _minos(best, found.rates, wanted) if simple else {}
    for name in (name for name in wanted if name not in intervals):
        ends, deeper = _by_profile(objective, found, name)
        if deeper is not None:
            again = minimise(objective, found.rates, start=deeper.theta, also=found.minima, minos=names)
            return again if again.nll < found.nll else replace(again, converged=False)
        if ends is not None:
            intervals[name] = ends
    lost = tuple(name for name in wanted if name not in intervals)
    return replace(found, minos=intervals, minos_failed=lost)


def _by_profile(objective: Objective, best: Result, name: str) -> tuple[tuple[float, float] | None, Result | None]:
    """Find where -ln L, minimised over the others, is 1/2 above the minimum; or a point that is deeper than it."""
    rates, place = best.rates, best.parameters.index(name)
    deeper: list[Result] = []

    def excess(x: float) -> float:
        fit = minimise(
            objective, rates, start=best.theta, fixed={name: rates.out(name, x)}, errors=False, also=best.others
        )
        if fit.converged and fit.nll < best.nll - DEEPER:
            deeper.append(fit)
            raise _DeeperError
        return fit.nll - best.nll - 0.5

    middle, width = float(best.theta[place]), float(np.sqrt(best.theta_covariance[place, place]))
    try:
        ends = [_end(excess, middle, side * width, rates.limits()[place]) for side in (-1.0, 1.0)]
    except _DeeperError:
        return None, min(deeper, key=lambda fit: fit.nll)
    if not width > 0 or any(end is None for end in ends):
        return None, None
    low, high = (rates.out(name, float(end or 0.0)) for end in ends)
    bounds = rates.bounds[place]
    return (max(low, bounds[0]), min(high, bounds[1])), None


class _DeeperError(Exception):
    """A fit with a parameter held is deeper than the free fit."""


def _end(excess: Any, middle: float, width: float, limits: tuple[float, float]) -> float | None:
    """Go outward from a minimum until the excess is positive, and find its root; a bound that comes first is the end."""
    inner, step = middle, width
    for _ in range(20):
        outer = min(max(inner + step, limits[0]), limits[1])
        value = excess(outer)
        if not np.isfinite(value):
            return None
        if value >= 0:
            return float(brentq(excess, inner, outer, xtol=ACCURACY * abs(width))) if outer != inner else outer
        if outer in limits:
            return outer
        inner, step = outer, 1.5 * step
    return None


def _minos(found: Descent, rates: Rates, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Give the intervals that iminuit's MINOS finds; a side that ends at a bound ends there."""
    intervals: dict[str, tuple[float, float]] = {}
    if names:
        found.minuit.minos(*names)
    for name in names:
        errors, middle = found.minuit.merrors[name], found.minuit.values[name]
        place = rates.parameters.index(name)
        good = (errors.lower_valid or errors.at_lower_limit) and (errors.upper_valid or errors.at_upper_limit)
        if good and not (errors.lower_new_min or errors.upper_new_min):
            low, high = rates.bounds[place]
            intervals[name] = (
                low if errors.at_lower_limit else rates.out(name, middle + errors.lower),
                high if errors.at_upper_limit else rates.out(name, middle + errors.upper),
            )
    return intervals


def _near(value: float, limits: tuple[float, float], error: float) -> bool:
    """Whether a value is on its bound, as far as the fit can tell."""
    low, high = limits
    return bool(min(value - low, high - value) < max(1e-3 * error, 1e-6 * min(high - low, WALL)))
