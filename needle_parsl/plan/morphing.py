"""What follows a polynomial basis: fits of the linear terms alone, and a section of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from needle_parsl.plan import specs

if TYPE_CHECKING:
    from needle_parsl.plan.builder import Graph
    from needle_parsl.plan.datasets import Datasets
    from needle_parsl.plan.inference import InferenceTasks
    from needle_parsl.plan.specs import Task

MORPHING = "morphing"
LINEAR = "_linear"
"""Behind the names of what is fitted with the linear terms alone."""


def add(graph: Graph, datasets: Datasets, measured: InferenceTasks, stores: Mapping[str, Task]) -> None:
    """Plan what `[model.morphing]` adds to the fits, scans and limits."""
    basis = graph.analysis.basis
    if basis is None:
        return
    headline = measured.fits[0].of(specs.FitSpec)
    linear = _linear(graph, datasets, measured) if basis.linear else []
    limits = measured.limits[:1]
    spec = specs.MorphingSection(
        fit=replace(headline, minos=()), basis=basis, poi=graph.analysis.poi(), limits=bool(limits)
    )
    read = [stores[name] for name in basis.points if name in stores]
    graph.add(
        MORPHING, MORPHING, spec, *read, *datasets.simulated(), measured.fits[0], measured.scans[0], *limits, *linear
    )


def _linear(graph: Graph, datasets: Datasets, measured: InferenceTasks) -> list[Task]:
    """Repeat fits of data and Asimov data, the scan and the limits without terms of higher order; data is the same."""
    fits = [task for task in measured.fits if isinstance(task.spec, specs.FitSpec)]
    found = []
    for task in fits:
        needs = datasets.headline() if task is fits[0] else datasets.simulated()
        spec = _truncated(graph, task.of(specs.FitSpec))
        found.append(graph.add("fit", f"{task.name}{LINEAR}", spec, *needs, *fits))
    for other in (measured.scans[0], *measured.limits[:1]):
        assert isinstance(other.spec, specs.Interval | specs.LimitsSpec)
        moved = replace(other.spec, fit=_truncated(graph, other.spec.fit))
        found.append(graph.add("interval", f"{other.name}{LINEAR}", moved, *datasets.headline(), *fits))
    return found


def _truncated(graph: Graph, fit: specs.FitSpec) -> specs.FitSpec:
    """Fit with the linear terms alone, Asimov data with all terms."""
    basis = graph.analysis.basis
    assert basis is not None
    model = replace(fit.model, processes={**fit.model.processes, **basis.linear})
    return replace(fit, model=model, truth=tuple(fit.model.processes.items()))
