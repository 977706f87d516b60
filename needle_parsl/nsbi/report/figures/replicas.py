"""The figure of replicas: what they fit, and how their ratios scatter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from needle_parsl.nsbi.report.figures.canvas import COLOURS, MOST, finite, panels
from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.nsbi.statistics.results import ParameterScatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = (("total", "black"), ("simulation", COLOURS[0]), ("training", COLOURS[1]))


def bootstrap(facts: Facts) -> Figure:
    """Draw the best values of the parameter of interest, and the errors of ln r of each ratio, those largest first."""
    found = facts.inference.bootstrap
    assert found is not None
    ratios = sorted(found.log_ratio.items(), key=lambda item: -(item[1].total or 0.0))[: MOST - 1]
    figure, (first, *others) = panels(1 + len(ratios))
    _values(first, facts, found.fits[facts.subject.headline][facts.subject.poi])
    for ax, (name, scatter) in zip(others, ratios, strict=True):
        x = [own.log_ratio for own in scatter.bins]
        for part, colour in PARTS:
            ax.plot(x, [getattr(own, part) for own in scatter.bins], ".-", color=colour, label=part, linewidth=1)
        ax.set_title(name, fontsize=9)
        ax.set(xlabel="ln r", ylabel="error of ln r", ylim=(0, None))
        ax.legend(frameon=False, fontsize=7)
    return figure


def _values(axes: Axes, facts: Facts, scatter: ParameterScatter) -> None:
    """Draw two histograms, and the run's own result with its error."""
    kinds = {"events resampled": scatter.resampled, "other seeds": scatter.repeated}
    fit = facts.fit.parameters[facts.subject.poi]
    (every,) = finite(np.concatenate([np.array(values, dtype=float) for values in kinds.values()]))
    edges = np.histogram_bin_edges(every, min(12, max(5, len(every) // 5))).tolist()
    for (label, values), colour in zip(kinds.items(), COLOURS, strict=False):
        axes.hist(values, edges, histtype="step", color=colour, label=label, linewidth=1.4)
    axes.axvline(fit.value, color="black", linewidth=1, label="this run")
    axes.set_ylim(0, 1.5 * axes.get_ylim()[1])  # room for the legend
    axes.set_title(f"statistical error {fit.error:.3g}" if fit.error else "", fontsize=9)
    axes.set(xlabel=f"best {facts.subject.poi}", ylabel="replicas")
    axes.legend(frameon=False, fontsize=7, loc="upper left")
