"""The unbinned regions beside the first one: their tasks stand in a folder of each, and what is learned there in a section of the report."""

from __future__ import annotations

from needle_parsl.plan.builder import Graph
from needle_parsl.plan.datasets import ASIMOV, OBSERVED, REFERENCE, RegionEvents
from needle_parsl.plan.specs import NetworksSection


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
