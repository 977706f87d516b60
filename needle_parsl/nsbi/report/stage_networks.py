"""The section of networks that the analysis of a stage, or an unbinned region, has trained: what test events say of its ratios."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from needle_parsl.analysis import Diagnostics, extras
from needle_parsl.nsbi.estimators.results import RatioDiagnostics
from needle_parsl.nsbi.report.checks import ratios
from needle_parsl.nsbi.report.sections import Section, SectionCheck, SectionFigure, SectionTable

COLUMNS = (
    "ratio",
    "members",
    "failed",
    "mean over the reference",
    "calibration error",
    "p-value of calibration",
    "classifier",
    "spread of members",
)


def section(
    name: str, diagnostics: Mapping[str, RatioDiagnostics], limits: Diagnostics, *, region: bool = False
) -> Section:
    """Show how good the ratios of an analysis are.

    Args:
        name: Of the stage that names the analysis, or of the region.
        diagnostics: By ratio.
        limits: Thresholds of that analysis.
        region: Whether it is a region.
    """
    whose = f"the region {name}" if region else f"the analysis of the stage {name}"
    table = SectionTable(COLUMNS, tuple(_row(name, found) for name, found in diagnostics.items()), _TABLE)
    return Section(
        title=f"Networks of {name}",
        text=f"Ratios that {whose} has learned, on events that neither trained nor combined them.",
        tables=(table,),
        figures=tuple(_figures(diagnostics)) if extras.here("plots") else (),
        checks=tuple(_checks(diagnostics, limits)),
    )


_TABLE = "The mean over the reference should be 1; the classifier, as area under its curve, tells the reweighted reference from the numerator (0.5: not at all)."


def _row(name: str, found: RatioDiagnostics) -> tuple[str | int | float, ...]:
    failed = sum(member.reason is not None for member in found.training)
    mean, calibration = found.normalisation, found.calibration
    return (
        name,
        found.members,
        failed,
        mean.value,
        calibration.ece,
        calibration.p_value,
        found.two_sample.auc,
        found.member_spread,
    )


def _checks(diagnostics: Mapping[str, RatioDiagnostics], limits: Diagnostics) -> Iterator[SectionCheck]:
    """Give what the checks of ratios find; of those without a finding, what they have looked at."""
    found = ratios.findings(diagnostics, limits)
    yield from (SectionCheck(None, one.state, one.sentence) for one in found)
    seen = {one.check for one in found}
    yield from (SectionCheck(None, "pass", own.good) for name, own in ratios.CHECKS.items() if name not in seen)


def _figures(diagnostics: Mapping[str, RatioDiagnostics]) -> Iterator[SectionFigure]:
    from needle_parsl.nsbi.report.figures import ratios as drawing  # noqa: PLC0415  matplotlib, an extra

    if drawing.compared(diagnostics):
        yield SectionFigure.of(drawing.closure(diagnostics), "Closure on test events, the columns that agree worst.")
    yield SectionFigure.of(
        drawing.calibration(diagnostics), "Calibration on test events. Points above 0: r is underestimated."
    )
