"""Figures of toys: the distribution of the test statistic, and pulls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2, norm

from needle_parsl.nsbi.report.figures.canvas import COLOURS, MOST, panels
from needle_parsl.nsbi.report.gathering import Facts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HIGHEST = 12.0
"""t beyond this counts in the last bin."""


def statistic(facts: Facts) -> Figure:
    """Draw how t at the truth is distributed over toys, beside the chi-squared distribution of Wilks' theorem."""
    blocks = facts.inference.toys[:MOST]
    figure, axes = panels(len(blocks))
    edges = np.linspace(0, HIGHEST, 25)
    expected = np.diff(chi2.cdf(edges, 1))
    expected[-1] += chi2.sf(HIGHEST, 1)
    for ax, block in zip(axes, blocks, strict=True):
        t = np.minimum(block.t[block.converged], HIGHEST - 1e-9)
        counts, _ = np.histogram(t, edges)
        n = max(len(t), 1)
        middle = (edges[1:] + edges[:-1]) / 2
        ax.errorbar(middle, counts / n, np.sqrt(counts) / n, fmt=".", color=COLOURS[0], label=f"{len(t)} toys")
        ax.stairs(expected, edges, color=COLOURS[2], label=r"$\chi^2$, 1 degree of freedom")
        value = block.column(facts.subject.poi)[0]
        ax.set(xlabel=f"$t$ at {facts.subject.poi} = {value:.4g}", ylabel="fraction of the toys", yscale="log")
        ax.set(xlim=(0, HIGHEST), ylim=(0.3 / n, 1.5))
        ax.legend(frameon=False, fontsize=8)
    return figure


def pulls(facts: Facts) -> Figure:
    """Draw the pulls of the parameter of interest over toys, in the coordinate of the fit, beside a unit Gaussian."""
    blocks = facts.inference.toys[:MOST]
    figure, axes = panels(len(blocks))
    edges = np.linspace(-4, 4, 25)
    for ax, block in zip(axes, blocks, strict=True):
        truth, _, errors = block.column(facts.subject.poi)
        place = block.parameters.index(facts.subject.poi)
        found = np.clip(block.pulls[block.converged & np.isfinite(errors), place], -3.999, 3.999)
        counts, _ = np.histogram(found, edges)
        n = max(len(found), 1)
        middle = (edges[1:] + edges[:-1]) / 2
        ax.errorbar(middle, counts / n, np.sqrt(counts) / n, fmt=".", color=COLOURS[0], label=f"{len(found)} toys")
        ax.stairs(np.diff(norm.cdf(edges)), edges, color=COLOURS[2], label="unit Gaussian")
        ax.set(xlabel=f"pull at {facts.subject.poi} = {truth:.4g}", ylabel="fraction of the toys")
        ax.legend(frameon=False, fontsize=8)
    return figure
