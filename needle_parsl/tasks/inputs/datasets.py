"""Datasets with their log ratios, counts in binned regions, likelihoods, and toys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from needle_parsl.densities import Density
from needle_parsl.errors import InputError
from needle_parsl.files import read_json
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.statistics import dataset as datasets
from needle_parsl.nsbi.statistics import network_error
from needle_parsl.nsbi.statistics.dataset import Dataset, Floats, Knots, at, nothing
from needle_parsl.nsbi.statistics.model import Rates
from needle_parsl.nsbi.statistics.model import regions as binned
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.model.exact import ExactLikelihood
from needle_parsl.nsbi.statistics.model.likelihood import Likelihood
from needle_parsl.nsbi.statistics.network_error import Networks
from needle_parsl.nsbi.statistics.results import RegionCounts
from needle_parsl.nsbi.statistics.toys import block
from needle_parsl.nsbi.statistics.toys.block import Block
from needle_parsl.plan import specs
from needle_parsl.tasks.inputs.stores import count, mixed, part, path, shares, store, total

if TYPE_CHECKING:
    from needle_parsl.nsbi.estimators.estimator import Estimator

EDGE = 0.02
"""Of the simulated range of a parameter, by which values may be beyond it: the ends of a sample are no sharp ones."""
Ints = npt.NDArray[np.int64]
Pair = tuple[Dataset, Dataset]
"""The events of a region that are fitted, and the simulated ones."""


def dataset(root: str, name: str) -> Dataset:
    """Read a dataset with its log ratios."""
    return datasets.read(path(root, "evaluate", name))


def simulation(root: str, spec: specs.FitSpec) -> Dataset:
    """Read the simulated events behind a fit in the first region; there are none behind one of binned regions alone."""
    return nothing() if spec.binned else dataset(root, "asimov")


def simulations(root: str, spec: specs.FitSpec) -> list[Dataset]:
    """Read the simulated events of each unbinned region."""
    return [dataset(folder, "asimov") for folder in places(root, spec).values()]


def samples(root: str, spec: specs.FitSpec) -> Ints:
    """Give the process of each simulated event, those of several regions one behind the other; shape (N,)."""
    return np.concatenate([np.empty(0, np.int64), *(own.sample for own in simulations(root, spec))])


def expectation(root: str, spec: specs.Report) -> Dataset:
    """Read the simulated events that a report shows; of binned regions alone, what is expected in them."""
    if not spec.binned:
        return dataset(root, "asimov")
    return nothing(binned.yields([_region(root, name) for name in spec.regions]))


def seen(root: str, spec: specs.Report) -> int | None:
    """Count the observed events of the headline fit, those of all unbinned regions or of binned ones alone; None without such."""
    if "observed" not in spec.fits:
        return None
    if not spec.binned:
        folders = [root, *(str(Path(root) / specs.PARTS / name) for name in spec.further_regions)]
        return sum(count(folder, "observed") for folder in folders)
    return sum(count(root, f"observed@{name}") for name in spec.regions)


def simulated(root: str, spec: specs.Evaluate, ratios: Mapping[str, Estimator]) -> Dataset:
    """Evaluate ratios on the test events of the samples."""
    names, own = [share.density.name for share in spec.samples], spec.simulated
    stand_in = own.processes if own else ()
    parts = {name: part(root, name, spec.splitting, "test") for name in names if name not in stand_in}
    if own and set(stand_in) & set(names):
        reference = mixed(root, own.reference, spec.splitting, "test")
        _insist_on_range(root, own)
        parts = {name: reference if name in stand_in else parts[name] for name in names}
    return datasets.simulated(parts, yields(root, spec), ratios, _priors(root, spec), knots(spec))


def knots(spec: specs.Evaluate) -> Knots | None:
    """Say where ratios are evaluated; None where none depends on a parameter of the simulation."""
    own = spec.simulated
    return Knots(own.nominal, own.knots, own.processes) if own else None


def _insist_on_range(root: str, own: specs.SimulatedParameter) -> None:
    """Refuse values of a parameter where nothing was simulated."""
    for process in own.processes:
        values = store(root, process).x[:, -1].astype(np.float64)
        low, high = float(values.min()), float(values.max())
        slack = EDGE * (high - low)
        outside = [value for value in own.knots if not low - slack <= value <= high + slack]
        if outside:
            raise InputError(
                f"model.parameters.{own.name}: {outside[0]:g} is outside of {low:.3g} to {high:.3g}, where {process} was simulated; ratios know "
                "nothing there: bring bounds and grid nearer, or simulate there"
            )


def varied(root: str, spec: specs.Evaluate, density: Density, simulation: Dataset) -> Dataset:
    """Evaluate the ratios of a model on the events of a varied sample, whose weights add up to its yield."""
    from needle_parsl.tasks.inputs.evaluation import opened  # noqa: PLC0415  with torch, which fits do without

    events = part(root, density.name, spec.splitting, "test")
    ratios = {name: estimator.of(events) for name, estimator in opened(root, spec.ratios).items()}
    weight = events.weight * (simulation.yields[density.name] / events.weight.sum())
    return Dataset.of(events.x, ratios, weight=weight)


def scored(folders: Mapping[str, str], crossed: Sequence[specs.Evaluate]) -> dict[str, Dataset]:
    """Evaluate the observed events of each region by the networks of one fold each, as simulated ones were; none without folds.

    The mean over folds, which is fitted, scatters less, and its distribution is another one.
    """
    from needle_parsl.tasks.inputs.evaluation import opened  # noqa: PLC0415  with torch, which fits do without

    each = zip(folders.items(), crossed, strict=True) if crossed else ()
    return {
        name: datasets.observed(store(folder, how.dataset), opened(folder, how.ratios), knots(how), folds=True)
        for (name, folder), how in each
    }


def networks(root: str, spec: specs.Evaluate, ratios: Mapping[str, Estimator]) -> Networks | None:
    """Evaluate the networks of cross-fitted ratios one by one, on some of the simulated events; None without such."""
    if not (spec.normalised and spec.splitting.folds and ratios):
        return None
    parts = {s.density.name: part(root, s.density.name, spec.splitting, "test") for s in spec.samples}
    rows, some = network_error.chosen(parts)
    x = Events.join([*some.values()], next(iter(some.values())).names).inputs
    found = {name: network_error.evaluated(x, ratio) for name, ratio in ratios.items()}
    whole = {name: values for name, values in found.items() if values is not None}
    return Networks(rows, whole) if len(whole) == len(found) else None


def _priors(root: str, spec: specs.Evaluate) -> dict[str, float]:
    """Give the expected events at which ratios are normalised, by process; none where they are normalised otherwise."""
    expected = shares(root, spec.samples) if spec.normalised else []
    return {density.name: nu * factor for (density, nu), factor in zip(expected, spec.normalised, strict=True)}


def yields(root: str, spec: specs.Evaluate) -> dict[str, float]:
    """Give expected events; a variation's are the nominal ones times the ratio of the sums of weights."""
    nominal = {density.name: expected for density, expected in shares(root, spec.samples)}
    varied = {d.name: nominal[d.sample] * total(root, d.name) / total(root, d.sample) for d in spec.varied}
    return nominal | varied


def places(root: str, spec: specs.FitSpec) -> dict[str, str]:
    """Give the folder of each unbinned region, the first one's own first; none where there are binned regions alone."""
    first, *others = spec.unbinned or ("",)
    return {} if spec.binned else {first: root} | {name: str(Path(root) / specs.PARTS / name) for name in others}


def joint(root: str, spec: specs.FitSpec) -> dict[str, Pair]:
    """Read the events of each unbinned region that are fitted, and the simulated ones; Asimov events are weighted to the nominal parameters."""
    return {name: _pair(name, folder, spec) for name, folder in places(root, spec).items()}


def _pair(name: str, folder: str, spec: specs.FitSpec) -> Pair:
    simulation = dataset(folder, "asimov")
    where = f" in the region {name}" if len(spec.unbinned) > 1 else ""
    seen = weighted(spec, simulation, where) if spec.dataset == "asimov" else dataset(folder, spec.dataset)
    return seen, simulation


def fitted(root: str, spec: specs.FitSpec) -> Dataset:
    """Read the events of the first region that are fitted; Asimov events are weighted to the nominal parameters."""
    pairs = joint(root, spec.alone())
    return next((data for data, _ in pairs.values()), nothing())


def weighted(spec: specs.FitSpec, found: Dataset, where: str = "") -> Dataset:
    """Weight simulated events to the nominal parameters: Asimov data.

    Args:
        spec: The model.
        found: The simulated events.
        where: In which region, for the message.
    """
    rates = Rates.build(replace(spec.model, processes=dict(spec.truth)) if spec.truth else spec.model)
    factors = dict(zip(rates.processes, rates.factors(rates.start)[0].tolist(), strict=True))
    expected = sum(factor * found.yields[process] for process, factor in factors.items())
    if expected <= 0:
        raise InputError(
            f"model.processes: {expected:.3g} events are expected at the nominal parameters{where}; expected more than 0"
        )
    return at(found, factors)


def expected(spec: specs.FitSpec) -> specs.FitSpec:
    """Say that Asimov data is fitted."""
    return replace(spec, dataset="asimov")


def likelihood(root: str, spec: specs.FitSpec) -> Likelihood:
    """Build the likelihood of a dataset; the simulated test events are behind Z_j, too."""
    return likelihood_of_all(spec, joint(root, spec), regions(root, spec))


def likelihood_of_all(spec: specs.FitSpec, events: Mapping[str, Pair], regions: Sequence[Counts] = ()) -> Likelihood:
    """Build the likelihood of the events of all unbinned regions that are in memory, and of counts in binned regions."""
    made = Builder.of(spec.model, spec.shapes, spec.crosses)
    return made.joint(events, regions) if events else made.counting(regions)


def likelihood_of(
    spec: specs.FitSpec, data: Dataset, simulation: Dataset, regions: Sequence[Counts] = ()
) -> Likelihood:
    """Build the likelihood of events of the first unbinned region alone, and of counts in binned regions."""
    if spec.binned:
        return likelihood_of_all(spec, {}, regions)
    return likelihood_of_all(spec, {(spec.unbinned or ("",))[0]: (data, simulation)}, regions)


def regions(root: str, spec: specs.FitSpec) -> list[Counts]:
    """Read the binned regions of a fit; with Asimov data nothing was observed in them."""
    return [
        binned.counts(
            _region(root, name),
            observed=spec.dataset != "asimov",
            staterror=spec.staterror,
            own=region.shapesys,
            threshold=spec.staterror_threshold,
        )
        for name, region in spec.model.regions.items()
    ]


def counts_of(root: str, name: str) -> Counts:
    """Read a binned region that is fitted to nothing, with what may be looked at."""
    return binned.counts(_region(root, name), observed=True)


def _region(root: str, name: str) -> RegionCounts:
    return RegionCounts.from_json(read_json(path(root, "count", name)))


def scales(root: str, spec: specs.Count) -> dict[str, float]:
    """Give what the weights of processes and varied processes are multiplied by, so that stated yields are theirs."""
    nominal = {share.density.name: share.yield_ for share in spec.samples}
    counted = {share.density.name: share.counted for share in spec.samples}
    factors = {name: expected / total(root, counted[name]) if expected else 1.0 for name, expected in nominal.items()}
    return factors | {density.name: factors[density.sample] for density in spec.varied}


def counted(root: str, spec: specs.Count, name: str, scale: float) -> tuple[Floats, Floats]:
    """Count the weights of a store in the bins of a region, and their squares."""
    events = store(root, f"{name}@{spec.region}")
    return binned.histogram(events.x[:, 0], events.weight * scale, spec.edges)


def shared(root: str, spec: specs.Count, name: str) -> dict[str, int]:
    """Count the events of a process in the bins of a region that are fitted elsewhere, too, by the place."""
    own = inside(root, f"{name}@{spec.region}", spec.edges)
    others = {f"region {other}": inside(root, f"{name}@{other}", edges) for other, edges in spec.beside}
    if not spec.binned:
        others["[features] selection"] = store(root, name).id
    return {place: len(np.intersect1d(own, ids)) for place, ids in others.items()}


def inside(root: str, name: str, edges: Sequence[float]) -> npt.NDArray[np.uint64]:
    """Give the ids of the events that are counted."""
    events = store(root, name)
    value = events.x[:, 0]
    return events.id[(value >= edges[0]) & (value <= edges[-1])]


def exact_likelihood(root: str, spec: specs.Exact, learned: Likelihood) -> ExactLikelihood:
    """Build the likelihood with exact densities for the events, yields and constraints of the learned one."""
    from needle_parsl.nsbi.estimators.exact import log_mixture  # noqa: PLC0415  likewise
    from needle_parsl.tasks.inputs.ratios import log_density  # noqa: PLC0415  with torch, which other tasks do without

    density, data = log_density(spec.physics), fitted(root, spec.fit)
    log_reference = log_mixture(density, shares(root, spec.reference), data.x.astype("float64"))
    shapes = {name: [s.nuisance for s in spec.fit.shapes if s.process == name] for name in learned.rates.processes}
    return ExactLikelihood(learned, data, density, shapes, log_reference)


def blocks(root: str, names: tuple[str, ...]) -> Block:
    """Read the blocks of one truth."""
    return Block.join([block.read(path(root, "toys", name)) for name in names])
