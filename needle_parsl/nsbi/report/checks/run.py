"""Checks of a run: what passes, what does not, and what has no power, each with a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from needle_parsl.nsbi.report.checks import closure, goodness, outside, ratios, residuals, samples, toys
from needle_parsl.nsbi.report.checks import fits as fit_checks
from needle_parsl.nsbi.report.checks.states import (
    ORDER,
    UNLIKELY,
    Found,
    above,
    below,
    corrected,
    reason,
)
from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.nsbi.report.sections import Section
from needle_parsl.nsbi.statistics.results import FittedParameter, Scatter
from needle_parsl.summary import Finding, State

FINITE = {"warning": 0.5, "fail": 1.0}
"""Uncertainty from the finite simulation, over the statistical error."""
WEIGHTED = {"warning": 0.25, "fail": 1.0}
"""Variance that ensemble weights add, over that of the fit."""
SCATTERED = {"warning": 0.5, "fail": 1.0}
"""Error from the training's events and noise, over that of the fit."""
SHIFTED = {"warning": 0.2, "fail": 0.5}
"""Learned minus exact, in standard errors."""
FEW_EVENTS = 30
"""Observed events from which on the goodness of fit has power."""


def judge(facts: Facts) -> list[Finding]:
    """Look at everything; a check without a finding has one that passes, and says what was looked at.

    Returns:
        In the order of the checks; `ranked` sorts them.
    """
    found = []
    for check, (look, good) in CHECKS.items():
        said = [
            Finding(check, own[0], own[1], own[2] if len(own) > 2 else None)
            for own in _seen(look, facts)
            if own[0] != "pass"
        ]
        found += said or [Finding(check, "pass", sentence) for sentence in (good(facts),) if sentence]
    return found + of_sections(facts.sections)


def of_sections(sections: Sequence[Section]) -> list[Finding]:
    """Give the checks of sections, under their titles."""
    return [Finding(section.title, one.state, one.sentence) for section in sections for one in section.checks]


def _seen(look: Callable[[Facts], Found], facts: Facts) -> Found:
    """Look; what cannot be judged has failed."""
    try:
        yield from look(facts)
    except Exception as error:  # noqa: BLE001  numbers that nobody has foreseen cost their check, not the report
        yield "fail", f"This cannot be judged: {reason(error)}"


def ranked(findings: list[Finding]) -> list[Finding]:
    """Sort: the worst state first, and of one state what does most to the parameter of interest."""
    return sorted(findings, key=lambda f: (-ORDER.index(f.state), -_effect(f)))


def _effect(finding: Finding) -> float:
    """Give the effect in standard errors; where nobody has measured it, that of such a check at its threshold."""
    known = finding.effect
    return WORTH.get(finding.check, 0.3) if known is None or math.isnan(known) else known


WORTH = {"fits": 100.0, "minima": 50.0, "outside": 20.0, "leaks": 5.0, "outputs": 50.0, "variation samples": 2.0, "variations": 1.5, "signals": 1.5, "halves": 1.0, "goodness": 1.5, "two-sample": 1.5, "validation": 1.5, "belt": 1.0, "region": 1.0,
         "normalisation": 1.5, "calibration": 1.0, "support": 1.0, "closure": 0.9, "classifier": 0.8, "events": 0.5, "distances": 0.4}  # fmt: skip
"""Standard errors by which a check that fails may move the parameter of interest, where that was not measured: the order of what is said."""


def states(findings: list[Finding]) -> dict[str, State]:
    """Give each check the worst state of its findings."""
    found: dict[str, State] = {}
    for finding in findings:
        found[finding.check] = max(found.get(finding.check, "pass"), finding.state, key=ORDER.index)
    return found


def verdict(findings: list[Finding]) -> tuple[State, str]:
    """Give the worst state, and a heading that says what it means for the result."""
    found = states(findings)
    count = {state: sum(own == state for own in found.values()) for state in ORDER}
    blind = f"; {count['no power']} have no power" if count["no power"] else ""
    if count["fail"]:
        return "fail", f"do not quote: {count['fail']} of {len(found)} checks failed{blind}"
    if count["warning"]:
        return "warning", f"quote with care: {count['warning']} of {len(found)} checks give a warning{blind}"
    if count["no power"]:
        return "no power", f"not proven: {count['no power']} of {len(found)} checks have no power, the others pass"
    if len(found) < 2:
        return "pass", "the check passes" if found else "no checks"
    return "pass", f"all {len(found)} checks pass"


def _ratios(subject: str, facts: Facts) -> Found:
    for found in ratios.findings(facts.diagnostics, facts.subject.thresholds, ratios.Run.of(facts)):
        if found.check == subject:
            yield found.state, found.sentence, found.effect


def _good_ratios(subject: str, facts: Facts) -> str:
    return ratios.CHECKS[subject].good if facts.diagnostics else ""


def _mixture(facts: Facts) -> Found:
    """Look at the value of the parameter where the mixture is farthest from a density, in the ratios' own thresholds."""
    if not facts.inference.mixture:
        return
    yellow, red = facts.subject.thresholds.normalisation
    poi, points = facts.inference.mixture.parameter, facts.inference.mixture.points
    significant = [p for p in points if abs(p.value - 1) > 3 * p.error]
    if significant:
        worst = max(significant, key=lambda p: abs(p.value - 1))
        yield (
            above(abs(worst.value - 1), {"warning": yellow, "fail": red}),
            (
                f"The mixture is not normalised: at {poi} = {worst.at:g} its mean over the reference is "
                f"{worst.value:.4f} ± {worst.error:.4f}."
            ),
        )
    for p in points:
        if p.negative:
            yield (
                "warning",
                f"At {poi} = {p.at:g} the mixture is not positive for {100 * p.negative:.2g} % of the reference.",
            )


def _good_mixture(facts: Facts) -> str:
    if not facts.inference.mixture or not facts.inference.mixture.points:
        return ""
    poi, points = facts.inference.mixture.parameter, facts.inference.mixture.points
    return f"The mean of the mixture over the reference is 1 within thresholds, for {poi} from {points[0].at:g} to {points[-1].at:g}."


def _finite(facts: Facts) -> Found:
    for name, fit in facts.inference.fits.items():
        for parameter, fitted in fit.parameters.items():
            if fitted.simulation_error and fitted.error:
                yield (
                    above(fitted.simulation_error / fitted.error, FINITE),
                    (
                        f"MC statistics contribute ±{fitted.simulation_error:.2g} to {parameter} in the fit '{name}' "
                        f"(error of the fit ±{fitted.error:.2g}); {_included(fitted)}."
                    ),
                    fitted.simulation_error / fitted.error if parameter == facts.subject.poi else None,
                )


def _included(fitted: FittedParameter) -> str:
    share = ((fitted.simulation_error or 0.0) / (fitted.error or math.inf)) ** 2
    added = (fitted.ensemble_inflation or 1.0) > 1 + 0.999 * share
    return "included in the intervals of scans and limits" if added else "not included in the intervals"


def _ensemble(facts: Facts) -> Found:
    if facts.inference.closure is not None:
        yield from closure.networks(facts)
        return
    for name, fit in facts.inference.fits.items():
        for parameter, fitted in fit.parameters.items():
            if fitted.ensemble_error and fitted.error:
                yield (
                    above((fitted.ensemble_error / fitted.error) ** 2, WEIGHTED),
                    (
                        f"In the fit '{name}', the fitted ensemble weights contribute ±{fitted.ensemble_error:.3g} on {parameter}, "
                        f"against an error of {fitted.error:.3g}; total_error, intervals of scans and limits have both, MINOS, impacts and "
                        "toys do not. Beyond the error itself it is overstated by some 20 %, and more events in split.combine are the remedy."
                    ),
                )


def _good_ensemble(facts: Facts) -> str:
    fits = facts.inference.fits.values()
    known = any(fitted.ensemble_error is not None for fit in fits for fitted in fit.parameters.values())
    source = "networks" if facts.inference.closure is not None else "ensemble weights"
    return f"The error of the {source} adds little to the errors of the fits." if known else ""


def _bootstrap(facts: Facts) -> Found:
    found = facts.inference.bootstrap
    if found is None:
        return
    if found.failed:
        yield "warning", f"{found.failed} replicas have no ratios: {'; '.join(found.reasons)}."
    for name, parameters in found.fits.items():
        for parameter, own in parameters.items():
            if own.failed:
                yield (
                    "warning",
                    f"In the fit '{name}', {own.failed} replicas did not converge; no number has them in it.",
                )
            error = facts.inference.fits[name].parameters[parameter].error
            if own.total is not None and error:
                yield (
                    above(own.total / error, SCATTERED),
                    (
                        f"In the fit '{name}', other simulated events and seeds would scatter {parameter} by {_scatter(own)}, "
                        f"against an error of {error:.3g}; intervals and scans do not contain it. More "
                        "simulated events and more training.members are the remedies."
                    ),
                )


def _scatter(own: Scatter) -> str:
    assert own.uncertainty is not None  # it is known with the others
    return (
        f"{own.total:.2g} ± {own.uncertainty.total:.1g} (simulation {own.simulation:.2g}, training {own.training:.2g})"
    )


def _good_bootstrap(facts: Facts) -> str:
    found, poi = facts.inference.bootstrap, facts.subject.poi
    own = found.fits[facts.subject.headline][poi] if found else None
    if own is None or own.total is None:
        return ""
    return f"Other simulated events and seeds would scatter {poi} by only {_scatter(own)}."


def _truth(facts: Facts) -> Found:
    for poi, learned, exact in _compared(facts):
        shift = (learned.value - exact.value) / (exact.error or math.nan)
        yield (
            above(abs(shift), SHIFTED),
            (
                f"On the same Asimov events the learned fit of {poi} differs from the exact one by {shift:+.2f} standard errors."
            ),
            abs(shift),
        )


def _compared(facts: Facts) -> Iterator[tuple[str, FittedParameter, FittedParameter]]:
    if "exact" in facts.inference.fits and "asimov" in facts.inference.fits:
        poi = facts.subject.poi
        learned, exact = (facts.inference.fits[name].parameters[poi] for name in ("asimov", "exact"))
        if learned.error and exact.error:
            yield poi, learned, exact


def _good_simulation(facts: Facts) -> str:
    if "asimov" not in facts.inference.fits or facts.binned:
        return ""
    return "The finite number of simulated events adds little to the errors of the Asimov fit."


def _described(facts: Facts) -> Found:
    tested = facts.inference.distributions.tested()
    if tested and facts.observed is not None and facts.observed < FEW_EVENTS:
        yield (
            "no power",
            f"{facts.observed} observed events are too few to see whether the model describes their distributions; {FEW_EVENTS} would begin to.",
        )
    if tested:
        name, worst = min(tested.items(), key=lambda item: item[1].p_value)
        p_value = corrected(worst.p_value, len(tested))
        yield (
            below(p_value, UNLIKELY),
            (
                f"After the fit the data are not described in {name}: deviance {worst.deviance:.0f} for {worst.ndf} degrees "
                f"of freedom, p = {p_value:.2g} as the worst of {len(tested)} distributions."
            ),
        )


def _good_description(facts: Facts) -> str:
    shown = "observed" if facts.subject.headline == "observed" else ""
    return "After the fit the model describes every distribution of the data." if shown else ""


CHECKS: dict[str, tuple[Callable[[Facts], Found], Callable[[Facts], str]]] = {
    "events": (samples.events, samples.good_events),
    "variation samples": (samples.variations, samples.good_variations),
    "leaks": (samples.leaks, samples.good_leaks),
    "outputs": (samples.outputs, samples.good_outputs),
    **{name: (partial(_ratios, name), partial(_good_ratios, name)) for name in ratios.CHECKS},
    "residuals": (residuals.look, residuals.good),
    "tails": (residuals.tails, residuals.good_tails),
    "mixture": (_mixture, _good_mixture),
    **closure.CHECKS,
    "fits": (fit_checks.fits, fit_checks.good_fits),
    "minima": (fit_checks.minima, fit_checks.good_minima),
    "asimov": (fit_checks.returned, fit_checks.good_returned),
    "goodness": (_described, _good_description),
    "two-sample": (goodness.compared, goodness.good_comparison),
    "validation": (goodness.validated, goodness.good_validation),
    "outside": (outside.look, outside.good),
    "simulation": (_finite, _good_simulation),
    "ensemble": (_ensemble, _good_ensemble),
    "bootstrap": (_bootstrap, _good_bootstrap),
    "truth": (_truth, lambda f: "Learned and exact fit agree." if any(_compared(f)) else ""),
    "toys": (toys.toys, toys.good_toys),
    "belt": (toys.belt, toys.good_belt),
    "region": (toys.region, toys.good_region),
}  # fmt: skip
"""By name: what is looked at, and what to say if all of it passes; nothing if there was nothing to look at."""
