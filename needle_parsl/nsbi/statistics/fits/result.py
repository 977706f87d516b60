"""What a fit says, in its own coordinates, and as the result that is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.model import Rates
from needle_parsl.nsbi.statistics.results import FitResult, FittedParameter, MeanResponse

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A fit."""

    rates: Rates
    """Of the model that was fitted."""
    converged: bool
    """The minimum is valid, and its error matrix positive; it may be at a bound, where -ln L goes down beyond it."""
    nll: float
    """-ln L without ln n!."""
    theta: Floats
    """The minimum, in the coordinates of the fit."""
    theta_covariance: Floats
    """Of theta; zeros if it was not asked for."""
    minima: tuple[Floats, ...] = ()
    """The different minima that were found, as theta, the deepest first."""
    at_bound: tuple[str, ...] = ()
    """Parameters on a bound that is theirs."""
    on_wall: tuple[str, ...] = ()
    """Nuisance parameters at the end of their range, at 5 sigma: a minimum, of a model that nobody knows so far out."""
    on_kink: tuple[str, ...] = ()
    """Nuisance parameters at 0, where their response has a kink: they have no symmetric error."""
    degenerate: Mapping[str, float] = field(default_factory=dict)
    """The direction along which -ln L is flat, by parameter; such a fit has failed."""
    minos: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Where -ln L, minimised over all other parameters, is 1/2 above its minimum, by parameter."""
    next_minimum: float | None = None
    """2 delta ln L of the second deepest minimum; None where only one was found."""
    minos_failed: tuple[str, ...] = ()
    """Parameters whose MINOS interval was wanted and not found."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Name the parameters, physics first."""
        return self.rates.parameters

    @property
    def others(self) -> tuple[Floats, ...]:
        """Give the minima as further starts of fits with a parameter held; none where there is only one."""
        return self.minima if len(self.minima) > 1 else ()

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
        return np.nan if name in (*self.at_bound, *self.on_kink) or not variance > 0 else float(np.sqrt(variance))

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
        normalisations: Mapping[str, MeanResponse],
        simulation_errors: Floats | None = None,
        ensemble_errors: Floats | None = None,
        inflation: Floats | None = None,
        *,
        finite: bool = False,
        added: bool = False,
    ) -> FitResult:
        """Give the fit in the parameters; at a bound the symmetric error has no meaning and is None.

        Args:
            floored: Events without positive density.
            normalisations: Z_j and its error by process.
            simulation_errors: Uncertainty from the finite number of simulated events, for each parameter.
            ensemble_errors: Uncertainty from that of fitted ensemble weights, for each parameter.
            inflation: What t of each parameter is divided by for it; NaN where that is not known.
            finite: Whether the total error holds that from the finite number of simulated events, too.
            added: Whether it does so where nothing else is beside the error of the fit.
        """
        numbers = zip(
            self.parameters,
            *(self._or_unknown(given) for given in (simulation_errors, ensemble_errors, inflation)),
            strict=True,
        )
        statistical = self.statistical_errors()
        finite = finite or added
        return FitResult(
            converged=self.converged,
            nll=self.nll if np.isfinite(self.nll) else None,
            parameters={
                name: self._parameter(name, *own, finite=finite, added=added, statistical=statistical.get(name))
                for name, *own in numbers
            },
            covariance=self.covariance.tolist(),
            at_bound=self.at_bound,
            on_wall=self.on_wall,
            on_kink=self.on_kink,
            minima=len(self.minima),
            next_minimum=self.next_minimum,
            minos_failed=self.minos_failed,
            degenerate=self.degenerate,
            floored_events=floored,
            normalisation=normalisations,
        )

    def _or_unknown(self, given: Floats | None) -> Floats:
        return np.full(len(self.values), np.nan) if given is None else given

    def _parameter(
        self,
        name: str,
        simulation: float,
        ensemble: float,
        inflation: float,
        *,
        finite: bool,
        added: bool,
        statistical: float | None,
    ) -> FittedParameter:
        """Give the numbers of a parameter; without a symmetric error there is nothing to compare the others with."""
        error = self.error(name)
        beside = 0.0 if added and np.isnan(ensemble) else ensemble
        other = np.hypot(beside, simulation) if finite else beside
        known = not np.isnan(error)
        return FittedParameter(
            value=self.value(name),
            nominal=self.rates.out(name, float(self.rates.start[self.parameters.index(name)])),
            error=error if known else None,
            minos=self.minos.get(name),
            ensemble_error=float(ensemble) if known and not np.isnan(ensemble) else None,
            total_error=float(np.hypot(error, other)) if known and not np.isnan(beside) else None,
            ensemble_inflation=None if np.isnan(inflation) else float(inflation),
            simulation_error=float(simulation) if known and not np.isnan(simulation) else None,
            statistical_error=statistical,
        )
