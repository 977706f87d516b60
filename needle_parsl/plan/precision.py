"""The task that finds how many networks and events are enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from needle_parsl.analysis import Analysis, catalogue, recommended
from needle_parsl.nsbi.search import design
from needle_parsl.plan import inference, specs
from needle_parsl.plan.builder import Graph
from needle_parsl.plan.specs import Task


def measure(
    graph: Graph, asimov: Task, fits: Sequence[Task], again: Task | None, ratios: Sequence[specs.Ratio], stores: Mapping[str, Task]
) -> Task:  # fmt: skip
    """Plan it.

    Args:
        graph: The plan.
        asimov: The simulated events with their log ratios.
        fits: The headline's first.
        again: What replicas say, where there are any.
        ratios: All that were trained.
        stores: Events by sample.
    """
    analysis, simulation = graph.analysis, asimov.of(specs.Evaluate)
    exact = [ratio for ratio in ratios if ratio.name in simulation.ratios] if graph.inputs.exact else []
    spec = specs.PrecisionSpec(
        fit=inference.model_of(analysis),
        poi=analysis.poi(),
        members=analysis.training.count(),
        bagging=1 / (analysis.training.folds or 1) if analysis.training.bootstrap else 0.0,
        kinds=kinds(analysis),
        weighted=catalogue.combiner(analysis.ensemble.combine).fitted,
        normalised=bool(simulation.normalised),
        growth=growth(analysis),
        samples=simulation.samples,
        splitting=graph.splitting,
        fits=tuple(fit.name for fit in fits if isinstance(fit.spec, specs.FitSpec)),
        replicas=again.of(specs.BootstrapSpec).members if again else 0,
        ratios=tuple(exact),
        physics=graph.inputs.physics if exact else None,
    )
    read = dict.fromkeys(stores[share.density.name] for share in simulation.samples)
    counts = graph.counts()
    return graph.add("precision", "precision", spec, asimov, *counts, *fits, *([again] if again else []), *read)


def kinds(analysis: Analysis) -> tuple[int, ...]:
    """Tell members with several settings apart; empty where all are alike."""
    taken = analysis.search.taken() if analysis.search else 1
    own = [
        member % taken if taken > 1 else analysis.training.entry_of(member)
        for member in range(analysis.training.count())
    ]
    return tuple(own) if len(set(own)) > 1 else ()


def growth(analysis: Analysis) -> float:
    """Give the power of the events with which the time of a training grows: 1 where its epochs are given, by the table or by a search."""
    given = all(table.epochs is not None for _, table in analysis.training.each())
    rungs = analysis.search is not None and design.rungs(analysis.search, None) != (0,)
    return 1.0 if given or rungs else recommended.GROWTH
