"""What the measured residuals of ratios do to the parameter of interest, in its standard errors.

A diagnostic measures by which factor c(x) a ratio is wrong in some bins: r c would agree. To first order in ln c, the fit of what is expected moves by

    theta(r) - theta(r c) = C [grad(r c) - grad(r)] = sum_e psi_e ln c_e,    grad = d(-ln L) / d theta,  C = (d^2 (-ln L) / d theta^2)^-1
    nominal ratio of process j:           psi_e = -C w_e [d lambda_je / d theta - P_je d lambda_e / d theta] / lambda_e
    varied ratio, at alpha_k = +-1:       psi_e = C w_e P_je (s_e - <s>_j),    s_e = d ln lambda_e / d theta,  P_je = lambda_je / lambda_e

with expected events of weight w_e, lambda and its parts lambda_j as in `model.likelihood`, and the mean <s>_j over process j: Z_j takes out of a varied ratio
what is the same for all events. (It is integrated by parts: what a density gains it loses elsewhere.) The error of the shift is that of ln c, taken
through the same sum.

Where ratios are normalised at the yields, a correction moves the offsets of all ratios with it, so that the yields of the processes still come back; data
at the nominal parameters then show nothing. Everything is therefore evaluated one error above and below the nominal parameter of interest, too.

References:
    The derivative is the influence function of an estimator, F. R. Hampel, J. Am. Stat. Assoc. 69 (1974) 383; for a bias of a likelihood fit
    from a small change of its density see also G. Cowan et al., arXiv:1007.1727, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.special import logit, softmax

from needle_parsl.densities import Cross, Shape
from needle_parsl.nsbi.estimators.results import RatioDiagnostics
from needle_parsl.nsbi.statistics import network_error
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.injections import expected
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.model.rates import Multipliers
from needle_parsl.nsbi.statistics.model.rows import FLOOR
from needle_parsl.nsbi.statistics.results import LargestRatios, RatioTails, Residuals, ResidualShift
from needle_parsl.nsbi.statistics.results.residuals import ResidualKind
from needle_parsl.nsbi.training.closure import CalibrationCurve, HistogramComparison, share_covariance

Floats = npt.NDArray[np.float64]
Build = Callable[[Dataset, Dataset], Likelihood]
"""Makes the likelihood of events, with others behind Z_j."""
EVENTS = 50_000
"""Simulated events of each process over which is summed, at most."""
LARGE = 30.0
"""r, or 1/r, beyond which events are few and count much."""
UPPER = 1e-3
"""Share of the events that are the largest."""


@dataclass(frozen=True)
class Correction:
    """ln c of a ratio, by what it should be multiplied: between nodes, on a straight line."""

    kind: ResidualKind
    column: str
    values: Floats
    """At the nodes, shape (B,)."""
    covariance: Floats
    """Statistical, shape (B, B)."""
    place: Floats
    """Of each event among the nodes: 1.25 is a quarter of the way from node 1 to node 2; shape (N,)."""

    def sum(self, weight: Floats) -> tuple[float, float]:
        """Give sum_e weight_e ln c_e, and its statistical error."""
        size, low = len(self.values), np.floor(self.place).astype(np.intp)
        share = self.place - low
        slopes = np.bincount(low, weight * (1 - share), size)
        slopes += np.bincount(np.minimum(low + 1, size - 1), weight * share, size)
        return float(slopes @ self.values), float(np.sqrt(np.maximum(slopes @ self.covariance @ slopes, 0.0)))


def corrections(
    numbers: RatioDiagnostics, features: Mapping[str, npt.NDArray[np.floating]], log_ratio: Floats
) -> Iterator[Correction]:
    """Turn what was measured of a ratio into corrections.

    Args:
        numbers: Of the ratio.
        features: Of the events, by name, each of shape (N,).
        log_ratio: Theirs, shape (N,).
    """
    mean = numbers.normalisation
    if mean.value > 0:
        error = np.array([[(mean.error / mean.value) ** 2]])
        yield Correction("normalisation", "", -np.log([mean.value]), error, np.zeros(len(log_ratio)))
    columns = {**features, "ln r": log_ratio}
    for name, comparison in numbers.closure.items():
        if name in columns:
            yield _closure(name, comparison, columns[name].astype(np.float64))
    yield _calibration(numbers.calibration, log_ratio)


def _closure(name: str, found: HistogramComparison, values: Floats) -> Correction:
    """Give ln of the numerator over the reweighted reference in each bin; what is outside counts in the outermost bins."""
    p, q = np.array(found.target), np.array(found.reweighted)
    good = (p > 0) & (q > 0)
    above, below = np.where(good, p, 1.0), np.where(good, q, 1.0)
    covariance = share_covariance(p, np.array(found.target_error)) / np.outer(above, above)
    covariance += share_covariance(q, np.array(found.reweighted_error)) / np.outer(below, below)
    place = np.clip(np.searchsorted(np.array(found.edges), values, side="right") - 1, 0, len(p) - 1)
    return Correction(
        "closure", name, np.log(above / below), covariance * np.outer(good, good), place.astype(np.float64)
    )


def _calibration(found: CalibrationCurve, log_ratio: Floats) -> Correction:
    """Give logit of the fraction of numerator events minus logit of the score, on a line through the bins; flat beyond them."""
    whole = zip(found.log_ratio, found.score, found.log_fraction, found.log_error, strict=True)
    known = [(x, s, f, e) for x, s, f, e in whole if f is not None and e is not None and 0 < s < 1]
    if not known:
        return Correction("calibration", "ln r", np.zeros(1), np.zeros((1, 1)), np.zeros(len(log_ratio)))
    nodes, score, fraction, error = np.array(known).T
    place = np.interp(log_ratio, np.maximum.accumulate(nodes), np.arange(len(nodes)))
    return Correction("calibration", "ln r", fraction - logit(score), np.diag(error**2), place)


@dataclass(frozen=True, kw_only=True)
class TruthPoint:
    """Data that are expected at some parameters, without scatter, and how their fit answers to a change of a ratio."""

    at: Mapping[str, float]
    """Parameters that are not nominal, and the parameter of interest."""
    simulation: Dataset
    weight: Floats
    """Of the simulated events, shape (N,)."""
    score: Floats
    """C d ln lambda / d theta of the parameter of interest, over its error; shape (N,)."""
    parts: Floats
    """C d lambda_j / d theta / lambda, likewise; shape (J, N)."""
    share: Floats
    """P_j, shape (J, N)."""
    processes: tuple[str, ...]
    error: float
    """Of the parameter of interest, as a coordinate of the fit."""

    @staticmethod
    def of(build: Build, simulation: Dataset, poi: str, truth: Mapping[str, float]) -> TruthPoint:
        """Look at data of some truth; all parameters that are not named are nominal."""
        likelihood = build(simulation, simulation)
        rates, (table,) = likelihood.rates, likelihood.of_kind("events")
        theta, place = rates.at(truth), rates.parameters.index(poi)
        f, alpha = rates.multiply(theta, second=False), likelihood.alpha(theta)
        whole = table.point(f, alpha)
        own = np.array([rates.processes.index(name) for name in simulation.samples])[simulation.sample]
        rows = np.arange(len(own))
        factor = np.divide(
            whole.components[own, rows], table.y[own, rows], out=np.zeros(len(own)), where=table.y[own, rows] > 0
        )
        weight = np.where(whole.density > FLOOR, simulation.weight * factor, 0.0)
        data = replace(table, count=weight)
        tables = tuple(data if one is table else one for one in likelihood.tables)
        covariance = _inverse(expected(replace(likelihood, tables=tables), theta).hessian(theta))
        error = float(np.sqrt(covariance[place, place])) if covariance[place, place] > 0 else float("nan")
        row, density = covariance[place] / error, np.maximum(whole.density, FLOOR)
        singles = [table.point(_only(f, j), alpha).slopes for j in range(len(rates.processes))]
        value = rates.outward(theta)
        return TruthPoint(
            at={**truth, poi: float(value[place])},
            simulation=simulation,
            weight=weight,
            score=row @ whole.slopes / density,
            parts=np.array([row @ slopes / density for slopes in singles]),
            share=whole.components / density,
            processes=rates.processes,
            error=error,
        )

    def nominal(self, process: str) -> Floats:
        """Give psi of the nominal ratio of a process, shape (N,)."""
        psi = self._alone(self.processes.index(process))
        return psi + self._offsets(process) if self.simulation.priors else psi

    def _alone(self, place: int) -> Floats:
        found: Floats = -self.weight * (self.parts[place] - self.share[place] * self.score)
        return found

    def _offsets(self, process: str) -> Floats:
        """Give what psi gains where the offsets of all ratios follow, so that sum_e w_e P_je = nu_j still holds at the yields."""
        free = [name for name in self.processes if name in self.simulation.ratios]
        share, weight = _at_yields(self.simulation, self.processes)
        rows, own = [self.processes.index(name) for name in free], self.processes.index(process)
        p = share[rows]
        curvature = np.diag(p @ weight) - (p * weight) @ p.T
        moved = np.array([self._alone(row).sum() for row in rows])
        lever = -np.linalg.pinv(curvature, hermitian=True) @ moved  # of each yield that is off
        kept = np.array([float(row == own) for row in rows])
        found: Floats = weight * share[own] * (lever @ kept - lever @ p)
        return found

    def varied(self, process: str) -> Floats:
        """Give psi of the ratio that the data are made with, shape (N,)."""
        own = self.weight * self.share[self.processes.index(process)]
        total = own.sum()
        found: Floats = own * (self.score - own @ self.score / total) if total else np.zeros_like(own)
        return found


def _only(f: Multipliers, place: int) -> Multipliers:
    """Leave one process."""
    kept = np.arange(len(f.value)) == place
    return f._replace(value=f.value * kept, slopes=f.slopes * kept)


def _at_yields(simulation: Dataset, processes: Sequence[str]) -> tuple[Floats, Floats]:
    """Give P_j, shape (J, N), and weights, shape (N,), at the yields at which ratios are normalised."""
    flat = np.zeros(len(simulation.weight))
    logs = np.array([np.log(simulation.priors[name]) + simulation.ratios.get(name, flat) for name in processes])
    scale = np.array([simulation.priors[name] / simulation.yields[name] for name in simulation.samples])
    return np.asarray(softmax(logs, axis=0), np.float64), simulation.weight * scale[simulation.sample]


def _inverse(hessian: Floats) -> Floats:
    """Invert it; NaN where it is singular."""
    try:
        return np.asarray(np.linalg.inv(hessian), np.float64)
    except np.linalg.LinAlgError:
        return np.full_like(hessian, np.nan)


def measure(
    build: Build,
    simulation: Dataset,
    diagnostics: Mapping[str, RatioDiagnostics],
    *,
    poi: str,
    shapes: Sequence[Shape],
    crosses: Sequence[Cross] = (),
    features: Sequence[str],
    against: Mapping[str, Sequence[str]],
    weighted: bool = False,
    divided: bool = False,
) -> Residuals:
    """Say what every measured residual of every ratio does to the parameter of interest.

    Args:
        build: Makes likelihoods.
        simulation: All simulated events, each process weighted to its yield.
        diagnostics: By ratio.
        poi: The parameter of interest.
        shapes: The learned responses.
        crosses: Those to two nuisance parameters together.
        features: Names of the columns of `simulation.x`.
        against: By process, the samples against which its ratio is learned.
        weighted: Whether ensemble weights are fitted.
        divided: Whether ratios are divided by their mean over the reference.
    """
    some = _some(simulation)
    columns = dict(zip(features, some.x.T, strict=False))
    found: dict[str, list[list[ResidualShift]]] = {name: [] for name in diagnostics}
    for point, names in _points(build, some, poi, shapes, crosses):
        for name, psi in names.items():
            if name in diagnostics and name in some.ratios:
                made = corrections(diagnostics[name], columns, some.ratios[name])
                found[name].append([_shift(name, point, correction, psi()) for correction in made])
    varied = {name: (shape.process,) for shape in shapes for name in (shape.up, shape.down) if name}
    varied |= {cross.ratio: (cross.process,) for cross in crosses}
    return Residuals(
        parameter=poi,
        shifts=tuple(max(same, key=_size) for sets in found.values() for same in zip(*sets, strict=True)),
        tails=tails(simulation, {**against, **varied}),
        weighted=weighted,
        divided=divided,
    )


def _some(simulation: Dataset) -> Dataset:
    """Keep the first events of each process, which are a random choice."""
    rows = [np.flatnonzero(simulation.sample == place)[:EVENTS] for place in range(len(simulation.samples))]
    return network_error.taken(simulation, np.concatenate(rows))


def _points(
    build: Build, some: Dataset, poi: str, shapes: Sequence[Shape], crosses: Sequence[Cross] = ()
) -> Iterator[tuple[TruthPoint, dict[str, Callable[[], Floats]]]]:
    """Give data of several truths, each with the ratios that are looked at there and their psi."""
    nominal = TruthPoint.of(build, some, poi, {})
    rates = build(some, some).rates
    place = rates.parameters.index(poi)
    (low, high), start = rates.limits()[place], float(rates.start[place])
    for step in (0.0, nominal.error, -nominal.error):
        if low <= start + step <= high:
            point = nominal if step == 0 else TruthPoint.of(build, some, poi, {poi: rates.out(poi, start + step)})
            yield point, {name: partial(point.nominal, name) for name in rates.processes}
    for nuisance in dict.fromkeys(shape.nuisance for shape in shapes):
        own = [shape for shape in shapes if shape.nuisance == nuisance]
        for side, names in (
            (1.0, {shape.up: shape.process for shape in own if shape.up}),
            (-1.0, {shape.down: shape.process for shape in own if shape.down}),
        ):
            if names:
                point = TruthPoint.of(build, some, poi, {nuisance: rates.out(nuisance, side)})
                yield point, {name: partial(point.varied, process) for name, process in names.items()}
    for cross in crosses:
        values = zip((cross.first, cross.second), cross.at, strict=True)
        point = TruthPoint.of(build, some, poi, {name: rates.out(name, value) for name, value in values})
        yield point, {cross.ratio: partial(point.varied, cross.process)}


def _shift(ratio: str, point: TruthPoint, correction: Correction, psi: Floats) -> ResidualShift:
    shift, error = correction.sum(psi)
    known = bool(np.isfinite([shift, error]).all())
    return ResidualShift(
        ratio=ratio,
        kind=correction.kind,
        column=correction.column,
        at=point.at,
        shift=shift if known else None,
        error=error if known else None,
    )


def _size(found: ResidualShift) -> float:
    return np.inf if found.shift is None else abs(found.shift)


def tails(simulation: Dataset, against: Mapping[str, Sequence[str]]) -> dict[str, RatioTails]:
    """Say what the largest values of each ratio hold, as far as its reference is among the events.

    Args:
        simulation: All simulated events.
        against: By ratio, the samples of its reference.
    """
    samples = simulation.samples
    found = {}
    for name, others in against.items():
        if name in simulation.ratios and others and {*others} <= {*samples}:
            below = np.isin(simulation.sample, [samples.index(other) for other in others])
            above = simulation.sample == samples.index(name) if name in samples else None
            found[name] = RatioTails(
                reference=largest(simulation.ratios[name][below], simulation.weight[below]),
                numerator=None if above is None else largest(-simulation.ratios[name][above], simulation.weight[above]),
            )
    return found


def largest(log_ratio: Floats, weight: Floats) -> LargestRatios:
    """Say how many events have an r beyond 30, and what they and the upper 0.1 % of all hold of its mean.

    Args:
        log_ratio: ln r, shape (N,).
        weight: Shape (N,).
    """
    order = np.argsort(-log_ratio)
    size, value = np.abs(weight)[order], log_ratio[order]
    part = size * np.exp(value - value[0])
    beyond, upper = value > np.log(LARGE), np.cumsum(size) <= UPPER * size.sum()
    upper[0] = True
    events, held, most = size @ beyond / size.sum(), part @ beyond / part.sum(), part @ upper / part.sum()
    return LargestRatios(events=float(events), mean=float(held), upper=float(most))
