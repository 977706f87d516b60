"""Where fits are started, so that the deepest minimum is found: what the structure of the model says, and what probes say.

-ln L is convex in parameters of which all multipliers are straight lines. It need not be in others, which are `bent`: those
under a root, in a square or in a product, and nuisance parameters whose yields go down to both sides. Along these, fits start
at several places, and again wherever -ln L, along one parameter, has a minimum that is not the one found. Nuisance parameters
that change shapes are `shaped`: along them a fit from the nominal values looks for further minima, too. Where a response has a kink,
-ln L may have a minimum on either side of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from needle_parsl.nsbi.statistics.fits.descent import Descent, Mask, Objective
from needle_parsl.nsbi.statistics.model import Rates

Floats = npt.NDArray[np.float64]
SPREAD = (0.1, 0.5, 0.9)
"""Where between its bounds a fit is started again along a bent parameter."""
SIDES = (-1.5, 0.3, 1.5)
"""The same of a bent nuisance parameter, in sigma."""
PROBES = 25
"""Values of a bent physics parameter at which -ln L is looked at."""
FAR = (-4.0, -2.5, -1.2, 1.2, 2.5, 4.0)
"""The same of a nuisance parameter, in sigma."""
SCATTERED, TAKEN = 64, 6
"""Points at which -ln L is looked at where several physics parameters are bent, and how many of them are starts."""
BESIDE, ACROSS = 1e-6, 0.3
"""How far beyond a kink it is seen whether -ln L goes down there, and where a fit starts if it does, in sigma."""
SHALLOW = 0.02
"""A slope that leads up by less may lead down where the others have their minimum."""
SAME = 1e-3
"""Minima within this part of the range of each parameter, and within as much in -ln L, are one."""


def masks(objective: Objective, rates: Rates) -> tuple[Mask, Mask]:
    """Say which parameters are bent, and which shaped; of an objective that does not say, what its multipliers say."""
    none = np.zeros(len(rates.parameters), np.bool_)
    return getattr(objective, "bent", rates.bent), getattr(objective, "shaped", none)


def spread(rates: Rates, moved: Mask) -> Floats:
    """Give starts along the moved parameters, shape (S, P); NaN where one is not moved.

    Args:
        rates: With the bounds.
        moved: Which parameters, shape (P,).
    """
    if not moved.any():
        return np.empty((0, len(moved)))
    low, high = np.array(rates.limits()).T
    places = np.arange(len(moved))
    found = [
        np.where(places < rates.physics, low + share * (high - low), np.clip(side, low, high))
        for share, side in zip(SPREAD, SIDES, strict=True)
    ]
    own = np.flatnonzero(moved)
    if len(own) > 1:  # along the diagonal alone they would miss the corners
        shares = qmc.Sobol(len(own), seed=1).random(4)
        for row in shares:
            start = found[1].copy()
            start[own] = _box(rates, own)[0] + row * (_box(rates, own)[1] - _box(rates, own)[0])
            found.append(start)
    return np.where(moved, np.array(found), np.nan)


def separate(rates: Rates, bent: Mask, kinked: Mask | None) -> Floats:
    """Give starts along the bent parameters, and beyond each kink alone, shape (S, P); NaN leaves a parameter where it is.

    Args:
        rates: With the bounds.
        bent: Which parameters are moved together, shape (P,).
        kinked: Those with a kink at 0, shape (P,).
    """
    places, kinks = np.arange(len(bent)), np.flatnonzero(kinked) if kinked is not None else ()
    sides = [(k, side) for k in kinks for side in np.clip((-ACROSS, ACROSS), *rates.limits()[k]) if side]
    beyond = [np.where(places == k, side, np.nan) for k, side in sides]
    return np.array([*spread(rates, bent), *beyond]).reshape(-1, len(bent))


def inside(rates: Rates, theta: Floats, free: Mask) -> Floats:
    """Put physics parameters that are on a bound back to their nominal values: what is seen along others from a bound is little.

    Args:
        rates: With the bounds and the nominal values.
        theta: Where, shape (P,).
        free: Which parameters are not held, shape (P,).
    """
    low, high = np.array(rates.limits()).T
    margin = SAME * np.minimum(high - low, 1.0)
    bound = free & (np.arange(len(theta)) < rates.physics) & ((theta - low < margin) | (high - theta < margin))
    return np.where(bound, rates.start, theta)


def _box(rates: Rates, own: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Give the range in which the moved parameters start; nuisance parameters stay where others measure them."""
    low, high = np.array(rates.limits()).T
    inner = own >= rates.physics
    return np.where(inner, np.maximum(low[own], -2.0), low[own]), np.where(inner, np.minimum(high[own], 2.0), high[own])


def scattered(objective: Objective, rates: Rates, theta: Floats, moved: Mask) -> list[Floats]:
    """Look at many points where several parameters are bent; give the deepest."""
    own = np.flatnonzero(moved)
    if len(own) < 2:
        return []
    low, high = _box(rates, own)
    points = np.repeat(theta[None], SCATTERED, axis=0)
    points[:, own] = low + qmc.Sobol(len(own), seed=0).random(SCATTERED) * (high - low)
    values = np.array([objective(point)[0] for point in points])
    return [points[place] for place in np.argsort(values)[:TAKEN] if np.isfinite(values[place])]


def probed(objective: Objective, rates: Rates, best: Floats, moved: Mask) -> Iterator[Floats]:
    """Give the minima of -ln L along single parameters through a point, without that at the point.

    Args:
        objective: Gives -ln L and its gradient.
        rates: With the bounds.
        best: The point, shape (P,).
        moved: Along which parameters, shape (P,).
    """
    here, along = float(objective(best)[0]), getattr(objective, "along", lambda _: lambda _: objective)(best)
    for k in np.flatnonzero(moved):
        low, high = rates.limits()[k]
        grid = np.linspace(low, high, PROBES) if k < rates.physics else np.array([x for x in FAR if low <= x <= high])
        points = np.repeat(best[None], len(grid), axis=0)
        points[:, k] = grid
        line = along(int(k))
        looked = [line(point) for point in points]
        yield from (points[place] for place in _minima(grid, looked, int(k), float(best[k]), here))


def crossed(objective: Objective, rates: Rates, best: Floats, free: Mask) -> Iterator[Floats]:
    """Give starts beyond kinks from which -ln L goes down on the other side, too: there is a minimum on either.

    Args:
        objective: Gives -ln L and its gradient.
        rates: With the bounds.
        best: A minimum, shape (P,). As one parameter goes to its kink, the others follow as the Hessian there says.
        free: Which parameters are not held, shape (P,).
    """
    kinked, hessian = getattr(objective, "kinked", None), getattr(objective, "hessian", None)
    if kinked is None or hessian is None:
        return
    own, (low, high) = np.flatnonzero(free), np.array(rates.limits()).T
    away = np.flatnonzero(kinked & free & (best != 0) & (low < 0) & (high > 0))
    curvature = hessian(best)[np.ix_(own, own)] if len(away) else np.eye(0)
    covariance = np.linalg.pinv(curvature) if np.isfinite(curvature).all() else np.eye(len(own))
    for k in away:
        row, side, start = covariance[np.searchsorted(own, k)], -np.sign(best[k]), best.copy()
        start[own] -= row * (best[k] / float(row[own == k][0] or 1.0))
        start[k] = side * BESIDE
        start = np.clip(start, low, high)
        slope = objective(start)[1]
        if slope is not None and side * slope[k] < SHALLOW:
            start[k] = np.clip(side * ACROSS, low[k], high[k])
            yield start


def _minima(
    grid: Floats, looked: Sequence[tuple[float, Floats | None]], k: int, middle: float, here: float
) -> Iterator[int]:
    """Give the places of minima along a line: lower than both neighbours, or where the slope says that one is near."""
    values = {float(x): value for x, (value, _) in zip(grid, looked, strict=True)} | {middle: here}
    order = sorted(values)
    places = {float(x): place for place, x in enumerate(grid)}
    lowest = [
        x
        for place, x in enumerate(order)
        if x != middle
        and x in places
        and all(values[x] < values[order[other]] for other in (place - 1, place + 1) if 0 <= other < len(order))
    ]
    hidden = [
        a if looked[places[a]][0] < looked[places[b]][0] else b
        for a, b in pairwise(map(float, grid))
        if not a <= middle <= b and _slope(looked[places[a]], k) < 0 < _slope(looked[places[b]], k)
    ]
    yield from dict.fromkeys(places[x] for x in (*lowest, *hidden) if np.isfinite(values[x]))


def _slope(looked: tuple[float, Floats | None], k: int) -> float:
    return 0.0 if looked[1] is None else float(looked[1][k])


def distinct(descents: Sequence[Descent], rates: Rates) -> tuple[Floats, ...]:
    """Give the different minima that were found, the deepest first."""
    low, high = np.array(rates.limits()).T
    unit = np.where(np.arange(len(low)) < rates.physics, high - low, 1.0)
    found: list[tuple[float, Floats]] = []
    for descent in sorted((d for d in descents if d.valid), key=lambda d: d.nll):
        theta = descent.theta
        if not any(abs(value - descent.nll) < SAME and _near(theta, other, unit) for value, other in found):
            found.append((descent.nll, theta))
    return tuple(theta for _, theta in found)


def _near(one: Floats, other: Floats, unit: Floats) -> bool:
    return bool((np.abs(one - other) < 20 * SAME * unit).all())
