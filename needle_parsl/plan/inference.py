"""The tasks of the inference: fits, scans, toys and intervals."""

from __future__ import annotations

from needle_parsl.analysis import Analysis
from needle_parsl.nsbi.physics import Density
from needle_parsl.nsbi.statistics.model import Shape
from needle_parsl.plan import specs
from needle_parsl.plan.growing import Graph
from needle_parsl.plan.specs import Task


def fits(graph: Graph, asimov: Task, observed: Task | None) -> tuple[list[Task], list[Task]]:
    """Fit and scan each dataset; `scan` is the headline's, `scan_asimov` and `scan_exact` stand beside it."""
    analysis = graph.analysis
    fits: list[Task] = []
    scans: list[Task] = []
    datasets = ([observed] if observed else []) + ([asimov] if analysis.fit.asimov else [])
    for dataset in datasets:
        spec = specs.Fit(dataset.name, analysis.model, _shapes(analysis))
        needs = [dataset, asimov] if dataset is observed else [asimov]
        fits.append(graph.add("fit", dataset.name, spec, *needs))
        scan = specs.Interval(spec, analysis.poi(), analysis.fit.scan, analysis.intervals)
        scans.append(graph.add("interval", "scan_asimov" if scans else "scan", scan, *needs))
    if graph.inputs.exact and asimov in datasets:
        reference = tuple(graph.share(name) for name in analysis.ratios.reference)
        exact = specs.Exact(specs.Fit(asimov.name, analysis.model, _shapes(analysis)), graph.inputs.physics, reference)
        fits.append(graph.add("fit", "exact", exact, asimov))
        scan = specs.Interval(exact.fit, analysis.poi(), analysis.fit.scan, analysis.intervals, exact)
        scans.append(graph.add("interval", "scan_exact", scan, asimov))
    return fits, scans


def _shapes(analysis: Analysis) -> tuple[Shape, ...]:
    sides: dict[tuple[str, str], dict[str, str]] = {}
    for name, nuisance, side, _ in analysis.varied():
        sides.setdefault((name, nuisance), {})[side] = Density(name, nuisance, side).name
    return tuple(
        Shape(
            name,
            nuisance,
            found.get("up", ""),
            found.get("down", ""),
            analysis.samples[name].variations[nuisance].one_sided or "",
        )
        for (name, nuisance), found in sides.items()
    )
