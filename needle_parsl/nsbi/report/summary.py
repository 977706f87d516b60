"""The numbers by which a run is judged."""

from __future__ import annotations

import numpy as np

from needle_parsl.nsbi.report import headline
from needle_parsl.nsbi.report.checks import ratios, run
from needle_parsl.nsbi.report.gathering import Facts, Inference, StagesFacts
from needle_parsl.summary import Component, Finding, FurtherResult, Measured, StagesSummary, Summary


def summarise(facts: Facts) -> Summary:
    """Sum up a run; `report/summary.json`, `needle report --json` and `expected.json` use its names."""
    poi, inference = facts.subject.poi, facts.inference
    scatter = headline.scatter(facts, poi)
    fitted, findings = facts.fit.parameters[poi], run.judge(facts)
    state, words = run.verdict(findings)
    shift, ratio = _compared(facts)
    return Summary(
        dataset=facts.subject.headline,
        parameter=poi,
        value=fitted.value,
        error=fitted.error,
        statistical_error=fitted.statistical_error,
        simulation_error=fitted.simulation_error,
        ensemble_error=fitted.ensemble_error,
        ensemble_error_of=headline.ensemble_error_of(facts),
        total_error=fitted.total_error,
        bootstrap_error=scatter.total,
        bootstrap_training=scatter.training,
        bootstrap_simulation=scatter.simulation,
        minos=fitted.minos,
        intervals=facts.scan.intervals,
        neyman_intervals=inference.belt.intervals if inference.belt else None,
        converged=all(fit.converged for fit in inference.fits.values()),
        networks=sum(len(rows) for rows in facts.histories.values()),
        networks_failed=len(facts.failed),
        worst_normalisation=_worst([d.normalisation.value for d in facts.diagnostics.values()]),
        toys=sum(len(block.t) for block in inference.toys),
        toys_failed=sum(int((~block.converged).sum()) for block in inference.toys),
        fits={name: _measured(facts, name) for name in inference.fits},
        exact_shift=shift,
        exact_error_ratio=ratio,
        result=headline.result(facts, poi),
        quoted_intervals=headline.intervals(facts, poi),
        state=state,
        verdict=words,
        checks=run.states(findings),
        ratios=ratios.by_ratio(facts),
        findings=tuple(finding for finding in run.ranked(findings) if finding.state != "pass"),
        warnings=facts.subject.warnings,
        offset=facts.subject.offset,
        breakdown=_breakdown(inference) if inference.breakdowns else None,
        further={name: _further(facts, name) for name in facts.subject.further} or None,
        correlations=headline.correlations(facts) or None,
        neyman_region=inference.region.extents if inference.region else None,
    )


def _further(facts: Facts, poi: str) -> FurtherResult:
    """Give the numbers of a further parameter of interest."""
    fitted = facts.fit.parameters[poi]
    return FurtherResult(
        value=fitted.value,
        error=fitted.error,
        statistical_error=fitted.statistical_error,
        simulation_error=fitted.simulation_error,
        ensemble_error=fitted.ensemble_error,
        total_error=fitted.total_error,
        bootstrap_error=headline.scatter(facts, poi).total,
        minos=fitted.minos,
        intervals=facts.scans_of(poi)["scan"].intervals,
        result=headline.result(facts, poi),
        quoted_intervals=headline.intervals(facts, poi),
    )


def _breakdown(inference: Inference) -> dict[str, dict[str, Component]]:
    """Give the components of the error of each parameter of interest."""
    return {
        found.parameter: {own.name: Component(own.observable, own.quadrature) for own in found.components}
        for found in inference.breakdowns
    }


def of_stages(facts: StagesFacts, findings: list[Finding]) -> StagesSummary:
    """Sum up a run of the user's stages alone."""
    state, words = run.verdict(findings)
    return StagesSummary(
        state=state,
        verdict=words,
        checks=run.states(findings),
        findings=tuple(finding for finding in findings if finding.state != "pass"),
        sections=tuple(section.title for section in facts.sections),
        warnings=facts.subject.warnings,
    )


def _measured(facts: Facts, name: str) -> Measured:
    fitted = facts.inference.fits[name].parameters[facts.subject.poi]
    return Measured(fitted.value, fitted.error)


def _compared(facts: Facts) -> tuple[float | None, float | None]:
    """Hold the learned fit against the exact one: the shift in exact errors, and the ratio of the errors."""
    if not {"exact", "asimov"} <= set(facts.inference.fits):
        return None, None
    learned, exact = _measured(facts, "asimov"), _measured(facts, "exact")
    if not exact.error or not learned.error or None in (learned.value, exact.value):
        return None, None
    return (learned.value - exact.value) / exact.error, learned.error / exact.error


def _worst(means: list[float | None]) -> float | None:
    """Give the largest distance from 1; null where one is no number."""
    known = [abs(mean - 1) for mean in means if mean is not None and np.isfinite(mean)]
    return max(known, default=0.0) if len(known) == len(means) else None
