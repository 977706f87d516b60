"""What a run would cost: node-hours, time and disk, from the rates that this run or its pilot has measured."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needle_parsl import files, rundir
from needle_parsl.analysis import Analysis, recommended
from needle_parsl.errors import InputError
from needle_parsl.plan import Task, specs
from needle_parsl.plan import search as searching
from needle_parsl.site import Site
from needle_parsl.workflow import forms, ledger

PILOT = "-pilot"
"""What the run directory of a pilot adds to the name of the whole run's."""
FEWEST = {
    "training.members": 2,
    "bootstrap.replicas": 2,
    "bootstrap.repeats": 2,
    "search.trials": 6,
    "toys.count": 10,
    "intervals.toys_per_point": 20,
}
"""What a pilot scales down, and how far at most: the rates of what is left are those of the whole."""
SHARE = re.compile(r"(\d+(?:\.\d+)?) ?%")


@dataclass(frozen=True)
class StageCost:
    """What is to do of a stage, and what that costs."""

    units: int
    """Networks, toys, or tasks."""
    seconds: float | None
    """Of one worker, for each of them; None where nothing was measured."""
    workers: int
    """On a node."""
    bytes: float
    """On disk, for each."""

    def node_hours(self) -> float | None:
        """Give what is to do in hours of a node whose workers are all busy."""
        return None if self.seconds is None else self.units * self.seconds / self.workers / 3600


def share(text: str) -> float:
    """Read `1%`.

    Raises:
        InputError: It is no percentage from 0 to 100.
    """
    found = SHARE.fullmatch(text.strip())
    value = float(found[1]) / 100 if found else math.nan
    if not 0 < value <= 1:
        raise InputError(f'--pilot: found "{text}", expected a percentage, such as "1%"')
    return value


def reduced(analysis: Analysis, part: float) -> list[str]:
    """Give the settings of a pilot: fewer members and toys, all else as it is."""
    members = analysis.training.members
    whole = {} if isinstance(members, tuple) else {"training.members": members or 1}  # a mixture stays one
    fewest = dict(FEWEST)
    if search := analysis.search:
        whole["search.trials"] = search.trials
        fewest["search.trials"] = searching.fewest(search, analysis.training.epochs, fewest["search.trials"])
        fewest["training.members"] = max(fewest["training.members"], search.taken() * search.replicas)
    if analysis.bootstrap is not None:
        whole |= {"bootstrap.replicas": analysis.bootstrap.replicas, "bootstrap.repeats": analysis.bootstrap.repeats}
    if analysis.toys is not None:
        whole["toys.count"] = analysis.toys.count
    if analysis.intervals.method == "neyman":
        whole["intervals.toys_per_point"] = analysis.intervals.toys_per_point
    fewer = {key: min(count, max(fewest[key], math.ceil(part * count))) for key, count in whole.items()}
    return [f"{key}={count}" for key, count in fewer.items()]


FORM = {"units": forms.Each(float), "stages": forms.Each({"tasks": int, "done": int, "seconds": float})}
"""Of what a `run.json` has measured."""


def units(tasks: Iterable[Task]) -> dict[str, int]:
    """Count the networks, the toys, and else the tasks of each stage."""
    found: dict[str, int] = {}
    for task in tasks:
        spec = task.spec
        own = (
            len(spec.members)
            if isinstance(spec, specs.Train)
            else spec.count
            if isinstance(spec, specs.ToysSpec)
            else 1
        )
        found[task.stage.name] = found.get(task.stage.name, 0) + own
    return found


def measured(root: Path) -> dict[str, tuple[float, float]]:
    """Read the seconds and the bytes per unit of each stage from a run that is done, or from its pilot.

    Args:
        root: The run directory; what it has measured itself counts more than what its pilot has.
    """
    return {**_measured(root.with_name(root.name + PILOT)), **_measured(root)}


def _measured(root: Path) -> dict[str, tuple[float, float]]:
    try:
        state: Mapping[str, Any] = files.read_json(root / rundir.RUN)
    except InputError:
        return {}
    if not forms.fits(state, FORM):
        return {}
    counts, stages = state["units"], state["stages"]
    whole = {
        stage: counts[stage]
        for stage, found in stages.items()
        if found["done"] == found["tasks"] and counts.get(stage, 0) > 0
    }
    return {stage: (stages[stage]["seconds"] / count, _size(root, stage) / count) for stage, count in whole.items()}


def _size(root: Path, stage: str) -> int:
    """Add up the bytes of what a stage has written."""
    outputs = {root / record.output for record in ledger.lines(root) if record.stage == stage and record.output}
    paths = (path for output in outputs for path in (output.rglob("*") if output.is_dir() else [output]))
    return sum(path.stat().st_size for path in paths if path.is_file())


def trainings(tasks: Iterable[Task], each: float) -> dict[str, tuple[float, float]]:
    """Estimate the seconds of a network, the mean of all, from what an event costs; it has no size yet.

    Args:
        tasks: All of the run: events are counted as they are read, before selections.
        each: Seconds per event, epoch and member; the mean over events for training and for validation.
    """
    rows, work, networks = _rows(tasks), 0.0, 0
    for task in tasks:
        if not isinstance(spec := task.spec, specs.Train):
            continue
        counts, folds = [rows.get(density.name, 0) for density in spec.ratio.densities()], spec.training.folds or 1
        part = spec.splitting.train * (1 - 1 / folds if folds > 1 else 1)
        training, _ = recommended.suited(spec.training, counts, part=part)
        work += len(spec.members) * sum(counts) * part * (training.epochs or 0)
        networks += len(spec.members)
    return {"train": (each * work / networks, 0.0)} if work else {}


def _rows(tasks: Iterable[Task]) -> dict[str, int]:
    """Count the events of each store, as far as that is known before they are read."""
    found: dict[str, int] = {}
    for task in tasks:
        if isinstance(spec := task.spec, specs.Generate):
            found[task.name] = spec.events
        elif isinstance(spec, specs.Convert) and any(file.borders for file in spec.files):
            found[task.name] = sum(file.borders[-1] for file in spec.files if file.borders)
    return found


def stages(
    todo: Iterable[Task],
    root: Path,
    site: Site,
    probed: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, StageCost]:
    """Estimate what is to do.

    Args:
        todo: The tasks.
        root: The run directory.
        site: The machine.
        probed: Rates like `measured` gives them, for stages that were not measured.
    """
    rates, shapes, tasks = {**(probed or {}), **measured(root)}, site.shapes(), list(todo)
    nodes, found = {task.stage.name: task.stage.nodes for task in tasks}, {}
    for stage, count in units(tasks).items():
        seconds, size = rates.get(stage, (None, 0.0))
        found[stage] = StageCost(count, seconds, shapes[site.shape_for(nodes[stage])].workers(), size)
    return found


def spread(root: Path, some: int, all_: int) -> dict[str, float] | None:
    """Scale the error that the ensemble adds to the parameter of interest to another number of members.

    The variance of a mean of independent members falls as one over their number.

    Args:
        root: The run directory of the pilot.
        some: Its members.
        all_: Those of the whole run.

    Returns:
        The parameter's error, and the ensemble's part of it for the pilot and for the whole; None where it was not measured.
    """
    try:
        summary = files.read_json(root / "report" / "summary.json")
        fit = files.read_json(root / "fits" / f"{summary['dataset']}.json")["parameters"][summary["parameter"]]
    except (InputError, KeyError, TypeError):
        return None
    own = fit.get("ensemble_error")
    return None if own is None else {"error": fit["error"], "pilot": own, "whole": own * math.sqrt(some / all_)}
