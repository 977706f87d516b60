"""The error of a parameter, split into statistical and systematic components, by the two usual definitions.

    quadrature   sigma_G^2 = sigma^2 - sigma^2(G held at its best fit);   statistical: everything held
    observable   sigma_G^2 = sum_{i in G} (d mu / d o_i)^2 Var(o_i),      d theta / d o_i = -H^-1 d2(-ln L) / d theta d o_i

`o_i` is all that was observed: events and counts of bins (statistical), the auxiliary measurement of each nuisance parameter, and
what the simulation says of each bin (a of `model.staterror`). In the Gaussian limit the components by `observable` add up to
sigma^2; those by `quadrature` do not, where the data correlate nuisance parameters of different groups.

References:
    A. Pinto, Z. Wu, F. Balli, N. Berger, M. Boonekamp, E. Chapon, T. Kawamoto, B. Malaescu, arXiv:2307.04007; `quadrature` as in
    TRExFitter and cabinetry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.statistics.fits import weighted_data
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.process_errors import ProcessErrors
from needle_parsl.nsbi.statistics.model.rates import Multipliers
from needle_parsl.nsbi.statistics.model.rows import FLOOR, Table
from needle_parsl.nsbi.statistics.results import ErrorComponent

Floats = npt.NDArray[np.float64]
Shift = Callable[[float], Likelihood]
"""Gives the likelihood with something observed moved, by so many standard deviations."""


@dataclass(frozen=True)
class _Fitted:
    """A likelihood at its minimum, seen along one parameter."""

    likelihood: Likelihood
    best: Result
    place: int
    """Of the parameter."""
    weighted: bool
    """Whether events are data with weights, whose variance is their square."""

    @property
    def free(self) -> npt.NDArray[np.bool_]:
        """Say which parameters have an error, shape (P,)."""
        return np.diag(self.best.theta_covariance) > 0

    def variance(self, free: npt.NDArray[np.bool_], *, simulation: bool = True) -> float:
        """Give the variance with all parameters but some held, and the simulation of bins, where that is wanted, as well."""
        own, rows = self.likelihood if simulation else _held(self.likelihood, self.best.theta), np.ix_(free, free)
        inverse = np.linalg.inv(own.hessian(self.best.theta)[rows])
        if self.weighted:
            inverse = inverse @ weighted_data.scores(own, self.best.theta)[rows] @ inverse
        k = int(free[: self.place].sum())
        return float(inverse[k, k] * self.best.rates.stretch(self.best.theta)[self.place] ** 2)

    def row(self) -> Floats:
        """Give the parameter's row of H^-1, shape (P,); zeros at parameters without an error."""
        found, free = np.zeros(len(self.free)), self.free
        inverse = np.linalg.inv(self.likelihood.hessian(self.best.theta)[np.ix_(free, free)])
        found[free] = inverse[int(free[: self.place].sum())]
        return found * float(self.best.rates.stretch(self.best.theta)[self.place])

    def pulls(self) -> tuple[float, Floats, list[Floats]]:
        """Give the variance by data, and the shifts by one sigma of auxiliary measurements, shape (K,), and of simulated bins, each of shape (B,)."""
        row, rates = self.row(), self.best.rates
        alpha, f = self.likelihood.alpha(self.best.theta), rates.multiply(self.best.theta, second=False)
        data, bins = 0.0, []
        for table in self.likelihood.tables:
            if isinstance(table.staterror, ProcessErrors):
                own, shifts = _moved_processes(table, table.staterror, f, alpha, row)
                data += own
                bins.append(shifts)
                continue
            at = self.likelihood.point(table, self.best.theta)
            by_count, by_simulation = _moves(table, np.maximum(at.density, FLOOR))
            shifts = row @ at.slopes
            count = table.count**2 if self.weighted and table.kind == "events" else table.count
            data += float((shifts * by_count) ** 2 @ count)
            if table.kind == "bins":
                bins.append(shifts * by_simulation)
        bends = self.likelihood.constraints(alpha)[2]  # Var(a_k) times the square of d2(-ln L) / d alpha d a
        return data, row[rates.physics :] * np.sqrt(bends), bins


def _moves(table: Table, density: Floats) -> tuple[Floats, Floats]:
    """Give d2(-ln L) / d lambda d n of the rows of a table, and what one sigma of the simulation does to d(-ln L) / d lambda; shapes (N,)."""
    none = np.zeros(len(density))
    if table.kind == "total":
        return none, none
    if table.staterror is None:
        return -1 / density, none
    gamma, square = table.staterror.profile(density, table.count).gamma, table.staterror.spread**2
    loose, safe = square > 0, np.maximum(gamma, FLOOR)
    inverse = np.where(loose, 1 / (table.count / safe**2 + 1 / np.where(loose, square, 1.0)), 0.0)
    sigma = np.divide(inverse, table.staterror.spread, out=none.copy(), where=loose)
    return inverse / safe - 1 / density, -sigma


def _moved_processes(
    table: Table, errors: ProcessErrors, f: Multipliers, alpha: Floats, row: Floats
) -> tuple[float, Floats]:
    """Give the variance by the counts of bins, and the shifts by one sigma of their simulated processes, shape (G, B)."""
    terms, slopes = table.terms(f, alpha)
    found = errors.profile(terms, table.count)
    along = np.einsum("p,jpb->jb", row, slopes)
    common = (found.direction * along).sum(axis=0)
    total = (errors.by_process(found.gamma) * terms).sum(axis=0)
    relief = np.divide(found.common * total, table.count, out=np.zeros_like(total), where=table.count > 0)
    joined = np.array([along[errors.group == g].sum(axis=0) for g in range(len(errors.variance))])
    shifts = -errors.spread * (found.pulled * joined + found.drawn * found.common * common)
    return float((relief * common) ** 2 @ table.count), shifts


def _held(likelihood: Likelihood, theta: Floats) -> Likelihood:
    """Hold the simulation of bins at what the data make of it."""
    gammas = iter(likelihood.gammas(theta))
    tables = [table.held(next(gammas)) if table.kind == "bins" else table for table in likelihood.tables]
    return replace(likelihood, tables=tuple(tables))


def components(
    likelihood: Likelihood, best: Result, parameter: str, groups: Mapping[str, Sequence[str]], *, weighted: bool = False
) -> list[ErrorComponent]:
    """Split the error of a parameter as -ln L says it.

    Args:
        likelihood: Of the data.
        best: Its free fit, with an error of the parameter.
        parameter: A physics parameter.
        groups: Nuisance parameters by group.
        weighted: Whether events are data with weights.

    Returns:
        Statistical first, then groups from the largest, then the statistics of the simulation in bins, where it is fitted.
    """
    at = _Fitted(likelihood, best, best.parameters.index(parameter), weighted)
    data, shifts, bins = at.pulls()
    inner = np.arange(len(best.parameters)) >= best.rates.physics
    statistical = ErrorComponent(
        name="statistical",
        source="statistical",
        quadrature=float(np.sqrt(at.variance(at.free & ~inner, simulation=False))),
        observable=float(np.sqrt(data)),
    )
    found = [_group(at, parameter, group, names, shifts) for group, names in groups.items()]
    found.sort(key=lambda own: own.observable or 0.0, reverse=True)
    scattered = any(table.staterror is not None for table in likelihood.of_kind("bins"))
    return [statistical, *found, *([_simulation(at, parameter, bins)] if scattered else [])]


def _group(at: _Fitted, parameter: str, group: str, names: Sequence[str], shifts: Floats) -> ErrorComponent:
    """Hold the nuisance parameters of a group, and move what constrains them."""
    best = at.best
    own = np.isin(best.parameters, list(names))
    places = [best.parameters.index(name) - best.rates.physics for name in names]
    size = float(np.sqrt((shifts[places] ** 2).sum()))

    def moved(sigmas: float) -> Likelihood:
        constraints = at.likelihood.constraints
        for k in places:
            constraints = constraints.shifted(k, sigmas * shifts[k] / size)
        return replace(at.likelihood, constraints=constraints)

    return ErrorComponent(
        name=group,
        source="group",
        quadrature=_without(at, at.free & ~own),
        observable=size,
        moved=_both(at, parameter, moved) if size > 0 else (0.0, 0.0),
        nuisances=tuple(names),
    )


def _simulation(at: _Fitted, parameter: str, bins: Sequence[Floats]) -> ErrorComponent:
    """Hold the simulation of all bins, and move it."""
    size = float(np.sqrt(sum(float((shift**2).sum()) for shift in bins)))

    def moved(sigmas: float) -> Likelihood:
        own = iter(bins)
        tables = [
            _seen(table, sigmas * next(own) / size) if table.kind == "bins" else table for table in at.likelihood.tables
        ]
        return replace(at.likelihood, tables=tuple(tables))

    return ErrorComponent(
        name="simulation",
        source="simulation",
        quadrature=_without(at, at.free, simulation=False),
        observable=size,
        moved=_both(at, parameter, moved) if size > 0 else (0.0, 0.0),
    )


def _seen(table: Table, sigmas: Floats) -> Table:
    """Move what the simulation says of the bins of a table."""
    own = table.staterror
    return table if own is None else replace(table, staterror=replace(own, seen=own.seen + sigmas * own.spread))


def _without(at: _Fitted, free: npt.NDArray[np.bool_], *, simulation: bool = True) -> float | None:
    """Subtract in quadrature the error with something held; None where it is not smaller, as with weighted data it may."""
    whole, rest = at.variance(at.free), at.variance(free, simulation=simulation)
    return float(np.sqrt(max(whole - rest, 0.0))) if whole > rest * (1 - 1e-9) else None


def _both(at: _Fitted, parameter: str, moved: Shift) -> tuple[float | None, float | None]:
    """Fit again with something moved, down and up."""
    best = at.best

    def shift(sigmas: float) -> float | None:
        found = minimise(moved(sigmas), best.rates, start=best.theta, errors=False, also=best.others)
        return found.value(parameter) - best.value(parameter) if found.converged else None

    return shift(-1.0), shift(1.0)
