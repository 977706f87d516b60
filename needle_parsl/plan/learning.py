"""What comes before the fits of an unbinned region: trainings, estimators, what is measured of them, and events with all ratios."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from needle_parsl.analysis import Analysis, catalogue
from needle_parsl.densities import Density
from needle_parsl.plan import estimators as estimating
from needle_parsl.plan import inference, specs, training
from needle_parsl.plan import search as searching
from needle_parsl.plan.builder import Graph, share
from needle_parsl.plan.datasets import ASIMOV, OBSERVED, REFERENCE, RegionEvents
from needle_parsl.plan.sources import densities
from needle_parsl.plan.specs import Share, Task

MIXTURE = "mixture"
"""The measurement of all processes together."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What there is of an unbinned region when its ratios are learned."""

    ratios: list[specs.Ratio]
    packs: dict[str, list[Task]]
    """By ratio."""
    estimators: dict[str, Task]
    """By ratio."""
    checks: list[Task]
    """What is measured of the ratios."""
    events: RegionEvents | None = None
    """None where nothing is fitted."""


def learned(graph: Graph, stores: Mapping[str, Task]) -> Learned:
    """Plan everything from the trainings to the events with all ratios."""
    analysis = graph.analysis
    ratios = _ratios(analysis)
    searching.search(graph, ratios, stores)
    packs = training.of_ratios(graph, ratios, partial(training.members, graph), stores)
    estimators = estimating.combine(graph, ratios, packs, stores)
    if analysis.unfitted or (analysis.features.parameters and not analysis.simulated):
        checks = [_diagnose(graph, ratio, packs[ratio.name], estimators[ratio.name], stores) for ratio in ratios]
        return Learned(ratios=ratios, packs=packs, estimators=estimators, checks=checks)
    covariance = estimating.covariance(graph, ratios, estimators, stores)
    checks = [_diagnose(graph, ratio, packs[ratio.name], estimators[ratio.name], stores) for ratio in ratios]
    estimating.leave(graph, ratios, estimators, covariance, stores)
    if not analysis.simulated:  # the mixture is looked at along one parameter
        checks += _mixture(graph, ratios, estimators, stores)
    asimov = _evaluate(graph, ASIMOV, stores, estimators, covariance)
    observed = _evaluate(graph, OBSERVED, stores, estimators, covariance) if OBSERVED in stores else None
    reference = _evaluate(graph, REFERENCE, stores, estimators) if inference.uses_reference(analysis) else None
    events = RegionEvents(asimov, observed, reference)
    return Learned(ratios=ratios, packs=packs, estimators=estimators, checks=checks, events=events)


def _ratios(analysis: Analysis) -> list[specs.Ratio]:
    """Every ratio that is trained: targets over the reference, varied samples over their nominal one."""
    # Classes are balanced: a yield only matters where several samples make up the denominator.
    several = len(analysis.ratios.reference) > 1
    reference = tuple(
        share(analysis, name) if several else Share(Density(name), None) for name in analysis.ratios.reference
    )
    targets = [name for name in dict.fromkeys(analysis.ratios.targets) if not analysis.reference_of(name)]
    varied = [_varied(analysis, Density(name, nuisance, side)) for name, nuisance, side, _ in analysis.varied()]
    varied += [_varied(analysis, Density(name, at=joint.point())) for name, joint in analysis.joint()]
    inputs = len(analysis.features.parameters)
    return [specs.Ratio(Density(name), reference, inputs) for name in targets] + varied


def _varied(analysis: Analysis, density: Density) -> specs.Ratio:
    """Give the ratio of a varied sample over its nominal one; what joint variations move is of their surrogate."""
    crossed = analysis.samples[density.sample].crossed() if analysis.joint() else ()
    own = crossed if density.nuisances().keys() <= {*crossed} else ()
    return specs.Ratio(density, (Share(Density(density.sample), None),), surrogate=own)


def _diagnose(graph: Graph, ratio: specs.Ratio, packs: list[Task], estimator: Task, stores: Mapping[str, Task]) -> Task:
    physics = graph.inputs.physics if graph.inputs.exact else None
    spec = specs.Diagnose(ratio, graph.splitting, tuple(task.name for task in packs), physics)
    return graph.add("diagnose", ratio.name, spec, estimator, *packs, *estimating.needed(ratio, stores))


def _mixture(
    graph: Graph, ratios: list[specs.Ratio], estimators: Mapping[str, Task], stores: Mapping[str, Task]
) -> list[Task]:
    """Measure the mixture of all processes, if any of them has a ratio."""
    analysis = graph.analysis
    learned = [ratio for ratio in ratios if ratio.name in analysis.model.processes]
    if not learned:
        return []
    samples = tuple(graph.share(name) for name in analysis.model.processes)
    reference, names = learned[0].denominator, tuple(ratio.name for ratio in learned)
    model = replace(analysis.model, nuisances={}, regions={})
    spec = specs.MixtureSpec(
        model=model, poi=analysis.poi(), reference=reference, splitting=graph.splitting, samples=samples, ratios=names
    )
    read = dict.fromkeys(share.density.name for share in (*reference, *samples))
    return [graph.add("diagnose", MIXTURE, spec, *(estimators[n] for n in names), *(stores[n] for n in read))]


def _evaluate(
    graph: Graph,
    dataset: str,
    stores: Mapping[str, Task],
    estimators: Mapping[str, Task],
    covariance: Task | None = None,
) -> Task:
    analysis = graph.analysis
    simulated = dataset != OBSERVED
    names = analysis.ratios.reference if dataset == REFERENCE else analysis.model.processes
    samples = tuple(graph.share(name) for name in names) if simulated else ()
    varied = densities(analysis) if dataset == ASIMOV else ()
    ratios = estimating.of_model(analysis, estimators)
    normalised = estimating.multipliers(analysis) if dataset == ASIMOV else ()
    spec = specs.Evaluate(
        dataset=dataset,
        splitting=graph.splitting,
        samples=samples,
        varied=varied,
        ratios=tuple(ratios),
        covariance=covariance is not None,
        normalised=normalised,
        simulated=_simulated(graph),
    )
    reference = analysis.ratios.reference if spec.simulated and simulated else ()
    read = [*dict.fromkeys([*(share.density.name for share in samples), *reference])] + [
        density.name for density in varied
    ]
    read += [] if simulated else [OBSERVED]
    before = [*(stores[name] for name in read), *ratios.values(), *([covariance] if covariance else [])]
    return graph.add("evaluate", dataset, spec, *before)


def _simulated(graph: Graph) -> specs.SimulatedParameter | None:
    """Say of which parameter of the simulation ratios are functions; None without such in the fit."""
    analysis = graph.analysis
    if not analysis.simulated:
        return None
    (name,) = analysis.simulated
    own = analysis.model.parameters[name]
    return specs.SimulatedParameter(
        name=name,
        nominal=own.nominal,
        knots=own.knots(),
        processes=tuple(process for process in analysis.model.processes if analysis.parametrised(process)),
        reference=tuple(graph.share(sample) for sample in analysis.ratios.reference),
    )


def closing(graph: Graph, asimov: Task, estimators: Mapping[str, Task], stores: Mapping[str, Task]) -> list[Task]:
    """Check what a fit of Asimov data cannot, where ratios are normalised at the expected yields."""
    if not asimov.of(specs.Evaluate).normalised:
        return []
    fit = inference.model_of(graph.analysis)
    known = {one.key: one for one in graph.tasks if one.stage.name == "normalise" and not one.part}
    spec = specs.Closing(
        fit=fit,
        poi=graph.analysis.poi(),
        simulation=asimov.of(specs.Evaluate),
        salt=graph.salt("closing"),
        normalisations=tuple(t.name for t in known.values()),
        points=tuple(tuple(point.items()) for point in estimating.reference_yields(graph.analysis).points),
        against=against(graph.analysis),
    )
    counts = graph.counts()
    read = [stores[density.name] for density in spec.simulation.varied]
    made = [estimators[name] for name in spec.simulation.ratios]
    return [graph.add("interval", "closure", spec, asimov, *counts, *made, *read, *known.values())]


def against(analysis: Analysis) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Say against which samples the ratio of each process that is not in the reference is learned: that, or by one network all other processes."""
    names, reference = tuple(analysis.model.processes), tuple(analysis.ratios.reference)
    every = catalogue.loss(analysis.training.loss).classes
    learned = [name for name in names if name not in reference]
    return tuple((name, tuple(n for n in names if n != name) if every else reference) for name in learned)
