"""Figures of the checks in `fits/closure.json`, in units of the error of the Asimov fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from needle_parsl.nsbi.report.checks import closure as checks
from needle_parsl.nsbi.report.checks import closure_numbers as closures
from needle_parsl.nsbi.report.checks.closure_numbers import Returned
from needle_parsl.nsbi.report.figures.canvas import COLOURS, MOST, bare, panels
from needle_parsl.nsbi.report.gathering import Facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = 40
"""Ratios or injections in a figure; the others are in `fits/closure.json`."""


def _rows(names: Sequence[str], columns: int, width: float = 3.2) -> tuple[Figure, list[Axes]]:
    """Make panels side by side that share rows with names, the first on top."""
    from matplotlib.figure import Figure  # noqa: PLC0415  matplotlib, an extra

    figure = Figure(figsize=(1.6 + width * columns, 1.5 + 0.26 * len(names)), layout="constrained")
    axes = list(figure.subplots(1, columns, sharey=True, squeeze=False)[0])
    for ax in axes:
        bare(ax)
    axes[0].set_yticks(range(len(names)), names, fontsize=8)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    return figure, axes


def _bands(axes: Axes, middle: float, warning: float, fail: float, *, upright: bool = True) -> None:
    """Shade what passes, and, lighter, what is a warning."""
    for reach, shade in ((fail, "0.95"), (warning, "0.87")):
        span = axes.axvspan if upright else axes.axhspan
        span(middle - reach, middle + reach, color=shade, zorder=0, linewidth=0)
    (axes.axvline if upright else axes.axhline)(middle, color="0.5", linewidth=0.8, zorder=0)


def normalisation(facts: Facts) -> Figure:
    """Draw slope and offset of each ratio, with errors."""
    found = dict(list(closures.scales(facts).items())[:ROWS])
    figure, (left, right) = _rows(list(found), 2)
    for row, (_, scale) in enumerate(found.values()):
        for ax, what in ((left, "slope"), (right, "offset")):
            value, error = (closures.number(getattr(scale, name)) for name in (what, f"{what}_error"))
            ax.errorbar(value, row, xerr=error, fmt="o", color=COLOURS[0], markersize=4, capsize=2)
    _bands(left, 1, *checks.SLOPE.values())
    _bands(right, 0, *checks.OFFSET.values())
    left.set_xlabel("slope of ln r")
    right.set_xlabel("offset of ln r")
    return figure


def information(facts: Facts) -> Figure:
    """Draw what ratios tell of the class of events that did not train, before and after they were normalised."""
    found = dict(list(closures.information(facts).items())[:MOST])
    figure, axes = panels(len(found), width=2.6, height=2.4)
    for ax, (group, values) in zip(axes, found.items(), strict=True):
        bars = ax.bar(range(2), 1e3 * np.array(values), color=(COLOURS[3], COLOURS[0]), width=0.6)
        ax.bar_label(bars, fmt="%.3g", fontsize=8)
        ax.margins(y=0.12)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_xticks(range(2), ["as they came", "normalised"], fontsize=8)
        ax.set_title("processes" if group == closures.PROCESSES else f"variations of {group[1:]}", fontsize=9)
        ax.set_ylabel("nats per 1000 events" if ax is axes[0] else "", fontsize=8)
    return figure


def variations(facts: Facts) -> Figure:
    """Draw how far each parameter of a fit is from what was injected."""
    return _pulls(facts, closures.returned(facts, "variations"))


def _pulls(facts: Facts, found: dict[str, list[Returned]]) -> Figure:
    shown = dict(list(found.items())[:ROWS])
    figure, (ax,) = _rows(list(shown), 1, width=5.4)
    poi = facts.subject.poi
    for row, (name, own) in enumerate(shown.items()):
        for one in own:
            injected = name.startswith(f"{one.parameter}.")
            colour = COLOURS[2] if one.parameter == poi else COLOURS[0] if injected else COLOURS[3]
            marker = "D" if one.parameter == poi else "o" if injected else "|"
            if np.isfinite(one.pull):
                ax.plot(one.pull, row, marker, color=colour, markersize=5)
    _bands(ax, 0, *checks.RETURNED.values())
    for marker, colour, label in (("o", COLOURS[0], "injected"), ("D", COLOURS[2], poi), ("|", COLOURS[3], "others")):
        ax.plot([], [], marker, color=colour, label=label)
    _reach(ax, [one.pull for own in shown.values() for one in own])
    ax.set_xlabel("(best value - truth) / error")
    figure.legend(frameon=False, fontsize=8, loc="outside upper right", ncols=3)
    return figure


def _reach(axes: Axes, values: Sequence[float]) -> None:
    """Let an axis of pulls reach beyond what is a warning, and beyond all values."""
    most = max([1.2, *(1.1 * abs(value) for value in values if np.isfinite(value))])
    axes.set_xlim(-most, most)


def signals(facts: Facts) -> Figure:
    """Draw what comes back of injected signals, above, and how far that is from the truth, below."""
    from matplotlib.figure import Figure  # noqa: PLC0415  matplotlib, an extra

    poi = facts.subject.poi
    found = [one for own in closures.returned(facts, "signals").values() for one in own if one.parameter == poi]
    figure = Figure(figsize=(4.8, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    true, value, error = (np.array([getattr(one, what) for one in found], float) for what in ("true", "value", "error"))
    upper.plot([true.min(), true.max()], [true.min(), true.max()], color="0.5", linewidth=0.8, label="truth")
    upper.errorbar(true, value, np.nan_to_num(error), fmt="o", color=COLOURS[0], markersize=4, capsize=2, label="fit")
    lower.plot(true, (value - true) / error, "o", color=COLOURS[0], markersize=4)
    _bands(lower, 0, *checks.RETURNED.values(), upright=False)
    upper.set_ylabel(f"best {poi}")
    upper.legend(frameon=False, fontsize=8)
    lower.set(xlabel=f"injected {poi}", ylabel="distance / error", ylim=(-1.3, 1.3))
    for ax in (upper, lower):
        bare(ax)
    return figure


def halves(facts: Facts) -> Figure:
    """Draw both halves, with the scatter that is expected of one, and their mean, in errors of the fit."""
    means = closures.means(facts)
    figure, (ax,) = _rows([one.parameter for one in means], 1, width=5.4)
    for row, mean in enumerate(means):
        allowed = closures.expected(facts, mean) / mean.error
        ax.plot([-allowed, allowed], [row, row], color=COLOURS[3], linewidth=5, alpha=0.5, solid_capstyle="butt")
        singles = [own[row].pull for own in closures.returned(facts, "halves").values()]
        ax.plot(singles, [row] * len(singles), "o", color=COLOURS[0], markersize=5, fillstyle="none")
        ax.plot(mean.pull, row, "D", color=COLOURS[2], markersize=5)
    _bands(ax, 0, *checks.RETURNED.values())
    ax.plot([], [], "o", color=COLOURS[0], fillstyle="none", label="one half")
    ax.plot([], [], color=COLOURS[3], linewidth=5, alpha=0.5, label="expected of one half")
    ax.plot([], [], "D", color=COLOURS[2], label="mean of both")
    _reach(ax, [1.05 * closures.expected(facts, mean) / mean.error for mean in means])
    ax.set_xlabel("(best value - nominal value) / error")
    figure.legend(frameon=False, fontsize=8, loc="outside upper right", ncols=3)
    return figure


def scatter(facts: Facts) -> Figure:
    """Draw the best values of toys, beside a Gaussian of the stated error about their mean."""
    assert facts.inference.closure is not None
    found = facts.inference.closure.toys
    assert found is not None
    values, error, ratio = np.array(found.values), closures.number(found.error), closures.spread(found)
    figure, (ax,) = panels(1, width=4.8, height=3.2)
    counts, edges, _ = ax.hist(values, bins=12, histtype="step", color=COLOURS[0], label=f"{found.toys} toys")
    x = np.linspace(edges[0] - 1e-9, edges[-1] + 1e-9, 200)
    height = len(values) * (edges[1] - edges[0]) / (error * np.sqrt(2 * np.pi))
    ax.plot(
        x,
        height * np.exp(-(((x - closures.number(found.mean)) / error) ** 2) / 2),
        color=COLOURS[2],
        label="error of the Asimov fit",
    )
    ax.set(xlabel=f"best {facts.subject.poi}", ylabel="toys", ylim=(0, 1.5 * max(np.max(counts), 1)))
    ax.set_title(f"spread / error = {ratio[0]:.2f} ± {ratio[1]:.2f}", fontsize=9)
    ax.legend(frameon=False, fontsize=8)
    return figure


def _some(kind: str) -> Callable[[Facts], bool]:
    """Say whether anything has come back of a kind of injection."""
    return lambda facts: bool(closures.returned(facts, kind))


def _thrown(facts: Facts) -> bool:
    """Say whether there are toys, and an error to compare them with."""
    found = facts.inference.closure.toys if facts.inference.closure else None
    return found is not None and not found.reason and bool(found.values) and bool(found.error)


FIGURES: dict[str, tuple[str, str, Callable[[Facts], Figure], Callable[[Facts], bool]]] = {
    "normalisation": (
        "closure",
        (
            "What ln r is multiplied with, and what is added then, so that the processes have their yields. Dark: within thresholds; light: "
            "a warning, unless 1 or 0 is within two errors."
        ),
        normalisation,
        lambda facts: bool(closures.scales(facts)),
    ),
    "information": (
        "closure",
        (
            "What ratios tell of the class of an event that did not train: entropy of the classes minus cross-entropy. Networks that know less "
            "than nothing are below 0."
        ),
        information,
        lambda facts: bool(closures.information(facts)),
    ),
    "injected_variations": (
        "closure",
        (
            "Fits of varied samples instead of nominal ones: distance of every parameter from the truth, which is 1 or -1 for the one that "
            "was varied. Dark: 0.3 errors; light: one error."
        ),
        variations,
        _some("variations"),
    ),
    "injected_signals": (
        "closure", "Fits of simulated events with other signals. Where the fit is at a bound, the error is that of the Asimov fit.",
        signals, _some("signals"),
    ),
    "halves": (
        "closure",
        (
            "Ratios normalised on one half of the simulated events, and fitted on the other. Single halves scatter by about twice the "
            "MC stat. error of the Asimov fit; their mean does not."
        ),
        halves,
        lambda facts: bool(closures.means(facts)),
    ),
    "toy_scatter": (
        "closure", "Fits of toys of the simulated events: the stated error should be their scatter.", scatter, _thrown,
    ),
}  # fmt: skip
"""By the names of their files: section, caption, what draws, and whether there is anything to draw."""
