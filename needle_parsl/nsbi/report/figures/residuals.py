"""The figure of residuals in units of the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from needle_parsl.nsbi.report.checks import residuals as checks
from needle_parsl.nsbi.report.figures.canvas import COLOURS, panels
from needle_parsl.nsbi.report.gathering import Facts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 12
"""Ratios that are drawn; the table of numbers has all."""
KINDS = ("normalisation", "closure", "calibration")


def shown(facts: Facts) -> bool:
    """Say whether there is anything to draw."""
    found = facts.inference.residuals
    return found is not None and bool(checks.shown(found))


def residuals(facts: Facts) -> Figure:
    """Draw what each kind of residual of each ratio does to the parameter of interest."""
    found = facts.inference.residuals
    assert found is not None
    ratios = list(checks.shown(found).items())[:MOST]
    figure, (axes,) = panels(1, width=8.0, height=1.2 + 0.55 * len(ratios))
    yellow, red = facts.subject.thresholds.shift
    axes.axvspan(-yellow, yellow, color="0.93", linewidth=0)
    for limit, colour in ((red, COLOURS[2]), (yellow, COLOURS[1])):
        for side in (-limit, limit):
            axes.axvline(side, color=colour, linewidth=0.8, linestyle="--")
    axes.axvline(0, color="black", linewidth=0.8)
    for number, (kind, colour) in enumerate(zip(KINDS, (COLOURS[0], COLOURS[4], COLOURS[5]), strict=True)):
        rows = [(row, one) for row, (_, own) in enumerate(ratios) for one in own if one.kind == kind]
        place = np.array([row + 0.26 * (number - 1) for row, _ in rows])
        value = np.array([one.shift for _, one in rows], np.float64)
        error = np.array([one.error for _, one in rows], np.float64)
        axes.barh(place, value, height=0.24, xerr=error, color=colour, ecolor="0.25", capsize=2, label=kind)
        for y, (_, one) in zip(place, rows, strict=True):
            if kind == "closure":
                edge = np.copysign(abs(one.shift or 0.0) + (one.error or 0.0), one.shift or 0.0)
                side = -1 if edge < 0 else 1
                axes.annotate(
                    one.column,
                    (edge, y),
                    (4 * side, 0),
                    textcoords="offset points",
                    fontsize=7,
                    va="center",
                    ha="left" if side > 0 else "right",
                )
    axes.set_yticks(range(len(ratios)), [name for name, _ in ratios])
    axes.set(xlabel=f"shift of {found.parameter}, in its standard errors", ylim=(len(ratios) - 0.4, -0.6))
    ends = [abs(one.shift or 0.0) + (one.error or 0.0) for _, own in ratios for one in own]
    reach = 1.25 * max([red, *(end for end in ends if np.isfinite(end))])
    axes.set_xlim(-reach, reach)
    axes.legend(frameon=False, fontsize=8, loc="best")
    return figure
