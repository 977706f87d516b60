"""The figures of the report. Each takes the gathered facts and draws on axes of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline
from scipy.stats import chi2

from needle_parsl.nsbi.report.gathering import Facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
COLOURS = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70")
"""Told apart by colour-blind readers, too (M. Petroff, arXiv:2107.02270)."""
MOST = 12
"""Panels of a figure; more are left to the numbers."""
PAD = 0.04


def likelihood(facts: Facts) -> Figure:
    """Draw the profile likelihood scans with their intervals: their points, and the curve that intervals are read from."""
    figure, (axes,) = _panels(1, width=6.4, height=4.4)
    levels = facts.scans["scan"]["intervals"]
    height = 2.2 * float(chi2.ppf(max(float(level) for level in levels), 1))
    shown = [_curve(axes, facts, name, colour, height) for colour, name in zip(COLOURS, facts.scans, strict=False)]
    for level, pieces in levels.items():
        t = float(chi2.ppf(float(level), 1))
        for low, high in pieces:
            axes.hlines(t, low, high, color=COLOURS[0], linestyle="--", linewidth=1)
            axes.annotate(f"{float(level):.4g}", (high, t), xytext=(4, -3), textcoords="offset points", fontsize=9)
    ends = np.concatenate(shown)
    if len(ends):
        axes.set_xlim(ends.min(), ends.max())
        axes.legend(frameon=False, loc="upper center")
    axes.set(xlabel=facts.subject.poi, ylabel=r"$t = -2\,\ln\lambda$", ylim=(0, height))
    return figure


def _curve(axes: Axes, facts: Facts, name: str, colour: str, height: float) -> Floats:
    """Draw one scan; return where it is below the top of the figure."""
    scan = facts.scans[name]
    points = np.array([[p[scan["parameter"]], p["t"]] for p in scan["points"] if p["converged"]]).reshape(-1, 2)
    label = CURVES[facts.subject.headline if name == "scan" else name]
    if len(points) < 5:
        return np.empty(0)
    grid = np.linspace(points[0, 0], points[-1, 0], 400)
    t = CubicSpline(*points.T)(grid)
    axes.plot(grid, t, color=colour, linestyle=":" if name == "scan_exact" else "-", label=label)
    axes.plot(*points.T, ".", color=colour, markersize=3)
    below: Floats = grid[t < height]
    return below


def training(facts: Facts) -> Figure:
    """Draw the validation loss of every network that trained, above the best one of its ratio."""
    ratios = list(facts.histories)[:MOST]
    figure, panels = _panels(len(ratios))
    for axes, ratio in zip(panels, ratios, strict=True):
        histories = [h[:, 1] for h in facts.histories[ratio] if np.isfinite(h).all()]
        axes.set_title(ratio, fontsize=9)
        axes.set(xlabel="epoch", ylabel="validation loss above the best")
        if not histories:
            continue
        best = min(float(h.min()) for h in histories)
        for history in histories:
            axes.plot(np.arange(1, len(history) + 1), history - best, color=COLOURS[0], alpha=0.5, linewidth=1)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        spread = float(np.percentile(np.concatenate(histories) - best, 97)) or 1.0
        axes.set_ylim(-PAD * spread, (1 + PAD) * spread)
    return figure


def ratios(facts: Facts) -> Figure:
    """Draw learned against exact ln r where the truth is known, otherwise ln r of each process."""
    names = list(facts.dataset.ratios)[:MOST]
    figure, panels = _panels(len(names))
    for axes, name in zip(panels, names, strict=True):
        learned = facts.dataset.ratios[name]
        low, high = np.percentile(learned, [0.2, 99.8])
        if name in facts.exact:
            window = [low - PAD, high + PAD]
            axes.hist2d(facts.exact[name], learned, bins=80, range=[window, window], weights=facts.dataset.weight,
                        norm="log", cmap="Blues", rasterized=True)  # fmt: skip
            axes.plot(window, window, color=COLOURS[2], linewidth=0.8)
            axes.set(xlabel="exact ln r", ylabel="learned ln r")
        else:
            _by_process(axes, facts, learned, (low, high))
            axes.set(xlabel="ln r", ylabel="fraction of the process")
        axes.set_title(name, fontsize=9)
    return figure


def features(facts: Facts) -> Figure:
    """Draw each feature of each process, normalised to one, in the test events."""
    names = facts.dataset.x.shape[1]
    figure, panels = _panels(min(names, MOST))
    for place, axes in enumerate(panels):
        column = facts.dataset.x[:, place].astype(np.float64)
        _by_process(axes, facts, column, tuple(np.percentile(column, [0.5, 99.5])))
        axes.set(xlabel=facts.feature_names[place], ylabel="fraction of the process")
    return figure


def _by_process(axes: Axes, facts: Facts, values: Floats, window: tuple[float, ...]) -> None:
    low, high = window if window[1] > window[0] else (window[0] - 0.5, window[0] + 0.5)
    edges = np.linspace(low, high, 41)
    for colour, (place, sample) in zip(COLOURS, enumerate(facts.dataset.samples), strict=False):
        own = facts.dataset.sample == place
        weight = facts.dataset.weight[own]
        counts, _ = np.histogram(values[own], edges, weights=weight / weight.sum())
        axes.stairs(counts, edges, color=colour, label=sample, linewidth=1.2)
    axes.legend(frameon=False, fontsize=8)


def _panels(count: int, width: float = 3.3, height: float = 2.9) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


CURVES = {
    "asimov": "Asimov, learned ratios",
    "observed": "observed, learned ratios",
    "scan_asimov": "Asimov, learned ratios",
    "scan_exact": "Asimov, exact densities",
}

FIGURES: dict[str, tuple[str, Callable[[Facts], Figure]]] = {
    "likelihood": ("Profile likelihood ratio, with the confidence intervals of the headline scan", likelihood),
    "ratios": ("Density ratios of the test events", ratios),
    "training": ("Validation loss of every network, relative to the best network of its ratio", training),
    "features": ("Features of the test events by process, each process normalised to one", features),
}
"""In the order of the page: caption and function."""
