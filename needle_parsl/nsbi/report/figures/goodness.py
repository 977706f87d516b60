"""The figure of the goodness of fit in unbinned regions: statistics of the data among those of toys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from needle_parsl.nsbi.report.figures.canvas import COLOURS, MOST, each, panels
from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.nsbi.statistics.results import RegionGoodness

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def known(facts: Facts) -> list[tuple[str, tuple[RegionGoodness, str]]]:
    """List the statistics that are drawn, with their titles: of each region the classifier, and the worst of the others."""
    regions = facts.inference.goodness.regions if facts.inference.goodness else {}
    found = []
    for region, own in regions.items():
        for name in own.toys:
            title = name if name == "classifier" else f"deviance of {name}"
            found.append((f"{region}: {title}" if len(regions) > 1 else title, (own, name)))
    return found[:MOST]


def goodness(facts: Facts) -> Figure:
    """Draw each with the distribution that its p-value is of."""
    found = known(facts)
    figure, cells = panels(len(found))
    each(cells, found, _compared)
    for cell, (title, _) in zip(cells, found, strict=True):
        cell.set_title(title, loc="left", fontsize=9)
    handles, labels = cells[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _compared(axes: Axes, shown: tuple[RegionGoodness, str]) -> None:
    region, name = shown
    own = next(one for one in region.comparisons if one.name == name)
    toys, variance = np.array(region.toys[name]), own.deviation**2
    counts, edges, _ = axes.hist(toys, bins=25, color=COLOURS[0], alpha=0.6, label="toys")
    x = np.linspace(edges[0], max(edges[-1], own.value), 200)
    curve = stats.gamma(own.mean**2 / variance, scale=variance / own.mean).pdf(x) * len(toys) * (edges[1] - edges[0])
    axes.plot(x, curve, color="black", linewidth=1, label="gamma distribution")
    axes.axvline(own.value, color=COLOURS[2], linewidth=1.5, label="data")
    axes.set(xlabel="statistic", ylabel="toys", ylim=(0, 1.15 * max(float(np.max(counts)), float(curve.max()))))
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}  # the line of the data may be behind it
    label = f"p = {own.p_value:.2g}"
    axes.text(0.97, 0.95, label, ha="right", va="top", transform=axes.transAxes, fontsize=8, bbox=box)
