"""The analyses of unbinned regions beside the first one: looked at and planned up to the events that are fitted together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from needle_parsl import plan
from needle_parsl.analysis import regions
from needle_parsl.analysis.file import Loaded
from needle_parsl.errors import InputError, Problem
from needle_parsl.plan import stage_rules
from needle_parsl.site import Site
from needle_parsl.workflow import probe

Columns = Mapping[str, plan.ComputedSpec]


def planned(
    loaded: Loaded, first: probe.Looked, remembered: Any, columns: Columns, site: Site
) -> tuple[dict[str, tuple[plan.Task, ...]], dict[str, Any]]:
    """Plan the regions.

    Args:
        loaded: The analysis, in which what stages make for samples stands in its place.
        first: What the look at the inputs of the first region has told: files are the same.
        remembered: What earlier looks at their inputs have told, by region.
        columns: How columns are computed from what stages make.
        site: The machine.

    Returns:
        Their tasks, and what the looks have told, by region.
    """
    tasks, looks = {}, {}
    for name in loaded.regions:
        before = remembered.get(name) if isinstance(remembered, dict) else None
        own = _of(loaded, name)
        inputs, looked = _probed(own, name, before or asdict(first), columns)
        tasks[name] = plan.build_region(own.analysis, inputs, site.pack, site.memory_mib)
        looks[name] = asdict(looked)
    return tasks, looks


def written(loaded: Loaded, name: str) -> Loaded:
    """Give the analysis of a region as its folder has it: what it says, and the code that tasks there read."""
    return replace(loaded, table=regions.table(loaded.table, name))


def check(loaded: Loaded, first: probe.Looked) -> None:
    """Look into the files of the regions, as of the first one; files that stages are to make are not there yet.

    Args:
        loaded: The analysis.
        first: What the look at the inputs of the first region has told.

    Raises:
        InputError: Something is wrong with one.
    """
    for name in () if stage_rules.first(loaded.analysis) else loaded.regions:
        _probed(_of(loaded, name), name, asdict(first), {})


def _of(loaded: Loaded, name: str) -> Loaded:
    """Give the analysis of a region; samples are those of the first one, with what stages have made for them."""
    first, own = loaded.analysis, loaded.regions[name]
    known = first.features.computed
    computed = {column: known.get(column, how) for column, how in own.features.computed.items()}
    features = replace(own.features, computed=computed)
    return replace(loaded, analysis=replace(own, samples=first.samples, features=features), regions={})


def _probed(own: Loaded, name: str, remembered: Any, columns: Columns) -> tuple[plan.Inputs, probe.Looked]:
    """Look into the files of a region; what is wrong is told where the file says it."""
    try:
        return probe.probe(own, remembered, columns)
    except InputError as error:
        raise InputError.of([_located(own, name, problem) for problem in error.listed()]) from error


def _located(own: Loaded, name: str, problem: Problem) -> Problem:
    key = regions.key_in_file(own.table, name, problem.key) if problem.key else ""
    file, line = own.places.find(key) if key else (problem.file, problem.line)
    return replace(problem, key=key, file=file, line=line)
