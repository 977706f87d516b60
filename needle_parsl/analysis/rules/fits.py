"""Data, scans and planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from needle_parsl.analysis.rules.common import (
    all_measured,
    ascends,
    comes_from,
    interesting,
    is_parameter,
    known_as,
    measured,
    parsed,
    stays_inside,
)

if TYPE_CHECKING:
    from needle_parsl.analysis.rules.common import Complain
    from needle_parsl.analysis.tables import Analysis, Plane, Scan

LEAST_TOYS = 20
"""Of `fit.goodness`: a p-value needs their mean and variance."""


def check(analysis: Analysis, complain: Complain) -> None:
    """Check how it is fitted."""
    if isinstance(analysis.fit.data, tuple):
        if not analysis.fit.data:
            complain("fit.data", "is empty; name at least one file, or leave it out")
    elif analysis.fit.data is not None:
        comes_from(analysis, analysis.fit.data, "fit.data", complain)
        parsed(analysis.fit.data.weight, "fit.data.weight", complain)
    if not analysis.fit.asimov and analysis.data() is None:
        complain("fit.asimov", "is false and there is no data that may be looked at; nothing would be fitted")
    if 0 < analysis.fit.goodness < LEAST_TOYS:
        complain(
            "fit.goodness", f"found {analysis.fit.goodness}, and fewer than {LEAST_TOYS} toys tell no p-value; expected 0, or {LEAST_TOYS} at least"
        )  # fmt: skip
    if analysis.offset:
        _offset(analysis, complain)
    if analysis.fit.scan:
        _scan(analysis, analysis.fit.scan, complain)
    _limit(analysis, complain)
    if analysis.fit.plane:
        _plane(analysis, analysis.fit.plane, complain)


def _offset(analysis: Analysis, complain: Complain) -> None:
    """A hidden offset needs the expected error of each parameter of interest, and nothing else that holds best values."""
    if not analysis.fit.asimov:
        complain("fit.blind", 'draws the "offset" in units of the expected error; set fit.asimov = true')
    if analysis.bootstrap is not None:
        complain(
            "fit.blind",
            '"offset" cannot hide the data in the replicas of [bootstrap]; leave these out until you unblind',
        )
    for name in interesting(analysis):
        parameter = analysis.model.parameters[name]
        if parameter.nominal in parameter.bounds:
            complain(
                "fit.blind",
                f'"offset" needs the expected error of {name}, and there is none at its bound {parameter.nominal:g}; widen the bounds',
            )


def _limit(analysis: Analysis, complain: Complain) -> None:
    """A limit needs a value without a signal that a fit can go to."""
    names = () if analysis.fit.limit is None else all_measured(analysis)
    for name in (name for name in names if name in analysis.model.parameters):
        own = analysis.model.parameters[name]
        low, high = own.bounds
        if own.background is None and not low <= 0 < high:
            complain(
                f"model.parameters.{name}.background",
                f"is missing, and fit.limit needs the value without a signal; 0 is outside [{low:g}, {high:g}]; give it, or, where "
                'no limit is wanted of this parameter, role = "free"',
            )


def _scan(analysis: Analysis, scan: Scan, complain: Complain) -> None:
    ascends("fit.scan", scan.start, scan.stop, complain)
    if scan.parameter:
        is_parameter(analysis, scan.parameter, "fit.scan.parameter", complain)
    chosen = analysis.intervals.parameter
    if scan.parameter and chosen and scan.parameter != chosen:
        complain(
            "fit.scan.parameter", f'is "{scan.parameter}", and intervals.parameter is "{chosen}"; name one of them'
        )
    stays_inside(analysis, measured(analysis), (scan.start, scan.stop), "fit.scan", complain)


def _plane(analysis: Analysis, plane: Plane, complain: Complain) -> None:
    known = (*analysis.model.parameters, *analysis.model.nuisances)
    for name in plane.parameters:
        known_as(name, known, "parameter of the model", "fit.plane.parameters", complain)
    if plane.parameters[0] == plane.parameters[1]:
        complain("fit.plane.parameters", f'names "{plane.parameters[0]}" twice; expected two parameters')
    for name, (low, high) in zip(plane.parameters, plane.ranges or (), strict=False):
        ascends("fit.plane.ranges", low, high, complain)
        stays_inside(analysis, name, (low, high), "fit.plane.ranges", complain)
