"""The section on several unbinned regions: what is expected and observed in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from needle_parsl.nsbi.report.sections import Section, SectionTable

TEXT = (
    "Events of these regions are fitted one by one, each with ratios of its own, together with those of binned regions."
)
CAPTION = "Expected events at the nominal yields, and in brackets the effective simulated events behind them."


@dataclass(frozen=True, kw_only=True)
class UnbinnedRegion:
    """An unbinned region."""

    features: Sequence[str]
    expected: Mapping[str, float]
    """Expected events by process."""
    effective: Mapping[str, float]
    """Effective simulated events by process, (sum w)^2 / sum w^2."""
    observed: int | None
    """None as long as data may not be looked at."""


def section(regions: Mapping[str, UnbinnedRegion]) -> Section:
    """Show the regions, by name."""
    processes = tuple(next(iter(regions.values())).expected)
    columns = ("region", "features", *processes, "observed")
    rows = tuple(_row(name, own, processes) for name, own in regions.items())
    return Section(title="Unbinned regions", text=TEXT, tables=(SectionTable(columns, rows, CAPTION),))


def _row(name: str, own: UnbinnedRegion, processes: Sequence[str]) -> tuple[str | int | float, ...]:
    counts = (f"{own.expected[process]:.4g} ({own.effective[process]:.0f})" for process in processes)
    return name, ", ".join(own.features), *counts, "hidden" if own.observed is None else own.observed
