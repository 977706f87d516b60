"""The tasks that follow the trainings: estimators, their joint covariance, and the files in which they leave the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from needle_parsl.analysis import Analysis
from needle_parsl.plan import inference, specs
from needle_parsl.plan.growing import Graph
from needle_parsl.plan.specs import Task

ALL = "all"
"""What the files with every ratio are called."""


def of_model(analysis: Analysis, estimators: Mapping[str, Task]) -> dict[str, Task]:
    """Keep the ratios of the model's processes and of their variations."""
    known, samples = analysis.model.processes, analysis.samples
    return {name: task for name, task in estimators.items() if name in known or name not in samples}


def needed(ratio: specs.Ratio | specs.Classes, stores: Mapping[str, Task]) -> list[Task]:
    """List the stores that a ratio is made from."""
    return [stores[density.name] for density in ratio.densities()]


def combine(graph: Graph, ratio: specs.Ratio, packs: list[Task], stores: Mapping[str, Task]) -> Task:
    """Make one estimator of the members of a ratio."""
    return graph.add("combine", ratio.name, combining(graph, ratio, packs), *packs, *needed(ratio, stores))


def combining(graph: Graph, ratio: specs.Ratio, packs: Sequence[Task]) -> specs.Combine:
    """Say how the members of a ratio become an estimator."""
    ensemble = graph.analysis.ensemble
    names = tuple(task.name for task in packs)
    splitting = replace(graph.splitting, test=0.0)
    return specs.Combine(ratio, splitting, names, ensemble.combine, ensemble.quorum, ensemble.calibration)


def covariance(
    graph: Graph, ratios: Sequence[specs.Ratio], estimators: Mapping[str, Task], stores: Mapping[str, Task]
) -> Task | None:
    """Let the ratios of the model have one covariance, where their weights have any."""
    known = of_model(graph.analysis, estimators)
    fitted = tuple(ratio for ratio in ratios if ratio.name in known)
    if graph.analysis.ensemble.combine != "wifi" or not fitted:
        return None
    read = dict.fromkeys(store for ratio in fitted for store in needed(ratio, stores))
    spec = specs.Covariance(fitted, replace(graph.splitting, test=0.0))
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
    facts = specs.Named(analysis.name, analysis.features.names, units)
    spec = specs.Compose(
        facts, tuple(estimators), tuple(analysis.model.processes), inference.learned_shapes(analysis), interpolations, covariance is not None
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
    read = dict.fromkeys(store for ratio in ratios for store in needed(ratio, stores))
    made = [estimators[ratio.name] for ratio in ratios]
    spec = specs.Export(facts, file, tuple(task.name for task in made), tuple(store.name for store in read))
    graph.add("export", name, spec, *made, *read)
