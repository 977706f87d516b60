"""The tasks that follow the trainings: estimators, their joint covariance, and the files in which they leave the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from needle_parsl.analysis import Analysis, catalogue
from needle_parsl.plan import inference, specs, training
from needle_parsl.plan.builder import Graph
from needle_parsl.plan.specs import Task

if TYPE_CHECKING:
    from needle_parsl.nsbi.statistics.model.reference_yields import ReferenceYields

PROCESSES = "@processes"
"""What the normalisation of the nominal ratios is called."""
ALL = "all"
"""What the files with every ratio are called."""


def of_model(analysis: Analysis, estimators: Mapping[str, Task]) -> dict[str, Task]:
    """Keep the ratios of the model's processes and of their variations."""
    known, samples = analysis.model.processes, analysis.samples
    return {name: task for name, task in estimators.items() if name in known or name not in samples}


def needed(ratio: specs.Ratio | specs.Classes, stores: Mapping[str, Task]) -> list[Task]:
    """List the stores that a ratio is made from."""
    return [stores[density.name] for density in ratio.densities()]


def combine(
    graph: Graph, ratios: Sequence[specs.Ratio], packs: Mapping[str, list[Task]], stores: Mapping[str, Task]
) -> dict[str, Task]:
    """Make one estimator of the members of each ratio, by its name."""
    before = normalise(graph, ratios, packs, stores)
    found = {}
    for ratio in ratios:
        normalised = before.get(ratio.name)
        spec = combining(graph, ratio, packs[ratio.name], normalised.name if normalised else "")
        needs = [*packs[ratio.name], *needed(ratio, stores), *([normalised] if normalised else [])]
        found[ratio.name] = graph.add("combine", ratio.name, spec, *needs)
    return found


def combining(graph: Graph, ratio: specs.Ratio, packs: Sequence[Task], normalised: str = "") -> specs.Combine:
    """Say how the members of a ratio become an estimator.

    Args:
        graph: The plan.
        ratio: The ratio.
        packs: Its members.
        normalised: Name of its normalisation at the expected yields; empty for one that has none.
    """
    ensemble = graph.analysis.ensemble
    names = tuple(task.name for task in packs)
    splitting = graph.splitting if graph.splitting.folds else replace(graph.splitting, test=0.0)
    end = training.searched(graph, ratio)
    varied = bool(graph.analysis.search and graph.analysis.search.combines())
    other = "reference" if ensemble.normalise == "yields" else ensemble.normalise
    return specs.Combine(
        ratio=ratio,
        splitting=splitting,
        packs=names,
        combine=ensemble.combine,
        quorum=ensemble.quorum,
        calibration=ensemble.calibration,
        normalise=normalised or other or "none",
        code=graph.inputs.physics if ensemble.own_code() else None,
        searched=end if varied else "",
    )


def normalise(
    graph: Graph, ratios: Sequence[specs.Ratio], packs: Mapping[str, list[Task]], stores: Mapping[str, Task]
) -> dict[str, Task]:
    """Normalise the ratios of the model at the expected yields: the nominal ones together, then the variations of each process.

    Returns:
        The normalisation of each ratio, by its name; none for ratios that are normalised otherwise.
    """
    found: dict[str, Task] = {}
    for spec, before in normalising(graph, ratios, packs):
        own = [one.ratio for one in spec.ratios]
        varied = own[0].varied
        name = f"@{own[0].numerator.sample}" if varied else PROCESSES
        read = dict.fromkeys(
            [*(share.density.name for share in spec.samples), *(d.name for ratio in own for d in ratio.densities())]
        )
        first = [found[spec.nominal]] if spec.nominal else []
        task = graph.add("normalise", name, spec, *before, *(stores[store] for store in read), *first)
        found |= dict.fromkeys([*(ratio.name for ratio in own), name], task)
    return found


def multipliers(analysis: Analysis) -> tuple[float, ...]:
    """Give what the expected events of each process are multiplied with, to normalise ratios at them; none where that is not done."""
    return tuple(reference_yields(analysis).multipliers.tolist()) if analysis.ensemble.normalise == "yields" else ()


def reference_yields(analysis: Analysis) -> ReferenceYields:
    """Choose the expected yields at which ratios are normalised."""
    from needle_parsl.nsbi.statistics.model.reference_yields import ReferenceYields  # noqa: PLC0415  with NumPy, which the rest of the plan does without

    return ReferenceYields.of(replace(analysis.model, nuisances={}, regions={}))


def normalising(
    graph: Graph, ratios: Sequence[specs.Ratio], packs: Mapping[str, Sequence[Task]]
) -> list[tuple[specs.Normalise, list[Task]]]:
    """Say what is normalised together, each with the packs that it is made from; nominal ratios come first."""
    analysis = graph.analysis
    samples = tuple(graph.share(name) for name in analysis.model.processes)
    factors = multipliers(analysis)
    if not factors:
        return []
    known = [ratio for ratio in ratios if ratio.numerator.sample in analysis.model.processes]
    groups = sorted(training.families(known), key=lambda own: bool(own[0].varied))
    nominal = PROCESSES if any(not ratio.varied for ratio in known) else ""
    found = []
    for own in groups:
        varied = bool(own[0].varied)
        combines = tuple(replace(combining(graph, r, packs[r.name]), normalise="none") for r in own)
        shared = catalogue.loss(analysis.training.loss).classes and not varied
        spec = specs.Normalise(combines, samples, factors, shared, nominal if varied else "")
        found.append((spec, list({task.key: task for r in own for task in packs[r.name]}.values())))
    return found


def covariance(
    graph: Graph, ratios: Sequence[specs.Ratio], estimators: Mapping[str, Task], stores: Mapping[str, Task]
) -> Task | None:
    """Let the ratios of the model have one covariance, where their weights have any."""
    known = of_model(graph.analysis, estimators)
    fitted = tuple(ratio for ratio in ratios if ratio.name in known)
    if not (catalogue.combiner(graph.analysis.ensemble.combine).fitted and fitted):
        return None
    read = dict.fromkeys(store for ratio in fitted for store in needed(ratio, stores))
    spec = specs.CovarianceSpec(fitted, replace(graph.splitting, test=0.0))
    return graph.add("covariance", "covariance", spec, *(estimators[ratio.name] for ratio in fitted), *read)


def leave(
    graph: Graph,
    ratios: Sequence[specs.Ratio],
    estimators: Mapping[str, Task],
    covariance: Task | None,
    stores: Mapping[str, Task],
) -> None:
    """Write the pseudo-model; and ONNX files, one per ratio and one for everything, where they can be made."""
    analysis = graph.analysis
    interpolations = tuple((name, nuisance.interpolation) for name, nuisance in analysis.model.nuisances.items())
    units = tuple(
        (name, analysis.features.units[name]) for name in analysis.features.names if name in analysis.features.units
    )
    facts = specs.Named(analysis.name, (*analysis.features.names, *analysis.features.parameters), units)
    spec = specs.Compose(
        facts=facts, ratios=tuple(estimators), processes=tuple(analysis.model.processes), shapes=inference.learned_shapes(analysis, analysis.varied()), interpolations=interpolations, covariance=covariance is not None,
        crosses=inference.learned_crosses(analysis),
    )  # fmt: skip
    graph.add("compose", ALL, spec, *estimators.values(), *([covariance] if covariance else []))
    if not graph.inputs.exports or not estimators:
        return
    for ratio in ratios:
        _export(graph, f"{ratio.name}/export", f"{ratio.name}/estimator.onnx", facts, [ratio], estimators, stores)
    _export(graph, ALL, f"{ALL}.onnx", facts, ratios, estimators, stores)


def _export(
    graph: Graph,
    name: str,
    file: str,
    facts: specs.Named,
    ratios: Sequence[specs.Ratio],
    estimators: Mapping[str, Task],
    stores: Mapping[str, Task],
) -> None:
    # Events of the reference have no parameter; those of a ratio's numerator have.
    read = dict.fromkeys(
        store
        for ratio in ratios
        for store in ([stores[ratio.numerator.name]] if ratio.parameters else needed(ratio, stores))
    )
    made = [estimators[ratio.name] for ratio in ratios]
    spec = specs.Export(facts, file, tuple(task.name for task in made), tuple(store.name for store in read))
    graph.add("export", name, spec, *made, *read)
