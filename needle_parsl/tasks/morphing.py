"""The section of the report on a polynomial basis."""

from __future__ import annotations

from typing import Any

import numpy as np

from needle_parsl import files
from needle_parsl.nsbi.report import morphing_section
from needle_parsl.nsbi.report.morphing_section import BasisEvents, Order
from needle_parsl.nsbi.statistics import morphing
from needle_parsl.nsbi.statistics.morphing import SimulatedBasis
from needle_parsl.nsbi.statistics.results import FitResult, Limits, ProfileScan
from needle_parsl.plan import Task, specs
from needle_parsl.records import Record, writing
from needle_parsl.tasks import inputs


def describe(root: str, task: Task, *_before: Record) -> Record:
    """Write the basis, what stands behind it, and fits with all terms beside those of the linear ones alone."""
    spec = task.of(specs.MorphingSection)
    texts = {name: str(spec.fit.model.processes[name]) for name in spec.basis.points}
    with writing(root, task) as out:
        orders = [_order(root, spec, ""), *([_order(root, spec, "_linear")] if spec.basis.linear else [])]
        events = None if spec.fit.binned else _events(root, spec)
        files.write_json(out.path, morphing_section.section(spec.basis, texts, events, orders).to_json())
    return out.record(root)


def _order(root: str, spec: specs.MorphingSection, suffix: str) -> Order:
    def read(stage: str, name: str) -> Any:
        return files.read_json(inputs.path(root, stage, f"{name}{suffix}"))

    return Order(
        fit=FitResult.from_json(read("fit", spec.fit.dataset)),
        scan=ProfileScan.from_json(read("interval", "scan")),
        limits=Limits.from_json(read("interval", "limits")) if spec.limits else None,
    )


def _events(root: str, spec: specs.MorphingSection) -> BasisEvents:
    """Count what stands behind the rate in the first region."""
    names, model = tuple(spec.basis.points), spec.fit.model
    yields, stores = inputs.dataset(root, "asimov").yields, [inputs.store(root, name) for name in names]
    weights = [own.weight * (yields[name] / own.weight.sum()) for name, own in zip(names, stores, strict=True)]
    found = SimulatedBasis.of(weights, [own.id for own in stores], shared=bool(spec.basis.sample))
    points = [morphing.nominal(model), *morphing.within_bounds(model, spec.basis.parameters)]
    nominal, *over = found.effective(morphing.multipliers(model, names, points)).tolist()
    alone = found.effective(np.eye(len(names))).tolist()
    return BasisEvents(
        samples=dict(zip(names, alone, strict=True)),
        nominal=nominal,
        median=float(np.median(over)),
        smallest=min(over),
    )
