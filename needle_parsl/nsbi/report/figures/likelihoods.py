"""Figures of the likelihood: scans in one and two dimensions, and the confidence belt."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.stats import chi2

from needle_parsl.nsbi.report.figures.canvas import COLOURS, Floats, each, panels
from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.nsbi.statistics.intervals import neyman_region
from needle_parsl.nsbi.statistics.results import ProfileScan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = {
    "asimov": "Asimov, learned ratios",
    "observed": "observed, learned ratios",
    "scan_statistical": "stat. only (nuisances fixed)",
    "scan_asimov": "Asimov, learned ratios",
    "scan_exact": "Asimov, exact densities",
}
STYLES = {"scan_exact": ":", "scan_statistical": "--"}


def likelihood(facts: Facts) -> Figure:
    """Draw the profile likelihood scans with their intervals: their points, and the curve that intervals are read from."""
    pois = facts.subject.pois
    figure, cells = panels(len(pois), width=6.4, height=4.4)
    each(cells, [(poi, poi) for poi in pois], partial(_scans, facts))
    return figure


def _scans(facts: Facts, axes: Axes, poi: str) -> None:
    """Draw the scans of a parameter of interest."""
    scans = facts.scans_of(poi)
    levels, inflation = scans["scan"].intervals, scans["scan"].inflation
    height = 2.2 * inflation * float(chi2.ppf(max(float(level) for level in levels), 1))
    shown = []
    for colour, (name, scan) in zip(COLOURS, scans.items(), strict=False):
        label = CURVES[facts.subject.headline if name == "scan" else name]
        shown.append(_curve(axes, scan, (name, label), colour, height))
    for level, pieces in levels.items():
        t = inflation * float(chi2.ppf(float(level), 1))
        for low, high in pieces:
            axes.hlines(t, low, high, color=COLOURS[0], linestyle="--", linewidth=1)
            axes.annotate(f"{float(level):.4g}", (high, t), xytext=(4, -3), textcoords="offset points", fontsize=9)
    ends = np.concatenate(shown)
    if len(ends):
        axes.set_xlim(ends.min(), ends.max())
        axes.legend(frameon=False, loc="upper center", fontsize=9)
    label = f"{poi} (of data: with a hidden offset)" if poi in facts.subject.offset else poi
    axes.set(xlabel=label, ylabel=r"$t = -2\,\ln\lambda$", ylim=(0, height))


def _curve(axes: Axes, scan: ProfileScan, named: tuple[str, str], colour: str, height: float) -> Floats:
    """Draw one scan, which has a name and a label; return where it is below the top of the figure."""
    name, label = named
    points = _rising([[p.value, p.t] for p in scan.points if p.converged])
    if len(points) < 5:
        return np.empty(0)
    grid = np.linspace(points[0, 0], points[-1, 0], 400)
    t = CubicSpline(*points.T)(grid)
    axes.plot(grid, t, color=colour, linestyle=STYLES.get(name, "-"), label=label)
    axes.plot(*points.T, ".", color=colour, markersize=3)
    below: Floats = grid[t < height]
    return below


def _rising(points: list[list[float | None]]) -> Floats:
    """Keep finite points whose value is above those before, shape (N, 2): what a curve can go through."""
    known: Floats = np.array(points, dtype=float).reshape(-1, 2)
    known = known[np.isfinite(known).all(axis=1)]
    highest = np.maximum.accumulate(known[:, 0])
    return known[np.diff(highest, prepend=-np.inf) > 0]


def plane(facts: Facts) -> Figure:
    """Draw the contours of a scan of two parameters."""
    found = facts.inference.plane
    assert found is not None
    (x, y), points = found.parameters, found.points
    columns = [np.unique([p.x for p in points]), np.unique([p.y for p in points])]
    t = np.array([np.nan if p.t is None else p.t for p in points]).reshape(*map(len, columns)).T
    figure, (axes,) = panels(1, width=6.4, height=4.4)
    image = axes.pcolormesh(*columns, np.clip(t, 0, 12), cmap="Blues_r", shading="nearest", rasterized=True)
    figure.colorbar(image, ax=axes, label=r"$t = -2\,\ln\lambda$")
    heights = {height: f"{100 * float(level):g} %" for level, height in found.heights.items()}
    lines = axes.contour(*columns, t, levels=sorted(heights), colors=COLOURS[2])
    axes.clabel(lines, fmt=heights, fontsize=9)
    axes.plot(found.best[x], found.best[y], "+", color=COLOURS[2], markersize=10)
    axes.set(xlabel=x, ylabel=y)
    return figure


def region(facts: Facts) -> Figure:
    """Draw the region of two parameters that the data accept by toys, beside that of chi-squared."""
    found = facts.inference.region
    assert found is not None
    (x, y), points, level = found.parameters, found.points, list(found.asymptotic)[-1]
    columns = [np.unique([p.x for p in points]), np.unique([p.y for p in points])]
    share = np.array([np.nan if p.p_value is None else p.p_value for p in points]).reshape(*map(len, columns)).T
    figure, (axes,) = panels(1, width=6.4, height=4.4)
    image = axes.pcolormesh(*columns, share, cmap="Blues", vmin=0, vmax=1, shading="nearest", rasterized=True)
    figure.colorbar(image, ax=axes, label="p-value")
    for colour, (name, height) in zip(COLOURS[1:], found.asymptotic.items(), strict=False):
        first, second, own = neyman_region.excess(found, name)
        axes.contour(first, second, own.T, levels=[0.0], colors=colour)
        axes.contour(first, second, neyman_region.between(found).T, levels=[height], colors=colour, linestyles=":")
        axes.plot([], [], color=colour, label=f"{100 * float(name):g} %, toys")
    axes.plot([], [], ":", color="grey", label="chi-squared")
    for taken, face in ((True, "0.3"), (False, "none")):
        shown = [p for p in points if p.accepted[level] == taken]
        axes.scatter([p.x for p in shown], [p.y for p in shown], s=7, facecolors=face, edgecolors="0.3", linewidths=0.6)
    if found.best:
        axes.plot(found.best[x], found.best[y], "+", color="black", markersize=10)
    axes.set(xlabel=x, ylabel=y)
    axes.legend(fontsize=9, loc="best")
    return figure


def limits(facts: Facts) -> Figure:
    """Draw CLs from toys along the parameter of interest, what is expected without a signal, and the upper limits."""
    belt = facts.inference.belt
    assert belt is not None
    assert belt.limits is not None
    poi, found = belt.parameter, belt.limits
    points = [p for p in found.points if p.cls is not None and p.expected]
    grid, cls, error = (np.array([getattr(p, name) for p in points]) for name in ("value", "cls", "cls_error"))
    bands = np.array([p.expected for p in points]).T
    figure, (axes,) = panels(1, width=6.4, height=4.4)
    axes.fill_between(grid, bands[0], bands[4], color="#ffdf7f", label=r"expected $\pm 2\sigma$")
    axes.fill_between(grid, bands[1], bands[3], color="#85d1fb", label=r"expected $\pm 1\sigma$")
    axes.plot(grid, bands[2], "--", color="black", label="expected without a signal")
    label = "observed" if facts.subject.headline == "observed" else "Asimov"
    axes.errorbar(grid, cls, error, fmt="o-", color="black", markersize=4, capsize=2, label=f"{label}, toys")
    for colour, (level, upper) in zip(COLOURS, found.upper.items(), strict=False):
        said = "not on the grid" if upper is None else f"{poi} < {upper:.3g}"
        axes.axhline(1 - float(level), color=colour, linewidth=1, label=f"{100 * float(level):g} %: {said}")
        if upper is not None:
            axes.plot([upper, upper], [0, 1 - float(level)], ":", color=colour, linewidth=1)
    axes.set(xlabel=poi, ylabel=r"CL$_s$", xlim=(grid[0], grid[-1]), ylim=(0, 1.05))
    axes.legend(frameon=False, fontsize=9)
    return figure


def limited(facts: Facts) -> bool:
    """Whether there are CLs to draw."""
    found = facts.inference.belt.limits if facts.inference.belt else None
    return found is not None and any(p.cls is not None and p.expected for p in found.points)


def _observed(axes: Axes, facts: Facts, known: Floats) -> None:
    """Draw t of the data, shape (G, 2) with the values of the grid; it is known where its fit has converged."""
    label = "observed" if facts.subject.headline == "observed" else "Asimov"
    if len(known) > 1:
        fine = np.linspace(known[0, 0], known[-1, 0], 400)
        axes.plot(fine, CubicSpline(*known.T)(fine), color="black", label=f"t, {label}")
    axes.plot(*known.T, "o", color="black", markersize=3, label=None if len(known) > 1 else f"t, {label}")


def belt(facts: Facts) -> Figure:
    """Draw t of the data with the critical values that toys give, beside those of the chi-squared distribution."""
    found = facts.inference.belt
    assert found is not None
    poi, points = found.parameter, found.points
    grid = np.array([p.value for p in points])
    figure, (axes,) = panels(1, width=6.4, height=4.4)
    _observed(axes, facts, _rising([[p.value, p.t] for p in points]))
    top = 0.0
    for colour, (level, pieces) in zip(COLOURS, found.intervals.items(), strict=False):
        raw, raw_error, critical, error = (
            np.array([getattr(p, name)[level] for p in points])
            for name in ("critical_raw", "critical_raw_error", "critical", "critical_error")
        )
        axes.errorbar(grid, raw, raw_error, fmt="o", color=colour, markersize=4, capsize=2,
                      label=f"critical at {100 * float(level):g} %, toys")  # fmt: skip
        axes.plot(grid, critical, color=colour, linewidth=1.5)
        axes.fill_between(grid, critical - error, critical + error, color=colour, alpha=0.25, linewidth=0)
        axes.axhline(found.asymptotic[level], color=colour, linestyle=":", linewidth=1)
        for low, high in pieces:
            axes.axvspan(low, high, color=colour, alpha=0.08)
        top = max(top, float(np.max(raw + raw_error, where=np.isfinite(raw + raw_error), initial=0.0)))
    axes.plot([], [], ":", color="grey", label="critical, chi-squared")
    axes.set(xlabel=poi, ylabel=r"$t$", ylim=(0, 1.6 * top or None))
    axes.legend(frameon=False, fontsize=9)
    return figure
