"""Figures of the events, the trainings and the ratios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from needle_parsl.nsbi.estimators.results import RatioDiagnostics
from needle_parsl.nsbi.report.figures.canvas import COLOURS, MOST, Floats, each, finite, panels, split_panels
from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.nsbi.training.closure import HistogramComparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAD = 0.04


def training(facts: Facts) -> Figure:
    """Draw the validation loss of every network that trained, above the best one of its ratio."""
    ratios = list(facts.histories)[:MOST]
    figure, cells = panels(len(ratios))
    for axes, ratio in zip(cells, ratios, strict=True):
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
    figure, cells = panels(len(names))

    def draw(axes: Axes, name: str) -> None:
        learned = facts.dataset.ratios[name]
        low, high = np.percentile(finite(learned)[0], [0.2, 99.8])
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

    each(cells, [(name, name) for name in names], draw)
    return figure


def features(facts: Facts) -> Figure:
    """Draw each feature of each process, normalised to one, in the test events."""
    names = facts.dataset.x.shape[1]
    figure, cells = panels(min(names, MOST))

    def draw(axes: Axes, place: int) -> None:
        column = facts.dataset.x[:, place].astype(np.float64)
        _by_process(axes, facts, column, tuple(np.percentile(finite(column)[0], [0.5, 99.5])))
        axes.set(xlabel=facts.feature_names[place], ylabel="fraction of the process")

    each(cells, [(facts.feature_names[place], place) for place in range(len(cells))], draw)
    return figure


def _by_process(axes: Axes, facts: Facts, values: Floats, window: tuple[float, ...]) -> None:
    low, high = window if window[1] > window[0] else (window[0] - 0.5, window[0] + 0.5)
    edges = np.linspace(low, high, 41)
    for colour, (place, sample) in zip(COLOURS, enumerate(facts.dataset.samples), strict=False):
        own = (facts.dataset.sample == place) & np.isfinite(values)
        if not own.any():
            continue
        weight = facts.dataset.weight[own]
        counts, _ = np.histogram(values[own], edges, weights=weight / weight.sum())
        axes.stairs(counts, edges, color=colour, label=sample, linewidth=1.2)
    axes.legend(frameon=False, fontsize=8)


def compared(diagnostics: Mapping[str, RatioDiagnostics]) -> list[tuple[float, str, str, HistogramComparison]]:
    """List p-value, ratio, column and numbers of every comparison, the worst first."""
    return sorted(
        (
            (numbers.p_value, ratio, column, numbers)
            for ratio, found in diagnostics.items()
            for column, numbers in found.closure.items()
            if numbers.p_value is not None
        ),
        key=lambda entry: entry[:3],
    )


def closure(diagnostics: Mapping[str, RatioDiagnostics]) -> Figure:
    """Draw numerator and reweighted reference in the columns that agree worst."""
    worst = compared(diagnostics)[:MOST]
    figure, pairs = split_panels(len(worst))

    def draw(pair: tuple[Axes, Axes], entry: tuple[float, str, str, HistogramComparison]) -> None:
        (upper, lower), (p_value, ratio, column, numbers) = pair, entry
        edges = np.array(numbers.edges)
        width, middle = np.diff(edges), (edges[1:] + edges[:-1]) / 2
        target, weighted, errors, weighted_errors = (
            np.array(getattr(numbers, name)) for name in ("target", "reweighted", "target_error", "reweighted_error")
        )
        upper.stairs(target / width, edges, color=COLOURS[0], label="numerator")
        upper.errorbar(middle, weighted / width, weighted_errors / width, fmt=".", color=COLOURS[2], markersize=4,
                       label="reference x r")  # fmt: skip
        upper.set_title(f"{ratio}: p = {p_value:.2g}", fontsize=9)
        upper.set_ylim(0, 1.25 * max((target / width).max(), (weighted / width).max()))
        scale = np.where(target > 0, target, np.nan)
        lower.axhline(1, color=COLOURS[0], linewidth=1)
        lower.stairs(1 + errors / scale, edges, baseline=1 - errors / scale, fill=True, color=COLOURS[0], alpha=0.25)
        lower.errorbar(middle, weighted / scale, weighted_errors / scale, fmt=".", color=COLOURS[2], markersize=4)
        lower.set(xlabel=column, ylabel="ratio", ylim=_around_one(weighted / scale, weighted_errors / scale))

    each(pairs, [(f"{entry[1]}, {entry[2]}", entry) for entry in worst], draw)
    pairs[0][0].legend(frameon=False, fontsize=8)
    return figure


def _around_one(values: Floats, errors: Floats) -> tuple[float, float]:
    half = float(np.percentile(finite(np.abs(values - 1) + errors)[0], 90)) * 1.5 or 0.1
    return 1 - half, 1 + half


def calibration(diagnostics: Mapping[str, RatioDiagnostics]) -> Figure:
    """Draw the fraction of numerator events above the score, for the ratios that are calibrated worst."""
    worst = sorted(diagnostics, key=lambda name: diagnostics[name].calibration.p_value)[:MOST]
    figure, axes = panels(len(worst))
    for ax, name in zip(axes, worst, strict=True):
        numbers = diagnostics[name].calibration
        score, fraction, error = (np.array(getattr(numbers, key)) for key in ("score", "fraction", "error"))
        ax.axhline(0, color=COLOURS[0], linewidth=1)
        ax.errorbar(score, 100 * (fraction - score), 100 * error, fmt=".", color=COLOURS[2], markersize=4)
        ax.set_title(f"{name}: p = {numbers.p_value:.2g}", fontsize=9)
        ax.set(xlabel="score s", ylabel="numerator's fraction minus s, %")
    return figure
