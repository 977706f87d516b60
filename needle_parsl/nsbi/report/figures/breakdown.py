"""The figure of the breakdown: components of the error of each parameter of interest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from needle_parsl.nsbi.report.figures.canvas import COLOURS, each, panels
from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.nsbi.statistics.results import Breakdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RANKED = 15
"""Components that are drawn; the others are in the table."""
BESIDE = "0.6"
"""Colour of what -ln L does not know."""


def known(facts: Facts) -> list[Breakdown]:
    """List the breakdowns that have numbers."""
    return [found for found in facts.inference.breakdowns if found.components]


def breakdown(facts: Facts) -> Figure:
    """Draw the components by both definitions, the error of the fit and the total."""
    found = known(facts)
    rows = max(min(len(own.components), RANKED) for own in found)
    figure, cells = panels(len(found), width=6.4, height=1.5 + 0.32 * rows)
    each(cells, [(own.parameter, own) for own in found], _components)
    handles, labels = cells[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _components(axes: Axes, found: Breakdown) -> None:
    shown = found.components[:RANKED]
    rows = np.arange(len(shown))[::-1]
    for row, own in zip(rows, shown, strict=True):
        axes.barh(row, own.observable or 0.0, height=0.62, color=COLOURS[0] if own.inside else BESIDE)
        if own.quadrature is not None and own.inside:
            axes.plot(own.quadrature, row, "|", color="black", markersize=11, markeredgewidth=1.6)
    axes.barh(-9, 0, color=COLOURS[0], label="shifts of what was observed")
    axes.plot([], [], "|", color="black", markersize=9, label="subtraction in quadrature")
    if not all(own.inside for own in shown):
        axes.barh(-9, 0, color=BESIDE, label="beside the likelihood")
    axes.axvline(found.error or 0.0, color="black", linewidth=1, label="error of the fit")
    axes.axvline(found.total or 0.0, color="black", linewidth=1, linestyle=":", label="total")
    axes.set_yticks(rows, [own.name for own in shown])
    axes.set(xlabel=f"error of {found.parameter}", xlim=(0, None), ylim=(-0.7, len(shown) - 0.3))
