"""The section on a polynomial basis: its samples and multipliers, what stands behind them, and the linear terms alone beside all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2

from needle_parsl.analysis import MorphingBasis
from needle_parsl.nsbi.report.figures.canvas import COLOURS, panels
from needle_parsl.nsbi.report.sections import Section, SectionFigure, SectionTable, check
from needle_parsl.nsbi.statistics.results import FitResult, Limits, ProfileScan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONDITION = (1e4, 1e8)
"""Condition number from which on there is a warning, and a failure."""
ORDERS = ("all terms", "linear terms")
HIGHEST = 9.0
"""t up to which scans are drawn."""


@dataclass(frozen=True, kw_only=True)
class BasisEvents:
    """Effective simulated events, (sum w)^2 / sum w^2."""

    samples: Mapping[str, float]
    """Of each sample."""
    nominal: float
    """Of the rate at the nominal parameters."""
    median: float
    """Over the bounds."""
    smallest: float
    """Over the bounds."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What was fitted with terms up to some order."""

    fit: FitResult
    scan: ProfileScan
    limits: Limits | None


def section(
    basis: MorphingBasis, multipliers: Mapping[str, str], events: BasisEvents | None, orders: Sequence[Order]
) -> Section:
    """Show a basis.

    Args:
        basis: The samples.
        multipliers: By process.
        events: What stands behind it; None where nothing is fitted event by event.
        orders: With all terms, and with the linear ones alone where that was asked for.
    """
    tables = [_basis(basis, multipliers, events)]
    tables += [_effective(events)] if events else []
    tables += [_fits(basis, orders), _intervals(orders)]
    condition = check(
        basis.condition, *CONDITION, "The condition number of the basis says by how much errors of its samples are multiplied, at most."
    )  # fmt: skip
    figures = (SectionFigure.of(_scans(orders), "Profile likelihood with all terms and with the linear ones alone."),)
    return Section(
        title="Morphing",
        text=_text(basis),
        tables=tuple(tables),
        figures=figures if len(orders) > 1 else (),
        checks=(condition,),
    )


def _text(basis: MorphingBasis) -> str:
    without = f" The best basis of those offered does without {', '.join(basis.left_out)}." if basis.left_out else ""
    return (
        f"The rate is a polynomial in {', '.join(basis.parameters)} with {len(basis.monomials)} terms ({', '.join(basis.monomials)}), "
        f"written as a sum of simulated samples with multipliers. Condition number {basis.condition:.3g}; mean over the bounds of the sum of squared "
        f"multipliers {basis.spread:.3g}.{without}"
    )


def _rounded(multiplier: str) -> str:
    """Write the numbers of an expression with six digits."""
    return re.sub(r"\d+\.\d{6,}", lambda found: f"{float(found[0]):.6g}", multiplier)


def _basis(basis: MorphingBasis, multipliers: Mapping[str, str], events: BasisEvents | None) -> SectionTable:
    rows = tuple(
        (
            name,
            ", ".join(f"{parameter} = {point.get(parameter, 0.0):g}" for parameter in basis.parameters),
            _rounded(multipliers[name]),
            f"{events.samples[name]:.0f}" if events else None,
        )
        for name, point in basis.points.items()
    )
    caption = "Samples with the parameters at which they were simulated."
    return SectionTable(("sample", "simulated at", "multiplier", "effective events"), rows, caption)


def _effective(events: BasisEvents) -> SectionTable:
    caption = "Effective simulated events behind the rate; few where multipliers cancel."
    row = tuple(f"{value:.0f}" for value in (events.nominal, events.median, events.smallest))
    return SectionTable(
        ("at the nominal parameters", "median over the bounds", "smallest over the bounds"), (row,), caption
    )


def _fits(basis: MorphingBasis, orders: Sequence[Order]) -> SectionTable:
    """Give the fitted parameters, and further minima: quadratic terms may make several."""
    rows = tuple(
        (label, *(_value(order.fit, name) for name in basis.parameters), order.fit.minima, order.fit.next_minimum)
        for label, order in zip(ORDERS, orders, strict=False)
    )
    columns = ("fit", *basis.parameters, "minima", "2 delta ln L of the next one")
    return SectionTable(columns, rows, "Best fits with their standard errors, and how many minima were found.")


def _value(fit: FitResult, name: str) -> str:
    found = fit.parameters[name]
    error = "at a bound" if found.error is None else f"± {found.error:.3g}"
    return f"{found.value:.4g} {error}" + ("" if fit.converged else " (not converged)")


def _intervals(orders: Sequence[Order]) -> SectionTable:
    scan = orders[0].scan
    limited = [f"upper limit at {order.limits.level:g}" for order in orders[:1] if order.limits]
    columns = ("interval", *(f"{scan.parameter} at {level}" for level in scan.intervals), *limited)
    rows = tuple((label, *_cells(order)) for label, order in zip(ORDERS, orders, strict=False))
    return SectionTable(columns, rows, f"Intervals of {scan.parameter}.")


def _cells(order: Order) -> Iterator[str | None]:
    for pieces in order.scan.intervals.values():
        yield " and ".join(f"[{low:.4g}, {high:.4g}]" for low, high in pieces) or None
    if order.limits:
        limit = order.limits.expected.get("0") if order.limits.observed is None else order.limits.observed
        yield None if limit is None else f"{limit:.4g}"


def _scans(orders: Sequence[Order]) -> Figure:
    """Draw the scans."""
    figure, (axes,) = panels(1, width=6.4, height=4.4)
    for label, order, colour in zip(ORDERS, orders, COLOURS, strict=False):
        points = np.array([(p.value, p.t) for p in order.scan.points if p.t is not None and p.converged])
        shown = points.reshape(-1, 2)
        shown = shown[shown[:, 1] < HIGHEST]
        axes.plot(*shown.T, ".-", color=colour, label=label)
    for level in orders[0].scan.intervals:
        axes.axhline(float(chi2.ppf(float(level), 1)), color="0.6", linestyle="--", linewidth=1)
    axes.legend(frameon=False, fontsize=9)
    axes.set(xlabel=orders[0].scan.parameter, ylabel=r"$t = -2\,\ln\lambda$", ylim=(0, HIGHEST))
    return figure
