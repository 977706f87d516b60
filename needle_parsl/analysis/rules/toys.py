"""Toys and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from needle_parsl.analysis import catalogue
from needle_parsl.analysis.rules.common import (
    ascends,
    is_parameter,
    known_as,
    measured,
    nominal,
    parsed,
    refers,
    stays_inside,
    value_at,
)
from needle_parsl.analysis.tables import Grid

if TYPE_CHECKING:
    from needle_parsl.analysis.rules.common import Complain
    from needle_parsl.analysis.tables import Analysis, Toys

LEAST_GRID = 3
"""Values of a Neyman grid, at least."""


def check(analysis: Analysis, complain: Complain) -> None:
    """Check what is thrown."""
    for part in (_counted, _toys, _intervals):
        part(analysis, complain)


def _counted(analysis: Analysis, complain: Complain) -> None:
    """Check what has no meaning where nothing is learned."""
    if not analysis.binned:
        return
    if analysis.bootstrap is not None:
        complain("bootstrap", "trains again, and without [ratios] nothing is trained; leave it out")
    if analysis.features.parameters:
        complain("features.parameters", "are inputs of networks, and without [ratios] there are none; leave them out")
    if analysis.toys is not None and analysis.toys.generate:
        complain("toys.generate", "makes events, and without [ratios] only bins are counted; leave it out")


def _toys(analysis: Analysis, complain: Complain) -> None:
    toys = analysis.toys
    if toys is None:
        return
    refers(analysis, toys.generate, "toys.generate", complain)
    if toys.generate and toys.source == "model":
        complain("toys.generate", 'has no meaning with source = "model", which throws from the learned ratios')
    if not toys.at:
        complain("toys.at", "is empty; name at least one point, { } is the nominal one")
    if toys.coverage and toys.source == "model" and not analysis.binned:
        complain(
            "toys.coverage",
            'needs toys of the simulation; with source = "model" they are blind to errors of the ratios',
        )
    _repeated(analysis, toys, complain)
    for place, point in enumerate(toys.at):
        _thrown(analysis, toys, point, f"toys.at[{place}]", complain)
    if measured(analysis):
        for point in analysis.truths()[len(toys.at) :]:
            _thrown(analysis, toys, point, "toys.coverage", complain)


def _repeated(analysis: Analysis, toys: Toys, complain: Complain) -> None:
    """Check what asks for toys of other ensembles."""
    if toys.refitted > 0 and not catalogue.combiner(analysis.ensemble.combine).fitted:
        complain(
            "toys.refitted", f'has no meaning with ensemble.combine = "{analysis.ensemble.combine}", which fits no weights; leave it out, or say "wifi"'
        )  # fmt: skip
    if toys.refitted == 1:
        complain("toys.refitted", "is 1, and one replica shows no scatter; expected 0, or at least 2")
    if toys.retrained and analysis.bootstrap is None:
        complain("toys.retrained", "needs the replicas of [bootstrap]; add that table, or leave it out")
    for key, given in (("refitted", toys.refitted), ("retrained", toys.retrained)):
        if given and toys.source == "model":
            complain(f"toys.{key}", 'needs toys of the simulation; say source = "simulation"')


def _thrown(analysis: Analysis, toys: Toys, point: Mapping[str, float], key: str, complain: Complain) -> None:
    known = (*analysis.model.parameters, *analysis.model.nuisances)
    for name, value in point.items():
        known_as(name, known, "parameter of the model", f"{key}.{name}", complain)
        stays_inside(analysis, name, (value,), f"{key}.{name}", complain)
    if toys.source == "simulation" and not (toys.generate or analysis.binned) and all(name in known for name in point):
        _drawable(analysis, point, key, complain)


def _drawable(analysis: Analysis, point: Mapping[str, float], key: str, complain: Complain) -> None:
    """Test events can only stand for nominal shapes, and only for processes that add events."""
    remedy = 'set toys.source = "model"'
    if not analysis.region:  # toys.generate knows one region alone
        remedy = f"name a function in toys.generate, or {remedy}"
    shapes = {nuisance for _, nuisance, _, _ in analysis.varied()}
    for name in sorted(name for name in shapes & set(point) if point[name] != nominal(analysis, name)):
        complain(
            f"{key}.{name}",
            f"is not {nominal(analysis, name):g}, and simulated events have no shape in between their variations; {remedy}",
        )
    values = {n: point.get(n, p.nominal) for n, p in analysis.model.parameters.items()}
    for process, multiplier in analysis.model.processes.items():
        tree = parsed(multiplier, f"model.processes.{process}", lambda *_: None)
        if tree is not None and tree.names() <= set(values) and value_at(tree, values) < 0:
            complain(
                key, f"gives {process} the multiplier {value_at(tree, values):g}, and events cannot be drawn less than never; {remedy}"
            )  # fmt: skip


def _thrown_beside(analysis: Analysis, name: str, complain: Complain) -> None:
    intervals = analysis.intervals
    if intervals.background is not None:
        stays_inside(analysis, name, (intervals.background,), "intervals.background", complain)
    for key, given in (
        ("background", intervals.background is not None),
        ("rounds", intervals.rounds),
        ("smooth", not intervals.smooth),
        ("statistic", intervals.statistic != "t_mu"),
    ):
        if given and intervals.method != "neyman":
            complain(f"intervals.{key}", f'has no meaning with method = "{intervals.method}"; say method = "neyman"')


def _grid_of_two(analysis: Analysis, grid: Mapping[str, Grid], complain: Complain) -> None:
    """A grid of two needs two parameters of the model, and what belongs to one of them has no meaning with it."""
    intervals, known = analysis.intervals, analysis.model.parameters
    for name, own in grid.items():
        key = f"intervals.grid.{name}"
        if name in analysis.model.nuisances:
            complain(
                key,
                f'"{name}" is a nuisance parameter, which is where the data have it at each value; name parameters of the model, here {", ".join(known)}',
            )
        else:
            is_parameter(analysis, name, key, complain)
        ascends(key, own.start, own.stop, complain)
        stays_inside(analysis, name, (own.start, own.stop), key, complain)
    if len(grid) != 2:
        complain(
            "intervals.grid",
            f"is of {len(grid)} parameter{'s' * (len(grid) > 1)}; expected two, or the values of one as a list or {{ start, stop, points }}",
        )
    for key, given in (
        ("background", intervals.background is not None),
        ("rounds", intervals.rounds),
        ("statistic", intervals.statistic != "t_mu"),
    ):
        if given:
            complain(f"intervals.{key}", "has no meaning with a grid of two parameters; leave it out")


def _intervals(analysis: Analysis, complain: Complain) -> None:
    intervals = analysis.intervals
    if not intervals.level:
        complain("intervals.level", "is empty; name at least one confidence level")
    elif list(intervals.level) != sorted(set(intervals.level)):
        complain("intervals.level", f"found {list(intervals.level)}, expected ascending confidence levels, each once")
    if intervals.parameter:
        is_parameter(analysis, intervals.parameter, "intervals.parameter", complain)
    name = measured(analysis)
    if intervals.grid is not None and intervals.method != "neyman":
        complain(
            "intervals.grid",
            f'has no meaning with method = "{intervals.method}"; say method = "neyman", or leave it out',
        )
    _thrown_beside(analysis, name, complain)
    if isinstance(intervals.grid, dict):
        _grid_of_two(analysis, intervals.grid, complain)
    elif isinstance(intervals.grid, Grid):
        ascends("intervals.grid", intervals.grid.start, intervals.grid.stop, complain)
        stays_inside(analysis, name, (intervals.grid.start, intervals.grid.stop), "intervals.grid", complain)
    elif intervals.grid is not None:
        stays_inside(analysis, name, intervals.grid, "intervals.grid", complain)
    if intervals.method == "neyman" and intervals.grid is None:
        complain("intervals.grid", 'is missing; method = "neyman" needs values, as a list or { start, stop, points }')
    elif intervals.method == "neyman" and not analysis.grid_of_two() and len(set(analysis.grid())) < LEAST_GRID:
        complain("intervals.grid", f"has {len(set(analysis.grid()))} values; expected at least {LEAST_GRID}")
