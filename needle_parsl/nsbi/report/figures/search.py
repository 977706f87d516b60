"""Figures of a search: its history, each setting by itself, their importance, all together, and the Pareto front."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import NullLocator

from needle_parsl.analysis import catalogue
from needle_parsl.analysis.space import Axis
from needle_parsl.nsbi.report.figures.canvas import COLOURS, MOST, Floats, panels
from needle_parsl.nsbi.search.design import Design
from needle_parsl.nsbi.search.trials import Trial, objectives

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw = Callable[[Design, Sequence[Trial], Sequence[int], Sequence[int]], "Figure | None"]
FEWEST = 4
"""Trials from which on the importance of settings can be told."""


def _able(trials: Sequence[Trial]) -> list[Trial]:
    """List the trials of which every metric is known."""
    able = [trial for trial in trials if trial.rungs and trial.state != "failed"]
    return [trial for trial in able if all(one.value is not None for one in trial.rungs[-1].metrics.values())]


def _numbers(trials: Sequence[Trial], metric: str) -> tuple[Floats, Floats]:
    """Give value and error of a metric at the newest rung of each trial."""
    found = [trial.rungs[-1].metrics[metric] for trial in trials]
    return np.array([one.value for one in found], dtype=np.float64), np.array([one.error for one in found])


def history(design: Design, trials: Sequence[Trial], chosen: Sequence[int], _: Sequence[int]) -> Figure | None:
    """Draw each metric of all trials in their order, and the best of them so far."""
    able = _able(trials)
    if not able:
        return None
    lost = [trial.number for trial in trials if trial not in able]
    figure, cells = panels(len(design.metrics[:MOST]), 5.0, 3.2)
    for axes, metric in zip(cells, design.metrics, strict=False):
        place = np.array([trial.number for trial in able])
        value, error = _numbers(able, metric)
        whole = np.array([trial.state == "complete" for trial in able])
        for own, colour, label in ((~whole, COLOURS[3], "ended at a rung"), (whole, COLOURS[0], "trained to the end")):
            if own.any():
                axes.errorbar(place[own], value[own], error[own], fmt=".", color=colour, label=label)
        _mark(axes, able, chosen, place, value)
        _best(axes, place, value, larger=catalogue.SEARCH_METRICS[metric].larger)
        axes.set(xlabel="trial", ylabel=_named(metric))
        _within(axes, value)
        for number in lost:
            axes.plot(
                number,
                0.98,
                "x",
                color=COLOURS[6],
                markersize=5,
                transform=axes.get_xaxis_transform(),
                label="failed or not known" if number == lost[0] else None,
            )
    figure.legend(*cells[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False, fontsize=8)
    return figure


def _named(metric: str) -> str:
    """Name a metric on an axis, with the sense in which it is better."""
    return f"{metric} ({'larger' if catalogue.SEARCH_METRICS[metric].larger else 'smaller'} is better)"


def _best(axes: Axes, place: Floats, value: Floats, *, larger: bool) -> None:
    """Draw the best value so far."""
    order = place.argsort()
    so_far = np.maximum.accumulate(value[order]) if larger else np.minimum.accumulate(value[order])
    axes.step(place[order], so_far, where="post", color=COLOURS[3], linewidth=0.8, zorder=0, label="best so far")


def _mark(axes: Axes, trials: Sequence[Trial], chosen: Sequence[int], x: Floats, y: Floats) -> None:
    """Ring what was chosen."""
    own = np.array([trial.number in chosen for trial in trials])
    axes.plot(x[own], y[own], "o", markersize=9, markerfacecolor="none", color=COLOURS[2], label="chosen")


def _within(axes: Axes, value: Floats) -> None:
    """Show the better part of the values; a few that are far away would hide it."""
    low, middle, high = np.percentile(value, [0, 50, 90])
    top = max(high, middle + 2 * (middle - low))
    if top > low and value.max() > top + 3 * (top - low):
        axes.set_ylim(low - 0.1 * (top - low), top + 0.3 * (top - low))


def slices(design: Design, trials: Sequence[Trial], chosen: Sequence[int], _: Sequence[int]) -> Figure | None:
    """Draw the first metric over each setting."""
    able = _able(trials)
    figure, cells = panels(len(design.space[:MOST]))
    value, error = _numbers(able, design.metrics[0])
    epochs = np.array([trial.rungs[-1].epochs for trial in able])
    for axes, (name, axis) in zip(cells, design.space, strict=False):
        x, labels = _places(design, able, name)
        axes.errorbar(x, value, error, fmt="none", ecolor=COLOURS[3], linewidth=0.8, zorder=1)
        longest = float(epochs.max()) or 1.0
        shade = np.where(epochs == epochs.max(), longest, epochs)
        axes.scatter(x, value, c=shade, s=14, cmap="Blues", vmin=-0.5 * longest, vmax=longest, zorder=2)
        _mark(axes, able, chosen, x, value)
        axes.set(xlabel=name, ylabel=_named(design.metrics[0]), xscale="log" if axis.log else "linear")
        _ticks(axes, axis, labels)
        _within(axes, value)
    return figure


def _ticks(axes: Axes, axis: Axis, labels: Sequence[str]) -> None:
    """Let an axis span its range, with few numbers."""
    if labels:
        axes.set_xticks(range(len(labels)), labels)
        return
    low, high = float(axis.low), float(axis.high)
    if axis.whole and not axis.log and high - low <= 8:
        places = np.arange(low, high + 1)
    else:
        places = np.geomspace(low, high, 4) if axis.log else np.linspace(low, high, 4)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(places, [f"{place:.2g}" if axis.log or not axis.whole else f"{place:.0f}" for place in places])
    pad = (high / low) ** 0.05 if axis.log else 0.05 * (high - low)
    axes.set_xlim((low / pad, high * pad) if axis.log else (low - pad, high + pad))


def _places(design: Design, trials: Sequence[Trial], name: str) -> tuple[Floats, list[str]]:
    """Give where the values of a setting stand on an axis, and the names of those of a list."""
    choices = dict(design.space)[name].choices
    own = [trial.settings[name] for trial in trials]
    if not choices:
        return np.array(own, dtype=np.float64), []
    return np.array([choices.index(value) for value in own], dtype=np.float64), [str(one) for one in choices]


def importance(design: Design, trials: Sequence[Trial], _: Sequence[int], __: Sequence[int]) -> Figure | None:
    """Draw how much of the scatter of the first metric each setting explains."""
    able = _able(trials)
    shares = importances(design, able) if len(able) >= FEWEST and len(design.space) > 1 else {}
    if not shares:
        return None
    figure, (axes,) = panels(1, 5.0, 0.9 + 0.35 * len(shares))
    axes.barh(list(shares)[::-1], list(shares.values())[::-1], color=COLOURS[0])
    axes.set(xlabel="importance", xlim=(0, 1))
    return figure


def importances(design: Design, trials: Sequence[Trial]) -> dict[str, float]:
    """Estimate importances by PED-ANOVA (arXiv:2304.10255), as Optuna has it, for trials of the longest rung that enough of them have reached."""
    import optuna  # noqa: PLC0415  an extra, which the reports of other runs do without

    from needle_parsl.nsbi.search import sampling  # noqa: PLC0415  likewise

    judged = design.metrics[:1], design.risk
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study()
        study.add_trials([sampling.known(dict(design.space), trial, judged) for trial in trials])
        try:
            return dict(
                optuna.importance.get_param_importances(
                    study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
                )
            )
        except (RuntimeError, ValueError):  # all values are equal, or a setting never varied
            return {}


def parallel(design: Design, trials: Sequence[Trial], chosen: Sequence[int], _: Sequence[int]) -> Figure | None:
    """Draw each trial as a line through its settings to its first metric."""
    able = _able(trials)
    if len(design.space) < 2 or not able:
        return None
    figure, (axes,) = panels(1, 1.8 * (len(design.space) + 1), 3.6)
    columns = [_scaled(design, able, name) for name, _ in design.space]
    value = np.array([objectives(trial.rungs[-1], design.metrics[:1], 0.0)[0] for trial in able])
    order = value.argsort().argsort() / max(len(value) - 1, 1)
    lines = np.column_stack([*columns, order])
    for k in value.argsort()[::-1]:
        own = able[k].number in chosen
        axes.plot(
            lines[k],
            color=COLOURS[2] if own else COLOURS[0],
            alpha=1.0 if own else float(0.25 + 0.6 * (1 - order[k])),
            linewidth=1.8 if own else 0.9,
        )
    axes.set_xticks(range(lines.shape[1]), [*(name for name, _ in design.space), f"rank in {design.metrics[0]}"])
    axes.set_yticks([])
    for place, axis in enumerate(axis for _, axis in design.space):
        ends = axis.choices or axis.extremes()
        for height, end in ((-0.06, ends[0]), (1.04, ends[-1])):
            axes.text(
                place,
                height,
                f"{end:g}" if isinstance(end, int | float) else str(end),
                ha="center",
                va="center",
                fontsize=7,
            )
    for height, word in ((-0.06, "best"), (1.04, "worst")):
        axes.text(len(columns), height, word, ha="center", va="center", fontsize=7)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.12, 1.12)
    return figure


def _scaled(design: Design, trials: Sequence[Trial], name: str) -> Floats:
    """Bring the values of a setting between 0 and 1."""
    axis = dict(design.space)[name]
    x, labels = _places(design, trials, name)
    low, high = (0.0, len(labels) - 1.0) if labels else (float(axis.low), float(axis.high))
    if axis.log:
        x, low, high = np.log(x), np.log(low), np.log(high)
    scaled: Floats = (x - low) / (high - low)
    return scaled


def pareto(design: Design, trials: Sequence[Trial], chosen: Sequence[int], front: Sequence[int]) -> Figure | None:
    """Draw the first metric against each other one, with the points that nothing beats in all of them."""
    able, others = _able(trials), design.metrics[1:MOST]
    if not others or not able:
        return None
    figure, cells = panels(len(others))
    best = np.array([trial.number in front for trial in able])
    x, x_error = _numbers(able, design.metrics[0])
    for axes, metric in zip(cells, others, strict=False):
        y, y_error = _numbers(able, metric)
        for own, colour, label in ((~best, COLOURS[3], "beaten in all"), (best, COLOURS[4], "Pareto front")):
            if own.any():
                axes.errorbar(x[own], y[own], y_error[own], x_error[own], fmt=".", color=colour, label=label)
        _mark(axes, able, chosen, x, y)
        axes.set(xlabel=_named(design.metrics[0]), ylabel=_named(metric))
    figure.legend(*cells[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure


FIGURES: Sequence[tuple[Draw, str]] = (
    (history, "each trial with its standard error over replicas; red, what was chosen."),
    (slices, "the first metric over each setting, darker the longer a trial was trained; red, what was chosen."),
    (
        importance,
        "how much of the best trials each setting explains, by PED-ANOVA (arXiv:2304.10255); of a handful of trials it says little.",
    ),
    (parallel, "trials as lines through their settings, darker the better; red, what was chosen."),
    (
        pareto,
        "the metrics against each other; violet, trials that no other one beats in all of them, of those that were trained to their end.",
    ),
)
"""With what each shows."""
