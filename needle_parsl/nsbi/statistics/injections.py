"""Checks that a fit of Asimov data cannot give where ratios are normalised at the yields, since it then closes by construction.

- Injected variations: data made of a varied sample must return its nuisance parameter, and everything else at its nominal value.
- Injected signals: data with another signal must return it.
- Halves: ratios normalised on one half of the simulated events must close on the other.
- Toys: the scatter of fits of thrown events must be their error.
- Sparse regions: where there are too few events to learn a ratio, it must not matter.

The injections and halves are weighted simulation, without statistical scatter: what is off is off because of ratios or of their finite simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from needle_parsl import salts
from needle_parsl.densities import Density
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.statistics.dataset import Dataset, at
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.fits.result import Result
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.network_error import renormalised
from needle_parsl.nsbi.statistics.results import (
    GroupNormalisation,
    Injection,
    InjectionTests,
    ReturnedParameter,
    ToyScatter,
)
from needle_parsl.nsbi.statistics.sparse_regions import sparse_regions
from needle_parsl.nsbi.statistics.toys import pool as toys

Floats = npt.NDArray[np.float64]
Build = Callable[[Dataset, Dataset], Likelihood]
"""Makes the likelihood of events, with others behind Z_j; with the binned regions of the model."""
SCALES = (0.0, 0.5, 2.0, 3.0)
"""Of the nominal parameter of interest, at which signals are injected."""
TOYS = 50
"""Whose scatter is compared with their error: it is then known to 10 %."""


def variations(
    build: Build, simulation: Dataset, varied: Mapping[str, Dataset], nuisances: Mapping[str, Sequence[str]]
) -> list[Injection]:
    """Fit data made of varied samples.

    Args:
        build: Makes likelihoods.
        simulation: All simulated events.
        varied: Events of each varied sample, with their ratios, by `background.jes.up`; weights add up to its yield.
        nuisances: By nuisance parameter, the processes whose shape it varies.
    """
    found = []
    for nuisance, processes in nuisances.items():
        for side, true in (("up", 1.0), ("down", -1.0)):
            names = [f"{process}.{nuisance}.{side}" for process in processes]
            if all(name in varied for name in names):
                moved = {process: varied[name] for process, name in zip(processes, names, strict=True)}
                found.append(_fitted(f"{nuisance}.{side}", build, simulation, moved, {nuisance: true}))
    return found


def together(
    build: Build,
    simulation: Dataset,
    varied: Mapping[str, Dataset],
    nuisances: Mapping[str, Sequence[str]],
    points: Sequence[Density],
) -> list[Injection]:
    """Fit data made of samples in which several nuisance parameters are moved at once, as far as all that they move was simulated so.

    Args:
        build: See `variations`, as for all others.
        simulation: All simulated events.
        varied: Events of the samples, by name.
        nuisances: By nuisance parameter, the processes whose shape it varies.
        points: The samples.
    """
    found = []
    for values in dict.fromkeys(density.at for density in points):
        own = {density.sample: varied[density.name] for density in points if density.at == values}
        if own.keys() == {process for name, _ in values for process in nuisances[name]}:
            name = next(density.variation for density in points if density.at == values)
            found.append(_fitted(name, build, simulation, own, dict(values)))
    return found


def signals(build: Build, simulation: Dataset, poi: str) -> list[Injection]:
    """Fit data with other values of the parameter of interest, as far as they are within its bounds."""
    rates = build(_some(simulation), _some(simulation)).rates
    place = rates.parameters.index(poi)
    nominal, (low, high) = float(rates.outward(rates.start)[place]), rates.bounds[place]
    values = [scale * (nominal or 1.0) for scale in SCALES]
    return [
        _fitted(f"{poi}={value:g}", build, simulation, {}, {poi: value}) for value in values if low <= value <= high
    ]


def _some(simulation: Dataset) -> Dataset:
    """Keep one event of each process: the structure of a model needs no more."""
    rows = np.unique(simulation.sample, return_index=True)[1]
    ratios = {name: values[rows] for name, values in simulation.ratios.items()}
    return replace(
        simulation, x=simulation.x[rows], weight=simulation.weight[rows], sample=simulation.sample[rows], ratios=ratios
    )


def _fitted(
    name: str, build: Build, simulation: Dataset, moved: Mapping[str, Dataset], truth: Mapping[str, float]
) -> Injection:
    """Fit weighted events of some truth, with binned regions and auxiliary observations as expected there."""
    few = build(_some(simulation), _some(simulation))
    rates, theta = few.rates, few.rates.at(truth)
    factors = dict(zip(rates.processes, rates.factors(theta)[0].tolist(), strict=True))
    totals = dict(zip(rates.processes, few.expected(theta).tolist(), strict=True))
    data = _replaced(at(simulation, factors), moved, totals) if moved else at(simulation, factors)
    likelihood = expected(build(data, simulation), theta)
    best = minimise(likelihood, rates)
    return Injection(name, best.converged, _returned(best, rates.outward(theta)))


def _replaced(simulation: Dataset, moved: Mapping[str, Dataset], totals: Mapping[str, float]) -> Dataset:
    """Put varied events in the place of those of some processes, as many as are expected."""
    kept = np.isin(simulation.sample, [j for j, name in enumerate(simulation.samples) if name not in moved])
    parts = [(simulation.x[kept], simulation.weight[kept], {n: v[kept] for n, v in simulation.ratios.items()})]
    parts += [
        (own.x, own.weight * (totals[process] / own.weight.sum()), dict(own.ratios)) for process, own in moved.items()
    ]
    weight = np.concatenate([part[1] for part in parts])
    ratios = {name: np.concatenate([part[2][name] for part in parts]) for name in simulation.ratios}
    return Dataset(
        x=np.concatenate([part[0] for part in parts]),
        weight=weight,
        sample=np.full(len(weight), -1),
        samples=(),
        ratios=ratios,
        yields={},
    )


def expected(likelihood: Likelihood, theta: Floats) -> Likelihood:
    """Let binned regions and auxiliary observations be what is expected at a point."""
    counts = iter(likelihood.counts(theta))
    tables = tuple(replace(t, count=next(counts)) if t.kind == "bins" else t for t in likelihood.tables)
    constraints = replace(likelihood.constraints, auxiliary=likelihood.constraints.expected(likelihood.alpha(theta)))
    return replace(likelihood, tables=tables, constraints=constraints)


def _returned(best: Result, truth: Floats) -> tuple[ReturnedParameter, ...]:
    return tuple(
        ReturnedParameter(name, float(true), best.value(name), None if np.isnan(best.error(name)) else best.error(name))
        for name, true in zip(best.parameters, truth, strict=True)
    )


def halves(build: Build, simulation: Dataset, salt: int) -> list[Injection]:
    """Normalise the ratios anew on one half of the simulated events, and fit the other half; then the other way round.

    Args:
        build: Makes likelihoods.
        simulation: All simulated events, with ratios that are normalised at the yields.
        salt: Of the hash that divides them. Events of one id are not kept together: of the events here each is there once.
    """
    number = hashing.uniform(np.arange(len(simulation.weight), dtype=np.uint64), salt)
    found = []
    for place, half in enumerate((number < 0.5, number >= 0.5)):
        normalising, fitted = _half(simulation, half), _half(simulation, ~half)
        own = replace(fitted, ratios=renormalised(normalising, fitted.ratios))
        likelihood = build(at(own, _nominal(build, own)), own)
        best = minimise(likelihood, likelihood.rates)
        truth = likelihood.rates.outward(likelihood.rates.start)
        found.append(Injection(f"half {place + 1}", best.converged, _returned(best, truth)))
    return found


def _nominal(build: Build, simulation: Dataset) -> dict[str, float]:
    rates = build(_some(simulation), _some(simulation)).rates
    return dict(zip(rates.processes, rates.factors(rates.start)[0].tolist(), strict=True))


def _half(simulation: Dataset, kept: npt.NDArray[np.bool_]) -> Dataset:
    """Keep half of the events, each process with its yield."""
    sample, weight = simulation.sample[kept], simulation.weight[kept]
    sums = np.bincount(sample, weight, len(simulation.samples))
    whole = np.array([simulation.yields[name] for name in simulation.samples])
    ratios = {name: values[kept] for name, values in simulation.ratios.items()}
    return replace(
        simulation, x=simulation.x[kept], weight=weight * (whole / sums)[sample], sample=sample, ratios=ratios
    )


def scatter(build: Build, simulation: Dataset, poi: str, salt: int) -> ToyScatter:
    """Compare the scatter of fits of thrown events, auxiliary observations included, with the error of the nominal fit.

    Args:
        build: Makes likelihoods.
        simulation: All simulated events, from which toys are drawn.
        poi: The parameter of interest.
        salt: Of the toys.
    """
    learned = build(simulation, simulation)
    theta = learned.rates.start
    asimov = minimise(build(at(simulation, _nominal(build, simulation)), simulation), learned.rates)
    try:
        pool = toys.simulation_pool(learned, [simulation], theta)
    except InputError as refused:
        return ToyScatter(toys=0, reason=str(refused))
    seeds = [salts.key(salt, number) for number in range(TOYS)]
    fits = [
        minimise(pool.likelihood.take(*draw), learned.rates, errors=False) for draw in toys.drawn(pool, theta, seeds)
    ]
    values = np.array([fit.value(poi) for fit in fits if fit.converged])
    if len(values) < TOYS // 2:
        return ToyScatter(toys=len(values), reason=f"{TOYS - len(values)} of {TOYS} fits did not converge")
    spread = float(values.std(ddof=1))
    error = asimov.error(poi)
    return ToyScatter(
        toys=len(values),
        spread=spread,
        spread_error=spread / np.sqrt(2 * (len(values) - 1)),
        mean=float(values.mean()),
        error=None if np.isnan(error) else error,
        values=tuple(values.tolist()),
    )


def inject(
    build: Build,
    simulation: Dataset,
    varied: Mapping[str, Dataset],
    nuisances: Mapping[str, Sequence[str]],
    points_together: Sequence[Density],
    poi: str,
    salt: int,
    *,
    normalisation: Mapping[str, GroupNormalisation],
    points: Sequence[Mapping[str, float]],
    against: Mapping[str, Sequence[str]],
) -> InjectionTests:
    """Inject variations and signals, normalise on halves, and throw toys.

    Args:
        build: Makes likelihoods.
        simulation: All simulated events, with ratios that are normalised at the yields.
        varied: See `variations`.
        nuisances: Likewise.
        points_together: See `together`.
        poi: The parameter of interest.
        salt: Of halves and toys.
        normalisation: How ratios were normalised, by group.
        points: At which parameters.
        against: See `sparse_regions`.
    """
    return InjectionTests(
        points=tuple(points),
        yields=simulation.priors,
        normalisation=normalisation,
        variations=(
            *variations(build, simulation, varied, nuisances),
            *together(build, simulation, varied, nuisances, points_together),
        ),
        signals=tuple(signals(build, simulation, poi)),
        halves=tuple(halves(build, simulation, salt)),
        toys=scatter(build, simulation, poi, salt),
        sparse=sparse_regions(build, simulation, poi, against),
    )
