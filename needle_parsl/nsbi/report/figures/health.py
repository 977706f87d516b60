"""Figures of the quality of the ratios: calibration of ln r, overtraining, and how members agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from needle_parsl.nsbi.estimators.results import Overtraining, SeenAndFresh
from needle_parsl.nsbi.report.figures.canvas import COLOURS, MOST, each, panels
from needle_parsl.nsbi.report.gathering import Facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def log_calibration(facts: Facts) -> Figure:
    """Draw ln of numerator over reference in bins of ln r, minus ln r, for the ratios that are calibrated worst."""
    worst = sorted(facts.diagnostics, key=lambda name: facts.diagnostics[name].calibration.p_value)[:MOST]
    figure, axes = panels(len(worst))
    for ax, name in zip(axes, worst, strict=True):
        numbers = facts.diagnostics[name].calibration
        known = [k for k, value in enumerate(numbers.log_fraction) if value is not None]
        x, y, error = (
            np.array([getattr(numbers, key)[k] for k in known]) for key in ("log_ratio", "log_fraction", "log_error")
        )
        ax.axhline(0, color=COLOURS[0], linewidth=1)
        ax.errorbar(x, y - x, error, fmt=".", color=COLOURS[2], markersize=4)
        ax.set_title(name, fontsize=9)
        ax.set(xlabel="learned ln r", ylabel="ln (num. / ref.) minus ln r")
    return figure


def overtraining(facts: Facts) -> Figure:
    """Draw ln r of training and of test events, for the ratios in which they differ most."""
    worst = sorted(facts.diagnostics, key=lambda name: _smallest(facts.diagnostics[name].overtraining))[:MOST]
    figure, axes = panels(len(worst))

    def draw(ax: Axes, name: str) -> None:
        found = facts.diagnostics[name].overtraining
        _compared(ax, found.numerator, "numerator", COLOURS[2])
        _compared(ax, found.denominator, "denominator", COLOURS[0])
        ax.set_title(f"{name}: p = {_smallest(found):.2g}", fontsize=9)
        ax.set(xlabel="learned ln r", ylabel="fraction of the class")

    each(axes, [(name, name) for name in worst], draw)
    axes[0].set_ylim(0, 1.45 * axes[0].get_ylim()[1])  # room for the legend
    axes[0].legend(frameon=False, fontsize=7, ncols=2, loc="upper center")
    return figure


def _smallest(found: Overtraining) -> float:
    return min(float(side.p_value) for side in (found.numerator, found.denominator))


def _compared(axes: Axes, found: SeenAndFresh, side: str, colour: str) -> None:
    edges = np.array(found.edges)
    axes.stairs(found.test, edges, color=colour, label=f"{side}, test", linewidth=1.2)
    axes.plot((edges[1:] + edges[:-1]) / 2, found.train, ".", color=colour, markersize=4, label="same, training")


def spread(facts: Facts) -> Figure:
    """Draw how much the mean of ln r of groups of members scatters, by their size, beside the fall of independent ones."""
    names = [name for name, numbers in facts.diagnostics.items() if len(numbers.ensemble.spread) > 1][:MOST]
    figure, (axes,) = panels(1, width=6.4, height=3.4)
    for colour, name in zip((*COLOURS, *COLOURS), names, strict=False):
        rows = facts.diagnostics[name].ensemble.spread
        size, value = (np.array([getattr(row, key) for row in rows], dtype=float) for key in ("size", "spread"))
        axes.loglog(size, value, ".-", color=colour, label=name, linewidth=1)
        axes.loglog(size, value[0] / np.sqrt(size), ":", color=colour, linewidth=0.8)
    largest = max(row.size for n in names for row in facts.diagnostics[n].ensemble.spread)
    axes.set_xticks(sizes := [2**k for k in range(largest.bit_length())], [str(size) for size in sizes])
    axes.tick_params(which="minor", labelbottom=False)
    axes.set(xlabel="members in a group", ylabel="spread of mean ln r between groups")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))  # beside: lines may be anywhere
    return figure


def shows_spread(facts: Facts) -> bool:
    """Whether any ensemble is large enough."""
    return any(len(numbers.ensemble.spread) > 1 for numbers in facts.diagnostics.values())


def mixture(facts: Facts) -> Figure:
    """Draw the mean of the mixture over the reference along the parameter of interest."""
    assert facts.inference.mixture is not None
    poi, points = facts.inference.mixture.parameter, facts.inference.mixture.points
    figure, (axes,) = panels(1, width=5.0, height=3.4)
    x, y, error = (np.array([getattr(point, key) for point in points]) for key in ("at", "value", "error"))
    axes.axhline(1, color="0.6", linewidth=1)
    axes.errorbar(x, y, error, fmt="o", color=COLOURS[0], markersize=4, capsize=2)
    axes.set(xlabel=poi, ylabel="mean of the mixture over the reference")
    return figure
