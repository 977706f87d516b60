"""What there is in several unbinned regions; none of their events may be in two regions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from needle_parsl import files
from needle_parsl.errors import InputError
from needle_parsl.nsbi.report import region_table
from needle_parsl.nsbi.report.region_table import UnbinnedRegion
from needle_parsl.plan import Task, specs
from needle_parsl.plan.specs.stores import REGION
from needle_parsl.records import Record, writing
from needle_parsl.tasks import inputs

Ids = npt.NDArray[np.uint64]


def compare(root: str, task: Task, *_before: Record) -> Record:
    """Write what is expected and observed in the regions, a section of the report; refuse events that are in two of them."""
    spec = task.of(specs.CompareRegions)
    with writing(root, task) as out:
        for process in spec.fit.model.processes:
            insist_on_disjoint(process, list(_ids(root, spec, process)))
        found = {name: _region(folder, spec) for name, folder in inputs.places(root, spec.fit).items()}
        files.write_json(out.path, region_table.section(found).to_json())
    return out.record(root)


def _ids(root: str, spec: specs.CompareRegions, process: str) -> Iterator[tuple[str, Ids]]:
    """Give the ids of the events of a process in each region, unbinned ones first."""
    for name, folder in inputs.places(root, spec.fit).items():
        yield name, inputs.store(folder, process).id
    for name, edges in spec.bins:
        yield name, inputs.inside(root, f"{process}{REGION}{name}", edges)


def insist_on_disjoint(process: str, regions: list[tuple[str, Ids]]) -> None:
    """Refuse events that are in two regions; of binned ones among each other `count` does."""
    for place, (name, ids) in enumerate(regions):
        for other, theirs in regions[place + 1 :]:
            if shared := len(np.intersect1d(ids, theirs)):
                raise InputError(
                    f"model.regions.{other}.selection: {shared} events of {process} are in this region and in {name}, and would "
                    "count twice; make the selections exclude each other"
                )


def _region(folder: str, spec: specs.CompareRegions) -> UnbinnedRegion:
    simulation = inputs.dataset(folder, "asimov")
    processes = tuple(spec.fit.model.processes)
    parts = [simulation.weight[simulation.sample == place] for place in range(len(simulation.samples))]
    effective = [float(own.sum() ** 2 / (own**2).sum()) if own.any() else 0.0 for own in parts]
    observed = inputs.count(folder, "observed") if spec.fit.dataset == "observed" else None
    return UnbinnedRegion(
        features=inputs.features(folder, processes[0]),
        expected={name: simulation.yields[name] for name in processes},
        effective=dict(zip(simulation.samples, effective, strict=True)),
        observed=observed,
    )
