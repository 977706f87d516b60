"""Minimising -ln L with iminuit, and the record of a fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from iminuit import Minuit

from needle_parsl.nsbi.statistics.model import WALL, Rates

Floats = npt.NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats | None]]
"""Gives -ln L and its gradient; None where the gradient is not known, and is then taken by differences."""


@dataclass(frozen=True)
class Result:
    """A fit."""

    parameters: tuple[str, ...]
    converged: bool
    """The minimum is valid, its error matrix positive, and no nuisance parameter is on its wall."""
    nll: float
    """-ln L without ln n!."""
    values: Floats
    covariance: Floats
    at_bound: tuple[str, ...]
    """Physics parameters on a bound."""
    on_wall: tuple[str, ...] = ()
    """Nuisance parameters at the end of their range, which no good fit reaches."""

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
        errors = np.sqrt(np.maximum(np.diag(self.covariance), 0.0))
        extra = [None] * len(errors) if simulation_errors is None else simulation_errors
        return {
            "converged": self.converged,
            "nll": self.nll,
            "parameters": {
                name: {
                    "value": float(value),
                    "error": None if name in self.at_bound else float(error),
                    "minos": None,
                    "ensemble_error": None,
                    "total_error": None,
                    "simulation_error": None if simulation is None else float(simulation),
                }
                for name, value, error, simulation in zip(self.parameters, self.values, errors, extra, strict=True)
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
) -> Result:
    """Minimise -ln L within the bounds of the parameters.

    Args:
        objective: Gives -ln L and its gradient.
        rates: Names, starting values and bounds.
        start: Where to start; left out, at the nominal values.
        fixed: Parameters that are held, with their values.
        errors: Whether the error matrix is wanted; without it, a point of a scan costs a third.
    """
    values = np.array(rates.start if start is None else start, dtype=np.float64)
    for name, value in (fixed or {}).items():
        values[rates.parameters.index(name)] = value
    memo = _Memo(objective)
    gradient = None if memo.gradient(values) is None else memo.gradient
    minuit = Minuit(memo.value, values, grad=gradient, name=rates.parameters)
    minuit.errordef, minuit.strategy, minuit.tol = Minuit.LIKELIHOOD, int(errors), 0.01
    minuit.limits = rates.limits
    for name in fixed or {}:
        minuit.fixed[name] = True
    if minuit.nfit == 0:  # a scan of the only parameter: there is nothing to minimise
        value = float(minuit.fcn(values))
        return Result(rates.parameters, bool(np.isfinite(value)), value, values, np.zeros((len(values),) * 2), ())
    minuit.migrad()
    if errors:
        minuit.hesse()
    return _result(minuit, rates)


def _result(minuit: Minuit, rates: Rates) -> Result:
    values = np.array(minuit.values)
    free = [not minuit.fixed[name] for name in rates.parameters]
    near = [_near(*at) for at in zip(values, rates.limits, np.array(minuit.errors), strict=True)]
    at_bound = tuple(
        n for n, close, moves in zip(rates.parameters[: rates.physics], near, free, strict=False) if close and moves
    )
    on_wall = tuple(
        n for n, close in zip(rates.parameters[rates.physics :], near[rates.physics :], strict=True) if close
    )
    size = len(values)
    covariance = np.zeros((size, size)) if minuit.covariance is None else np.array(minuit.covariance)
    converged = bool(minuit.valid and minuit.covariance is not None and np.isfinite(minuit.fval) and not on_wall)
    return Result(rates.parameters, converged, float(minuit.fval), values, covariance, at_bound, on_wall)


def _near(value: float, limits: tuple[float, float], error: float) -> bool:
    """Whether a value is on its bound, as far as the fit can tell."""
    low, high = limits
    return bool(min(value - low, high - value) < max(1e-3 * error, 1e-6 * min(high - low, WALL)))
