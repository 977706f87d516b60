"""The task that says what the measured residuals of ratios do to the parameter of interest."""

from __future__ import annotations

from collections.abc import Sequence

from needle_parsl.analysis import catalogue
from needle_parsl.plan import inference, specs
from needle_parsl.plan.builder import Graph
from needle_parsl.plan.specs import Task


def measure(
    graph: Graph, asimov: Task, checks: Sequence[Task], against: Sequence[tuple[str, tuple[str, ...]]]
) -> list[Task]:
    """Plan it, if the model has a ratio.

    Args:
        graph: The plan.
        asimov: The simulated events with their log ratios.
        checks: The diagnostics of all ratios.
        against: By process, the samples against which its ratio is learned.
    """
    analysis, names = graph.analysis, asimov.of(specs.Evaluate).ratios
    read = {task.spec.ratio.name: task for task in checks if isinstance(task.spec, specs.Diagnose)}
    if not names:
        return []
    spec = specs.ResidualsSpec(
        fit=inference.model_of(analysis),
        poi=analysis.poi(),
        ratios=names,
        against=tuple(against),
        weighted=catalogue.combiner(analysis.ensemble.combine).fitted,
        divided=analysis.ensemble.normalise == "reference",
    )
    counts = graph.counts()
    return [graph.add("residuals", "residuals", spec, asimov, *counts, *(read[name] for name in names))]
