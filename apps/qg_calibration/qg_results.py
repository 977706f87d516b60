"""Systematic uncertainties of the scale factors, and the tables and figures of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from needle_parsl.nsbi.report.sections import Section, SectionFigure, SectionTable, check

Array = npt.NDArray[np.float64]
Shifts = Mapping[str, Array]
"""Scale factors over nominal ones, minus 1, by the name of the variation."""

LABELS = {"n_trk": r"$n_\mathrm{trk}$", "tagger": "tagger score"}


def uncertainties(shifts: Shifts, *, replicas: bool = False) -> dict[str, Array]:
    """Combine the shifts of variations into relative uncertainties by source.

    Args:
        shifts: Of all variations but the nominal one.
        replicas: Whether the PDF weights are replicas, whose standard deviation counts; else the largest shift does.
    """
    pdf = _of(shifts, "pdf_")
    return {
        "tracking": _quadrature(_of(shifts, "tracking_")),
        "jet energy": np.maximum(*(_quadrature(_of(shifts, "jet_", end=side)) for side in ("_up", "_down"))),
        "PDF": pdf.std(axis=0, ddof=1) if replicas else np.abs(pdf).max(axis=0),
        "scale": np.abs(_of(shifts, "scale_")).max(axis=0),
        "splitting kernel": np.abs(shifts["kernel"]),
        "matrix element": np.abs(shifts["powheg"]),
        "parton shower": np.abs(shifts["herwig_angular"] - shifts["herwig_dipole"]),
        "hadronisation": np.abs(shifts["sherpa_cluster"] - shifts["sherpa_lund"]),
        "choice of reweighting": np.abs(shifts["reweight_gluon"]),
    }


def _of(shifts: Shifts, start: str, end: str = "") -> Array:
    return np.stack([shift for name, shift in shifts.items() if name.startswith(start) and name.endswith(end)])


def _quadrature(shifts: Array) -> Array:
    return np.asarray(np.sqrt((shifts**2).sum(axis=0)))


def total(sources: Mapping[str, Array]) -> Array:
    """Add relative uncertainties in quadrature."""
    return _quadrature(np.stack(list(sources.values())))


@dataclass(frozen=True)
class Drawn:
    """Scale factors of quarks at one working point; arrays of shape (P,)."""

    factors: Array
    planted: Array
    sources: Mapping[str, Array]
    """Relative uncertainties."""


def figure(edges: Array, drawn: Mapping[str, Drawn], point: float) -> Figure:
    """Draw scale factors against pT with the band of the total uncertainty, and below them what that is made of.

    Args:
        edges: Of the pT bins.
        drawn: By variable.
        point: The working point.
    """
    made = Figure(figsize=(5.2 * len(drawn), 7.0), layout="constrained")
    axes = made.subplots(2, len(drawn), sharex=True, sharey="row", squeeze=False)
    for column, (variable, one) in enumerate(drawn.items()):
        _points(axes[0, column], edges, one)
        axes[0, column].set_title(LABELS[variable])
        _parts(axes[1, column], edges, one.sources)
        axes[1, column].set_xlabel(r"jet $p_\mathrm{T}$ [GeV]")
    axes[0, 0].set_ylabel(f"$SF_Q$ at the {100 * point:.0f}% working point")
    axes[1, 0].set_ylabel("relative uncertainty")
    made.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return made


def _points(axes: Axes, edges: Array, one: Drawn) -> None:
    centres, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    band, statistical = one.factors * total(one.sources), one.factors * one.sources["data statistics"]
    axes.stairs(
        one.factors + band,
        edges,
        baseline=one.factors - band,
        fill=True,
        color="tab:green",
        alpha=0.3,
        label="total uncertainty",
    )
    axes.stairs(one.planted, edges, baseline=None, color="tab:red", ls="--", label="planted in the toy data")
    axes.errorbar(centres, one.factors, statistical, half, "ko", ms=4, lw=1, label="scale factor, statistics of data")
    axes.axhline(1, color="grey", lw=0.8)
    axes.margins(y=0.25)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _parts(axes: Axes, edges: Array, sources: Mapping[str, Array]) -> None:
    axes.stairs(total(sources), edges, baseline=None, color="k", lw=1.5, label="total")
    for number, (name, size) in enumerate(sources.items()):
        axes.stairs(size, edges, baseline=None, label=name, color=f"C{number % 10}", ls="-" if number < 10 else ":")
    axes.set_ylim(0, None)


def columns(factors: Array, planted: Array, sources: Mapping[str, Array]) -> dict[str, Array]:
    """Give what the table says of each scale factor; the pull is in units of the statistical errors and the non-closure."""
    statistical = total({name: sources[name] for name in ("data statistics", "MC statistics")})
    return {
        "SF": factors,
        "statistical": factors * statistical,
        "total": factors * total(sources),
        "planted": planted,
        "pull": (factors - planted) / (factors * np.hypot(statistical, sources["non-closure"])),
    }


def rows(edges: Array, variable: str, points: Sequence[float], numbers: Mapping[str, Array]) -> list[tuple[Any, ...]]:
    """List the rows of the table of scale factors of a variable; arrays have the shape (W, F, P)."""
    found = []
    for w, point in enumerate(points):
        for f, parton in enumerate(("quark", "gluon")):
            for p in range(len(edges) - 1):
                place = f"{edges[p]:g} to {edges[p + 1]:g}"
                values = (round(float(array[w, f, p]), 4) for array in numbers.values())
                found.append((variable, f"{point:.0%}", parton, place, *values))
    return found


def section(
    table: Sequence[tuple[Any, ...]], made: Figure, numbers: Mapping[str, Any], variables: Sequence[str]
) -> Section:
    """Put the scale factors into a section of the report, with what says whether they are right."""
    closed = max(float(np.abs(numbers[name]["closure"][0] - 1).max()) for name in variables)
    opened = max(float(np.abs(numbers[name]["closure_without_pass_1_errors"]).max()) for name in variables)
    pull = max(float(np.abs(numbers[name]["pull"]).max()) for name in variables)
    columns = ("variable", "working point", "parton", "pT [GeV]", "SF", "statistical", "total", "planted", "pull")
    return Section(
        "Quark/gluon scale factors",
        text="Efficiencies of quarks and gluons in data over those in MC, both extracted with the quark fractions of MC from forward and central "
        "jets, after the reweighting of pass 1.",
        tables=(
            SectionTable(columns, tuple(table), "Scale factors with their uncertainties, beside the planted ones"),
        ),
        figures=(SectionFigure.of(made, "Scale factors of quark jets, and their uncertainties by source"),),
        checks=(
            check(
                closed,
                0.05,
                0.1,
                f"With pass 1 the efficiencies of extracted MC at the first working point are within {closed:.1%} of those of its labels.",
            ),
            check(
                opened,
                5,
                3,
                f"Without pass 1 they are off by up to {opened:.1f} standard errors, so that it is needed.",
            ),
            check(pull, 3.5, 5, f"The scale factors are within {pull:.1f} standard errors of the planted ones."),
            check(numbers["row_difference"], 1e-9, 1e-6, "Pass 2 on histograms and on rows of jets agree."),
        ),
    )
