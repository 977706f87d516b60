"""Minimising -ln L with iminuit, and the record of a fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from iminuit import Minuit

from needle_parsl.analysis import WALL
from needle_parsl.nsbi.statistics.fits import degeneracy
from needle_parsl.nsbi.statistics.model import Rates

Floats = npt.NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats | None]]
"""Gives -ln L and its gradient; None where the gradient is not known, and is then taken by differences.

An objective may have a method `hessian`, which spares MIGRAD three quarters of its calls.
"""
TOLERANCE = 1e-3
"""Of MIGRAD: it stops where -ln L is within 1e-6 of its minimum, as far as it can tell."""
SPREAD = (0.1, 0.5, 0.9)
"""Where between its bounds a fit is started again in a coordinate in which the rate is not monotonic."""


@dataclass(frozen=True)
class Result:
    """A fit."""

    rates: Rates
    """Of the model that was fitted."""
    converged: bool
    """The minimum is valid, its error matrix positive, and no nuisance parameter is on its wall."""
    nll: float
    """-ln L without ln n!."""
    theta: Floats
    """The minimum, in the coordinates of the fit."""
    theta_covariance: Floats
    """Of theta; zeros if it was not asked for."""
    at_bound: tuple[str, ...] = ()
    """Parameters on a bound that is theirs."""
    on_wall: tuple[str, ...] = ()
    """Nuisance parameters at the end of their range, which no good fit reaches."""
    degenerate: Mapping[str, float] = field(default_factory=dict)
    """The direction along which -ln L is flat, by parameter; such a fit has failed."""
    minos: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Where -ln L, minimised over all other parameters, is 1/2 above its minimum, by parameter."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Name the parameters, physics first."""
        return self.rates.parameters

    @property
    def values(self) -> Floats:
        """Give the minimum in the parameters, shape (P,)."""
        return self.rates.outward(self.theta)

    @property
    def covariance(self) -> Floats:
        """Give the covariance of the parameters, to first order, shape (P, P)."""
        stretch = self.rates.stretch(self.theta)
        return self.theta_covariance * np.outer(stretch, stretch)

    def value(self, name: str) -> float:
        """Give the best value of a parameter."""
        return float(self.values[self.parameters.index(name)])

    def error(self, name: str) -> float:
        """Give the standard error of a parameter; NaN where there is none, as at a bound."""
        place = self.parameters.index(name)
        variance = self.covariance[place, place]
        return np.nan if name in self.at_bound or not variance > 0 else float(np.sqrt(variance))

    def nuisances(self) -> dict[str, float]:
        """Give the best values of the nuisance parameters."""
        return {name: self.value(name) for name in self.parameters[self.rates.physics :]}

    def statistical_errors(self) -> dict[str, float]:
        """Give the errors of the physics parameters with the nuisance parameters held at their best fit.

        The inverse of their block of the inverse covariance; empty where the covariance cannot be inverted.
        """
        inside = np.flatnonzero(np.diag(self.covariance) > 0)
        own = [name for name in self.parameters[: self.rates.physics] if name not in self.at_bound]
        if len(own) < self.rates.physics or not self.converged or not len(inside):
            return {}
        held = np.linalg.inv(np.linalg.inv(self.covariance[np.ix_(inside, inside)])[: len(own), : len(own)])
        return dict(zip(own, np.sqrt(np.diag(held)).tolist(), strict=True))

    def record(
        self,
        floored: int,
        normalisations: Mapping[str, Mapping[str, float]],
        simulation_errors: Floats | None = None,
        ensemble_errors: Floats | None = None,
        inflation: Floats | None = None,
        *,
        finite: bool = False,
    ) -> dict[str, Any]:
        """Write the fit as in `fits/*.json`; at a bound the symmetric error has no meaning and is null.

        Args:
            floored: Events without positive density.
            normalisations: Z_j and its error by process.
            simulation_errors: What the finite number of simulated events is worth, for each parameter.
            ensemble_errors: What the error of fitted ensemble weights is worth, for each parameter.
            inflation: What t of each parameter is divided by for it; NaN where that is not known.
            finite: Whether the total error holds what the finite number of simulated events is worth, too.
        """
        unknown = np.full(len(self.values), np.nan)
        extra = unknown if simulation_errors is None else simulation_errors
        weights = unknown if ensemble_errors is None else ensemble_errors
        factors = unknown if inflation is None else inflation
        errors = [self.error(name) for name in self.parameters]
        added = np.hypot(weights, extra) if finite else weights
        statistical = self.statistical_errors()
        return {
            "converged": self.converged,
            "nll": self.nll,
            "parameters": {
                name: {
                    "value": self.value(name),
                    "error": None if np.isnan(error) else error,
                    "statistical_error": statistical.get(name),
                    "minos": list(self.minos[name]) if name in self.minos else None,
                    "ensemble_error": None if np.isnan(error) or np.isnan(ensemble) else float(ensemble),
                    "total_error": None if np.isnan(error) or np.isnan(ensemble) else float(np.hypot(error, other)),
                    "ensemble_inflation": None if np.isnan(factor) else float(factor),
                    "simulation_error": None if np.isnan(error) or np.isnan(simulation) else float(simulation),
                }
                for name, error, simulation, ensemble, other, factor in zip(
                    self.parameters, errors, extra, weights, added, factors, strict=True
                )
            },
            "covariance": self.covariance.tolist(),
            "at_bound": list(self.at_bound),
            "on_wall": list(self.on_wall),
            "degenerate": dict(self.degenerate),
            "floored_events": floored,
            "normalisation": {process: dict(values) for process, values in normalisations.items()},
        }


class _Free:
    """The objective as a function of the parameters that are not held, with the last point kept: Minuit asks twice.

    Minuit must not know of the others: version 2.33 takes the rows of a Hessian by their place among the free parameters.
    """

    def __init__(self, objective: Objective, theta: Floats, free: npt.NDArray[np.bool_]) -> None:
        self.objective, self.theta, self.free = objective, theta, free
        self.second: Callable[[Floats], Floats] | None = getattr(objective, "hessian", None)
        self.point: bytes = b""
        self.answer: tuple[float, Floats | None] = (0.0, None)

    def whole(self, x: Floats) -> Floats:
        theta = self.theta.copy()
        theta[self.free] = x
        return theta

    def value(self, x: Floats) -> float:
        if self.point != x.tobytes():
            self.point, self.answer = x.tobytes(), self.objective(self.whole(x))
        return self.answer[0]

    def gradient(self, x: Floats) -> Floats:
        self.value(x)
        assert self.answer[1] is not None
        return self.answer[1][self.free]

    def hessian(self, x: Floats) -> Floats:
        assert self.second is not None
        return self.second(self.whole(x))[np.ix_(self.free, self.free)]

    def convex(self, x: Floats) -> Floats:
        """Turn negative curvature over: a step then leads downhill, and iminuit 2.33 breaks where it is not positive."""
        own = self.hessian(x)
        if not np.isfinite(own).all():  # the fit has failed, and will say so
            return np.eye(len(x))
        values, axes = np.linalg.eigh(own)
        size = np.maximum(np.abs(values), 1e-8 * np.abs(values).max() + 1e-12)
        convex: Floats = (axes * size) @ axes.T
        return convex


def minimise(
    objective: Objective,
    rates: Rates,
    *,
    start: Floats | None = None,
    fixed: Mapping[str, float] | None = None,
    errors: bool = True,
    minos: Sequence[str] = (),
) -> Result:
    """Minimise -ln L within the bounds of the parameters, from several starts where one may miss the minimum.

    Args:
        objective: Gives -ln L and its gradient, as a function of theta.
        rates: Names, starting values and bounds.
        start: The theta to start from first; left out, the nominal one.
        fixed: Parameters that are held, with their values.
        errors: Whether the error matrix is wanted; without it, a point of a scan costs a third.
        minos: Parameters whose MINOS interval is wanted.
    """
    theta = np.array(rates.start if start is None else start, dtype=np.float64)
    free = np.array([name not in (fixed or {}) for name in rates.parameters])
    for name, value in (fixed or {}).items():
        theta[rates.parameters.index(name)] = rates.inward(name, value)
    if not free.any():  # a scan of the only parameter: there is nothing to minimise
        value = float(objective(theta)[0])
        return Result(rates, bool(np.isfinite(value)), value, theta, np.zeros((len(theta),) * 2))
    best: _Descent | None = None
    for first in (theta, *_others(rates, theta, free)):
        if not np.isfinite(objective(first)[0]):
            continue
        found = _descend(objective, rates, first, free)
        if best is None or found.rank() < best.rank():
            best = found
        if found.minuit.valid and not (rates.curved & free).any():
            break
    if best is None:
        return Result(rates, False, np.nan, theta, np.zeros((len(theta),) * 2))
    return _result(best, rates, errors=errors, minos=minos)


def _others(rates: Rates, first: Floats, free: npt.NDArray[np.bool_]) -> list[Floats]:
    """Start again along the free curved parameters; along all free physics parameters if none is curved."""
    bends = rates.curved & free
    moved = bends if bends.any() else (np.arange(len(first)) < rates.physics) & free
    low, high = np.array(rates.limits()).T
    return [np.where(moved, low + fraction * (high - low), first) for fraction in SPREAD] if moved.any() else []


@dataclass(frozen=True)
class _Descent:
    """Where MIGRAD has come to from one start."""

    minuit: Minuit
    problem: _Free

    def rank(self) -> tuple[bool, float]:
        """Order descents: valid ones first, then the deeper ones."""
        return not self.minuit.valid, float(self.minuit.fval)


def _descend(objective: Objective, rates: Rates, start: Floats, free: npt.NDArray[np.bool_]) -> _Descent:
    """Run MIGRAD with the Hessian; without it where that fails, as where the Hessian is nearly singular."""
    problem = _Free(objective, start, free)
    if problem.second is not None:
        found = _migrad(problem, rates, problem.convex)
        if found.minuit.valid:
            return found
    return _migrad(problem, rates, None)


def _migrad(problem: _Free, rates: Rates, hessian: Callable[[Floats], Floats] | None) -> _Descent:
    start, free = problem.theta[problem.free], np.flatnonzero(problem.free)
    problem.value(start)
    gradient = None if problem.answer[1] is None else problem.gradient
    names = [rates.parameters[place] for place in free]
    minuit = Minuit(problem.value, start, grad=gradient, hessian=hessian, name=names)
    minuit.errordef, minuit.strategy, minuit.tol = Minuit.LIKELIHOOD, int(hessian is None), TOLERANCE
    minuit.limits = [rates.limits()[place] for place in free]
    minuit.migrad()
    return _Descent(minuit, problem)


def _result(found: _Descent, rates: Rates, *, errors: bool, minos: Sequence[str]) -> Result:
    minuit, problem = found.minuit, found.problem
    theta, value = problem.whole(np.array(minuit.values)), float(minuit.fval)
    near = np.array([_near(*at) for at in zip(minuit.values, minuit.limits, minuit.errors, strict=True)])
    ends = [name for name, end in zip(minuit.parameters, near, strict=True) if end]
    on_wall = tuple(name for name in ends if rates.is_wall(name, float(minuit.values[name])))
    at_bound = tuple(name for name in ends if name not in on_wall)
    flat = _flat(found, ~near) if errors else {}
    inner = _covariance(found, ~near) if errors and not flat else np.zeros((len(near),) * 2)
    good = bool(minuit.valid and inner is not None and np.isfinite(value) and not on_wall and not flat)
    intervals = _minos(found, rates, [name for name in minos if good and name not in at_bound])
    covariance = np.zeros((len(theta),) * 2)
    if inner is not None:
        covariance[np.ix_(problem.free, problem.free)] = inner
    return Result(rates, good, value, theta, covariance, at_bound, on_wall, flat, intervals)


def _flat(found: _Descent, inside: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Find the direction along which -ln L does not change, where its Hessian is known."""
    if found.problem.second is None:
        return {}
    names = [name for name, free in zip(found.minuit.parameters, inside, strict=True) if free]
    own = found.problem.hessian(np.array(found.minuit.values))[np.ix_(inside, inside)]
    return degeneracy.flat(own, names) if np.isfinite(own).all() else {}


def _covariance(found: _Descent, inside: npt.NDArray[np.bool_]) -> Floats | None:
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


def _minos(found: _Descent, rates: Rates, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Give the intervals that MINOS found; a side that ends at a bound ends there."""
    intervals: dict[str, tuple[float, float]] = {}
    if names:
        found.minuit.minos(*names)
    for name in names:
        errors, middle = found.minuit.merrors[name], found.minuit.values[name]
        place = rates.parameters.index(name)
        good = (errors.lower_valid or errors.at_lower_limit) and (errors.upper_valid or errors.at_upper_limit)
        if good:
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
