"""The unbinned regions beside the first one: their tasks stand in a folder of each, and what is learned there in a section of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from needle_parsl.plan import specs
from needle_parsl.plan.builder import Graph
from needle_parsl.plan.datasets import ASIMOV, OBSERVED, REFERENCE, RegionEvents
from needle_parsl.plan.specs import NetworksSection, Task
from needle_parsl.plan.specs.stores import REGION

TOGETHER = "regions"
"""What is expected and observed in all unbinned regions."""


def add(graph: Graph) -> dict[str, RegionEvents]:
    """Add what was planned of them; give the events of each."""
    found = {}
    for name, planned in graph.inputs.regions.items():
        tasks = graph.add_analysis(name, planned)
        events = {task.own().name: task for task in tasks if task.stage.name == "evaluate"}
        found[name] = RegionEvents(events[ASIMOV], events.get(OBSERVED), events.get(REFERENCE))
        measured = [task for task in tasks if task.stage.name == "diagnose" and task.own().name != "mixture"]
        ratios = tuple(task.own().name for task in measured)
        spec = NetworksSection(stage=name, ratios=ratios, thresholds=graph.analysis.diagnostics, region=True)
        graph.add("networks", name, spec, *measured)
    return found


def compare(
    graph: Graph,
    fit: specs.FitSpec,
    regions: Mapping[str, RegionEvents],
    counts: Sequence[Task],
    stores: Mapping[str, Task],
) -> Task:
    """Compare the events of several unbinned regions; fits wait for it, since none of them may be in two."""
    bins = tuple((name, own.binning.edges) for name, own in graph.analysis.model.fitted().regions.items())
    model = graph.analysis.model
    looked = tuple(f"{REGION}{name}" for name in model.validations())  # what is only looked at changes no fit
    read = [
        task
        for name, task in stores.items()
        if name.partition(".")[0].partition(REGION)[0] in model.processes and not name.endswith(looked)
    ]
    events = [task for own in regions.values() for task in (own.asimov, own.observed) if task]
    return graph.add("regions", TOGETHER, specs.CompareRegions(fit=fit, bins=bins), *events, *counts, *read)
