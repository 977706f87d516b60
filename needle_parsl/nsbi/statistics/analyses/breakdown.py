"""The error of a parameter of interest and what it consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from needle_parsl.nsbi.statistics import blinding
from needle_parsl.nsbi.statistics.blinding import HiddenOffset
from needle_parsl.nsbi.statistics.fits import breakdown, weighted_data
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.results import Breakdown, ErrorComponent, FittedParameter
from needle_parsl.nsbi.statistics.results.breakdown import Source

METHODS = ("quadrature", "observable")


def break_down(
    likelihood: Likelihood,
    parameter: str,
    groups: Mapping[str, Sequence[str]],
    *,
    beside: FittedParameter | None = None,
    expected: bool = False,
    hidden: HiddenOffset | None = None,
    dataset: str = "",
) -> Breakdown:
    """Split the error of a parameter of interest; see `fits.breakdown`.

    Args:
        likelihood: Of the data.
        parameter: The parameter of interest.
        groups: Nuisance parameters by group.
        beside: The same parameter as it was fitted, for the errors that -ln L does not know; None leaves them out.
        expected: Whether the data are expectations, as Asimov data; the weights of observed events widen the errors.
        hidden: By what the parameter is shifted where it is written; shifts that end on a bound are left out.
        dataset: Its name.
    """
    best = minimise(likelihood, likelihood.rates)
    weighted = not expected and not all((table.count == 1).all() for table in likelihood.of_kind("events"))
    if weighted:
        best = weighted_data.weighted(likelihood, best)
    error = best.error(parameter) if best.converged else np.nan
    if np.isnan(error):
        reason = "it is at a bound" if best.converged else "the fit did not converge"
        return Breakdown(
            parameter=parameter, error=None, total=None, components=(), sums={}, reason=reason, dataset=dataset
        )
    inside = breakdown.components(likelihood, best, parameter, groups, weighted=weighted)
    if hidden:
        inside = [_hidden(own, best.value(parameter), hidden) for own in inside]
    found = (*inside, *(_beside(beside) if beside else ()))
    return Breakdown(
        parameter=parameter,
        error=error,
        total=_added([error, *(own.quadrature for own in found if not own.inside)]),
        components=found,
        sums={method: _added([getattr(own, method) for own in inside]) for method in METHODS},
        dataset=dataset,
    )


def _hidden(own: ErrorComponent, best: float, offset: HiddenOffset) -> ErrorComponent:
    return replace(own, moved=blinding.hide_shifts(own.moved, best, offset)) if own.moved else own


def _beside(fitted: FittedParameter) -> list[ErrorComponent]:
    """Give what -ln L does not know, where the fit has estimated it."""
    sources: dict[Source, float | None] = {
        "finite simulation": fitted.simulation_error,
        "networks": fitted.ensemble_error,
    }
    return [
        ErrorComponent(name=source, source=source, quadrature=error, observable=error)
        for source, error in sources.items()
        if error is not None
    ]


def _added(parts: Sequence[float | None]) -> float | None:
    """Add in quadrature; None where one is not known."""
    known = [part for part in parts if part is not None]
    return float(np.sqrt(np.square(known).sum())) if len(known) == len(parts) else None
