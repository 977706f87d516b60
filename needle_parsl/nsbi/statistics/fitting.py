"""Minimising -ln L with iminuit, and the record of a fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from iminuit import Minuit

from needle_parsl.analysis import WALL
from needle_parsl.nsbi.statistics.model import Rates

Floats = npt.NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats | None]]
"""Gives -ln L and its gradient; None where the gradient is not known, and is then taken by differences.

An objective may have a method `hessian`, which spares MIGRAD three quarters of its calls.
"""
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
    """Physics parameters on a bound."""
    on_wall: tuple[str, ...] = ()
    """Nuisance parameters at the end of their range, which no good fit reaches."""
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
        """Give the standard error of a parameter; NaN at a bound, where it has no meaning."""
        place = self.parameters.index(name)
        return np.nan if name in self.at_bound else float(np.sqrt(max(self.covariance[place, place], 0.0)))

    def nuisances(self) -> dict[str, float]:
        """Give the best values of the nuisance parameters."""
        return {name: self.value(name) for name in self.parameters[self.rates.physics :]}

    def statistical_errors(self) -> dict[str, float]:
        """Give the errors of the physics parameters with the nuisance parameters held at their best fit.

        The inverse of their block of the inverse covariance; empty where the covariance cannot be inverted.
        """
        if self.at_bound or not self.converged:
            return {}
        held = np.linalg.inv(np.linalg.inv(self.covariance)[: self.rates.physics, : self.rates.physics])
        return dict(zip(self.parameters, np.sqrt(np.diag(held)).tolist(), strict=False))

    def record(
        self,
        floored: int,
        normalisations: Mapping[str, Mapping[str, float]],
        simulation_errors: Floats | None = None,
    ) -> dict[str, Any]:
        """Write the fit as in `fits/*.json`; at a bound the symmetric error has no meaning and is null.

        Args:
            floored: Events without positive density.
            normalisations: Z_j and its error by process.
            simulation_errors: What the finite number of simulated events is worth, for each parameter.
        """
        extra = [None] * len(self.values) if simulation_errors is None else simulation_errors
        statistical = self.statistical_errors()
        return {
            "converged": self.converged,
            "nll": self.nll,
            "parameters": {
                name: {
                    "value": self.value(name),
                    "error": None if name in self.at_bound else self.error(name),
                    "statistical_error": statistical.get(name),
                    "minos": list(self.minos[name]) if name in self.minos else None,
                    "ensemble_error": None,
                    "total_error": None,
                    "simulation_error": None if simulation is None else float(simulation),
                }
                for name, simulation in zip(self.parameters, extra, strict=True)
            },
            "covariance": self.covariance.tolist(),
            "at_bound": list(self.at_bound),
            "on_wall": list(self.on_wall),
            "floored_events": floored,
            "normalisation": {process: dict(values) for process, values in normalisations.items()},
        }


class _Memo:
    """Value and gradient of the last point, since Minuit asks for them one after the other."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.point: bytes = b""
        self.answer: tuple[float, Floats | None] = (0.0, None)

    def __call__(self, theta: Floats) -> tuple[float, Floats | None]:
        if self.point != theta.tobytes():
            self.point, self.answer = theta.tobytes(), self.objective(theta)
        return self.answer

    def value(self, theta: Floats) -> float:
        return self(theta)[0]

    def gradient(self, theta: Floats) -> Floats | None:
        return self(theta)[1]


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
    held = {name: rates.inward(name, value) for name, value in (fixed or {}).items()}
    first = np.array(rates.start if start is None else start, dtype=np.float64)
    best: Minuit | None = None
    bends = any(bend and name not in held for name, bend in zip(rates.parameters, rates.curved, strict=True))
    for theta in (first, *_others(rates, first)):
        found = _descend(objective, rates, theta, held)
        if found.nfit == 0:
            return _result(found, objective, rates, errors=False, minos=())
        if best is None or (not found.valid, found.fval) < (not best.valid, best.fval):
            best = found
        if found.valid and not bends:
            break
    assert best is not None
    return _result(best, objective, rates, errors=errors, minos=minos)


def _others(rates: Rates, first: Floats) -> list[Floats]:
    """Start again along the curved parameters; along all physics parameters if none is curved."""
    moved = rates.curved if rates.curved.any() else np.arange(len(first)) < rates.physics
    low, high = np.array(rates.limits()).T
    return [np.where(moved, low + fraction * (high - low), first) for fraction in SPREAD]


def _descend(objective: Objective, rates: Rates, start: Floats, held: Mapping[str, float]) -> Minuit:
    memo = _Memo(objective)
    values = np.array([held.get(name, value) for name, value in zip(rates.parameters, start, strict=True)])
    gradient = None if memo.gradient(values) is None else memo.gradient
    hessian = getattr(objective, "hessian", None)
    convex = None if hessian is None else lambda theta: _convex(hessian(theta))
    minuit = Minuit(memo.value, values, grad=gradient, hessian=convex, name=rates.parameters)
    minuit.errordef, minuit.strategy, minuit.tol = Minuit.LIKELIHOOD, int(hessian is None), 0.01
    minuit.limits = rates.limits()
    for name in held:
        minuit.fixed[name] = True
    if minuit.nfit:  # else a scan of the only parameter: there is nothing to minimise
        minuit.migrad()
    return minuit


def _convex(hessian: Floats) -> Floats:
    """Turn negative curvature over: a step then leads downhill, and iminuit 2.33 breaks with a Hessian that is not positive."""
    values, axes = np.linalg.eigh(hessian)
    size = np.maximum(np.abs(values), 1e-8 * np.abs(values).max() + 1e-12)
    convex: Floats = (axes * size) @ axes.T
    return convex


def _result(minuit: Minuit, objective: Objective, rates: Rates, *, errors: bool, minos: Sequence[str]) -> Result:
    theta = np.array(minuit.values)
    nothing = np.zeros((len(theta),) * 2)
    free = np.array([not minuit.fixed[name] for name in rates.parameters])
    if not free.any():
        value = float(minuit.fcn(theta))
        return Result(rates, bool(np.isfinite(value)), value, theta, nothing)
    value = float(minuit.fval)
    near = np.array([_near(*at) for at in zip(theta, rates.limits(), np.array(minuit.errors), strict=True)])
    ends = [name for name, end in zip(rates.parameters, near & free, strict=True) if end]
    at_bound = tuple(name for name in ends if name in rates.parameters[: rates.physics])
    on_wall = tuple(name for name in ends if name not in at_bound)
    covariance = _covariance(minuit, objective, free & ~near) if errors else nothing
    good = bool(minuit.valid and covariance is not None and np.isfinite(value) and not on_wall)
    intervals = _minos(minuit, rates, [name for name in minos if good and name not in at_bound])
    found = nothing if covariance is None else covariance
    return Result(rates, good, value, theta, found, at_bound, on_wall, intervals)


def _covariance(minuit: Minuit, objective: Objective, inside: npt.NDArray[np.bool_]) -> Floats | None:
    """Invert the Hessian; a parameter on its bound has none. None where it is not positive."""
    hessian = getattr(objective, "hessian", None)
    if hessian is None:
        minuit.hesse()
        return None if minuit.covariance is None else np.array(minuit.covariance)
    found, rows = np.zeros((len(inside),) * 2), np.ix_(inside, inside)
    own = hessian(np.array(minuit.values))[rows]
    if not (np.isfinite(own).all() and np.linalg.eigvalsh(own).min(initial=np.inf) > 0):
        return None
    found[rows] = np.linalg.inv(own)
    return found


def _minos(minuit: Minuit, rates: Rates, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Give the intervals that MINOS found; a side that ends at a bound ends there."""
    found = {}
    if names:
        minuit.minos(*names)
    for name in names:
        place, errors = rates.parameters.index(name), minuit.merrors[name]
        ends = np.tile(np.array(minuit.values), (2, 1))
        ends[:, place] += errors.lower, errors.upper
        good = (errors.lower_valid or errors.at_lower_limit) and (errors.upper_valid or errors.at_upper_limit)
        if good:
            low, high = (float(rates.outward(end)[place]) for end in ends)
            found[name] = (
                rates.bounds[place][0] if errors.at_lower_limit else low,
                rates.bounds[place][1] if errors.at_upper_limit else high,
            )
    return found


def _near(value: float, limits: tuple[float, float], error: float) -> bool:
    """Whether a value is on its bound, as far as the fit can tell."""
    low, high = limits
    return bool(min(value - low, high - value) < max(1e-3 * error, 1e-6 * min(high - low, WALL)))
