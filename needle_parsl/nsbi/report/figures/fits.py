"""Figures of fits: impacts with pulls, correlations, and distributions before and after the fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.report.figures.canvas import COLOURS, MOST, each, panels, split_panels
from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.nsbi.statistics.results import Distribution, Impacts, NuisanceImpact

Floats = npt.NDArray[np.float64]

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RANKED = 25
"""Nuisance parameters in the figure of impacts; the others are in its file."""
STEEP = 1000.0
"""Largest over smallest density of a distribution from which on its axis is logarithmic."""
PULLS, RED = 2.0, "#bd1f01"
"""Where the axis of pulls ends; the colour of what is at a bound, as that of a check that fails."""
WORDS = {"covariance": "covariance", "observable": r"observable $\pm 1\sigma$", "refit": r"refit at $\pm\hat\sigma$"}


def _at_ends(facts: Facts) -> set[str]:
    """Name the parameters of the headline fit that are at a bound."""
    return {*facts.fit.on_wall, *facts.fit.at_bound}


def _pull(axes: Axes, row: float, entry: NuisanceImpact, colour: str) -> None:
    """Draw a pull; one that leaves the axes is at their end, with its number."""
    place = float(np.clip(entry.pull, -PULLS, PULLS))
    error = max(entry.pull_error or 0.0, 0.0)
    axes.errorbar(place, row, xerr=error, fmt="o", color=colour, markersize=4, capsize=2)
    if place != entry.pull:
        side = "left" if place < 0 else "right"
        axes.annotate(
            f"{entry.pull:+.1f}", (place, row), (0, 5), textcoords="offset points", ha=side, fontsize=8, color=colour
        )


def impacts(facts: Facts) -> Figure:
    """Draw pulls to the left and impacts to the right, a column for each parameter of interest, as the field does.

    The largest, in errors of a parameter, are on top; above all, in red, is what is at a bound.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  matplotlib, an extra

    assert facts.inference.impacts is not None
    every = [facts.inference.impacts, *facts.inference.further_impacts]
    names = _ranked(facts, every)
    figure = Figure(figsize=(4.2 * (1 + len(every)), 1.6 + 0.34 * len(names)), layout="constrained")
    left, *right = figure.subplots(1, 1 + len(every), sharey=True, width_ratios=[1, *[1.25] * len(every)])
    known = {entry.name: entry for entry in every[0].nuisances}
    _pulls(left, [known[name] for name in names], _at_ends(facts))
    for axes, found in zip(right, every, strict=True):
        _shifts(axes, found, names)
    handles, _ = right[0].get_legend_handles_labels()
    figure.legend(handles=handles, frameon=False, loc="outside upper right", ncols=2, fontsize=8)
    for axes in (left, *right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _ranked(facts: Facts, every: Sequence[Impacts]) -> list[str]:
    """Name the nuisance parameters that are drawn, in their order."""
    ends = _at_ends(facts)
    if len(every) == 1:
        names = [entry.name for entry in every[0].nuisances]
    else:
        sizes: dict[str, float] = {}
        for found in every:
            error = facts.fit.parameters[found.parameter].error or 1.0
            for entry in found.nuisances:
                shifts = [abs(x) / error for pair in entry.impacts.values() for x in pair if x is not None]
                sizes[entry.name] = max([sizes.get(entry.name, 0.0), *shifts])
        names = sorted(sizes, key=lambda name: -sizes[name])
    return sorted(names, key=lambda name: name not in ends)[:RANKED]


def _pulls(axes: Axes, entries: Sequence[NuisanceImpact], ends: set[str]) -> None:
    """Draw the column of pulls."""
    rows = np.arange(len(entries))[::-1]
    for row, entry in zip(rows, entries, strict=True):
        _pull(axes, float(row), entry, RED if entry.name in ends else "black")
    axes.axvspan(-1, 1, color="0.92", zorder=0)
    axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    axes.set_yticks(rows, [entry.name for entry in entries])
    for label, entry in zip(axes.get_yticklabels(), entries, strict=True):
        label.set_color(RED if entry.name in ends else "black")
    axes.set(
        xlabel=r"$(\hat\alpha - \alpha_0)\,/\,\sigma_0$",
        xlim=(-1.1 * PULLS, 1.1 * PULLS),
        ylim=(-0.7, len(entries) - 0.3),
    )


def _shifts(axes: Axes, found: Impacts, names: Sequence[str]) -> None:
    """Draw the column of a parameter of interest."""
    known = {entry.name: entry for entry in found.nuisances}
    entries, method = [known[name] for name in names], found.methods[-1]
    for row, entry in zip(np.arange(len(entries))[::-1], entries, strict=True):
        _bars(axes, float(row), entry.impacts)
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set(xlabel=rf"$\Delta${found.parameter}")
    axes.tick_params(left=False)
    shifts = [abs(x) for e in entries for pair in e.impacts.values() for x in pair if x is not None]
    reach = (
        1.15 * max([x for x in shifts if np.isfinite(x)], default=0.0) or 1.0
    )  # no impact may be known, or all may be 0
    axes.set_xlim(-reach, reach)
    axes.locator_params(axis="x", nbins=5)
    for colour, way in zip((COLOURS[0], COLOURS[1]), ("down", "up"), strict=True):
        axes.barh(-9, 0, color=colour, label=rf"$\alpha$ {way}: {WORDS[method]}")
    for marker, other in zip("|x", found.methods[:-1], strict=False):
        axes.plot([], [], marker, color="black", markersize=6, label=WORDS[other])


def _bars(axes: Axes, row: float, found: Mapping[str, tuple[float | None, float | None]]) -> None:
    """Draw the last definition as bars and the others as marks."""
    *others, method = found
    for colour, shift in zip((COLOURS[0], COLOURS[1]), found[method], strict=True):
        if shift is not None:
            axes.barh(row, shift, height=0.62, color=colour)
    for marker, other in zip("|x", others, strict=False):
        shifts = [shift for shift in found[other] if shift is not None]
        axes.plot(shifts, [row] * len(shifts), marker, color="black", markersize=6)


def correlated(facts: Facts) -> bool:
    """Whether two parameters or more have an error."""
    covariance = np.array(facts.fit.covariance)
    return int((np.diag(covariance) > 0).sum()) > 1


def correlations(facts: Facts) -> Figure:
    """Draw the correlation matrix of the headline fit; parameters without an error are left out."""
    return _matrix(facts, list(facts.fit.parameters))


def interest(facts: Facts) -> Figure:
    """Draw that of the parameters of interest."""
    return _matrix(facts, facts.subject.pois)


def _matrix(facts: Facts, wanted: Sequence[str]) -> Figure:
    covariance, every = np.array(facts.fit.covariance), list(facts.fit.parameters)
    kept = [k for k in map(every.index, wanted) if covariance[k, k] > 0]
    if not kept:
        raise ValueError("none of them has an error")
    names = [every[k] for k in kept]
    error = np.sqrt(np.diag(covariance)[kept])
    found = covariance[np.ix_(kept, kept)] / np.outer(error, error)
    side = min(2.2 + 0.5 * len(kept), 9.0)
    figure, (axes,) = panels(1, width=side + 0.8, height=side)
    image = axes.imshow(found, cmap="RdBu_r", vmin=-1, vmax=1)
    figure.colorbar(image, ax=axes, label="correlation")
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 4 else 0)
    axes.set_yticks(range(len(names)), names)
    if len(names) <= 15:
        for (i, j), value in np.ndenumerate(found):
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8,
                      color="white" if abs(value) > 0.6 else "black")  # fmt: skip
    axes.spines[:].set_visible(False)
    return figure


def distributions(facts: Facts) -> Figure:
    """Draw every feature, log ratio and region: the processes after the fit, the sum before it, and data."""
    found = facts.inference.distributions
    return _all({**{f"region {name}": entry for name, entry in found.regions.items()}, **found.columns})


def validation(facts: Facts) -> Figure:
    """Draw the regions that are fitted to nothing."""
    return _all(facts.inference.validation.regions if facts.inference.validation else {})


def _all(entries: Mapping[str, Distribution]) -> Figure:
    shown = list(entries.items())[:MOST]
    figure, cells = split_panels(len(shown))

    def draw(cell: tuple[Axes, Axes], named: tuple[str, Distribution]) -> None:
        _distribution(*cell, named[1])
        cell[0].set_title(named[0], loc="left", fontsize=9)

    each(cells, [(named[0], named) for named in shown], draw)
    handles, labels = cells[0][0].get_legend_handles_labels()
    columns = 2 * min(3, len(shown))  # as wide as the panels
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=columns, fontsize=8)
    return figure


def _steep(density: Floats) -> bool:
    """Whether a linear axis would show nothing but the peak of a distribution."""
    filled = density[density > 0]
    return bool(len(filled)) and float(filled.max()) > STEEP * float(filled.min())


def _distribution(upper: Axes, lower: Axes, entry: Distribution) -> None:
    post, prior = entry.postfit, entry.prefit
    size = len(post.total)
    edges = np.array(entry.edges or np.arange(size + 1.0))
    width, middle = np.diff(edges), (edges[1:] + edges[:-1]) / 2
    total, error = np.array(post.total), np.array(post.error)
    for colour, (process, counts) in zip(COLOURS, post.processes.items(), strict=False):
        upper.stairs(np.array(counts) / width, edges, color=colour, label=process, linewidth=1.1)
    upper.stairs(total / width, edges, color="black", linewidth=1.2, label="after the fit")
    upper.stairs(np.array(prior.total) / width, edges, color="0.5", linestyle="--", linewidth=1, label="before")
    safe = np.maximum(total, 1e-12)
    band = np.r_[error / safe, (error / safe)[-1:]]
    lower.fill_between(edges, 1 - band, 1 + band, step="post", color="0.85", linewidth=0)
    lower.stairs(np.array(prior.total) / safe, edges, color="0.5", linestyle="--", linewidth=1)
    if entry.observed is not None:
        n = np.array(entry.observed)
        upper.errorbar(middle, n / width, np.sqrt(n) / width, fmt=".", color="black", markersize=4, label="data")
        lower.errorbar(middle, n / safe, np.sqrt(n) / safe, fmt=".", color="black", markersize=4)
        p_value = "" if entry.goodness is None else f"p = {entry.goodness.p_value:.2g}"
        upper.set_title(p_value, loc="right", fontsize=8)  # data may be anywhere below
    if _steep(total / width):
        upper.set_yscale("log")
    upper.set_ylabel("events / unit" if entry.edges is not None else "events", fontsize=8)
    lower.set(ylabel="ratio", ylim=(0.6, 1.4) if entry.observed is not None else (0.8, 1.2))
    lower.axhline(1, color="black", linewidth=0.8)
    if entry.edges is None:
        lower.set_xlabel("bin", fontsize=8)
