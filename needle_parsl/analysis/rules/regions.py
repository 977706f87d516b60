"""Regions that are fitted together: which there are, and what acts in them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from needle_parsl.analysis import regions
from needle_parsl.analysis.rules.common import NO_NAME, is_name, known_as, parsed
from needle_parsl.analysis.tables import MAIN, NO_BINS

if TYPE_CHECKING:
    from needle_parsl.analysis.rules.common import Complain
    from needle_parsl.analysis.tables import Analysis, Region

NOT_YET = {
    "bootstrap": "repeats the trainings of one unbinned region alone",
    "features.parameters": "end a run with the diagnostics, and regions are for fits",
}
"""What several unbinned regions do not go together with, and why."""


def check(analysis: Analysis, complain: Complain) -> None:
    """Check regions and what acts in them, as the file has them."""
    for name, region in analysis.model.regions.items():
        key = f"model.regions.{name}"
        if not is_name(name) or name == MAIN:
            complain(
                key,
                f'"{name}" {NO_NAME if name != MAIN else "is what the events of [features] are called; choose another name"}',
            )
        (_unbinned if region.unbinned else _binned)(analysis, region, key, complain)
    known = regions.names(analysis) or (MAIN,)
    known = (*known, *(name for name, region in analysis.model.regions.items() if not region.unbinned))
    for name, nuisance in analysis.model.nuisances.items():
        for where in nuisance.regions:
            known_as(where, known, "region", f"model.nuisances.{name}.regions", complain)
        if nuisance.smooth and not any(
            nuisance.acts(where) for where, region in analysis.model.regions.items() if not region.unbinned
        ):
            complain(
                f"model.nuisances.{name}.smooth",
                f"smooths the bins of binned regions, and {'it acts in none' if nuisance.regions else 'there is none'}; leave it out",
            )
    if analysis.binned and not analysis.model.fitted().regions:
        complain(
            "model.regions", "has validation regions alone, and nothing is fitted; add one without validation = true"
        )
    if regions.names(analysis):
        _together(analysis, complain)


def _binned(analysis: Analysis, region: Region, key: str, complain: Complain) -> None:
    if region.binning == NO_BINS:
        complain(f"{key}.binning", "is missing; expected a table, or unbinned = true")
        return
    for name in regions.INHERITED:
        if getattr(region, name) is not None:
            complain(f"{key}.{name}", "is for an unbinned region; say unbinned = true, or leave it out")
    if analysis.binned and not region.selection:
        pass  # all events are counted
    elif not region.selection:
        complain(f"{key}.selection", "is empty; every event would be in this region and in the fit")
    elif region.selection == analysis.features.selection and not analysis.binned:
        complain(f"{key}.selection", "is that of [features]; its events would count twice")
    else:
        parsed(region.selection, f"{key}.selection", complain)
    for name in region.shapesys:
        known_as(name, _processes(analysis), "process of the model", f"{key}.shapesys", complain)
    edges = region.binning.edges
    if len(edges) < 2 or any(a >= b for a, b in pairwise(edges)):
        complain(f"{key}.binning.edges", f"found {list(edges)}, expected two or more ascending numbers")
    parsed(region.binning.column, f"{key}.binning.column", complain)


def _processes(analysis: Analysis) -> tuple[str, ...]:
    """Name the processes, those that [model.morphing] is going to make and its sample included."""
    table = analysis.model.morphing
    made = (
        (*table.basis, table.sample, *(f"{table.sample}-{column}" for column in table.weight_columns)) if table else ()
    )
    return (*analysis.model.processes, *filter(None, made))


def _unbinned(analysis: Analysis, region: Region, key: str, complain: Complain) -> None:
    if region.binning != NO_BINS:
        complain(f"{key}.binning", "is of a binned region; leave it out, or unbinned = true")
    if region.shapesys:
        complain(f"{key}.shapesys", "is of a binned region; leave it out, or unbinned = true")
    if region.validation:
        complain(
            f"{key}.validation",
            "is of a binned region: give it a binning in the place of unbinned = true, or leave it out",
        )
    if not region.sensitive:
        complain(
            f"{key}.sensitive",
            "is of a binned region: events that are fitted one by one stay hidden while the analysis is blind",
        )
    others = [own.selection for own in analysis.model.regions.values() if own is not region]
    if not region.selection:
        complain(f"{key}.selection", "is empty; every event would be in this region and in the others")
    elif region.selection in (*others, analysis.features.selection):
        complain(f"{key}.selection", "is that of another region; its events would count twice")
    for name in regions.INHERITED:
        if "selection" in (getattr(region, name) or {}):
            complain(f"{key}.{name}.selection", f"stands at {key}.selection")


def _together(analysis: Analysis, complain: Complain) -> None:
    """Refuse what there is for one unbinned region alone."""
    toys = analysis.toys
    for key, given in {"bootstrap": analysis.bootstrap, "features.parameters": analysis.features.parameters}.items():
        if given:
            complain(key, f"{NOT_YET[key]}; leave it out, or the unbinned regions")
    for name, what in (
        ("refitted", "makes the ratios of one unbinned region alone again"),
        ("retrained", "makes the ratios of one unbinned region alone again"),
        ("generate", "makes the events of one unbinned region alone"),
    ):
        if toys and getattr(toys, name):
            complain(f"toys.{name}", f"{what}; leave it out")
    if analysis.pruning.prune:
        complain(
            "pruning.prune", "knows one unbinned region alone; leave it out, and name regions of nuisance parameters"
        )
    for name, own in analysis.stages.items():
        if own.analysis and name in analysis.model.regions:
            complain(f"stages.{name}", "has the name of a region, and an analysis of its own; choose another name")
