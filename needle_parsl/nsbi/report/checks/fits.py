"""Checks of the fits: that they converged, in the deepest minimum, inside of their bounds, and that they return what is known."""

from __future__ import annotations

from needle_parsl.analysis import WALL
from needle_parsl.nsbi.report.checks.states import Found, above
from needle_parsl.nsbi.report.gathering import Facts, asimov
from needle_parsl.nsbi.statistics.fits import degeneracy
from needle_parsl.nsbi.statistics.results import FitResult

RETURNED = {"warning": 0.2, "fail": 0.5}
"""Shift of a parameter of an Asimov fit from its nominal value, in errors of the fit."""
SIGNIFICANT = 2.0
"""Errors from the finite simulation within which such a shift may be its own."""
BLIND = 0.5
"""Error from the finite simulation, in errors of the fit, from which on it hides a shift that matters."""
RIVAL = 9.0
"""2 delta ln L up to which a second minimum takes part in an interval."""


def fits(facts: Facts) -> Found:
    """Look at every fit and scan."""
    for name, fit in facts.inference.fits.items():
        yield from _fit(name, fit, facts.subject.poi)
    for name, scan in facts.inference.scans.items():
        for level in scan.open:
            missed = not scan.intervals[level]
            yield (
                "fail" if missed else "warning",
                (
                    f"The {level} interval of '{name}' "
                    + (
                        "has no value: the fit did not converge, or the scan misses it."
                        if missed
                        else "leaves the scanned range."
                    )
                ),
            )


def _fit(name: str, fit: FitResult, poi: str) -> Found:
    if not fit.converged:
        why = "" if fit.nll is not None else ": -ln L is not a finite number, wherever it starts"
        yield "fail", f"The fit '{name}' did not converge{why}."
    for parameter in fit.on_wall:
        yield (
            "fail",
            (
                f"In the fit '{name}', {parameter} is at its bound, {WALL:g} sigma away from its nominal value: a minimum, but the model is "
                "not known so far out; look at its variations, or give it bounds that are meant."
            ),
        )
    if fit.degenerate:
        yield "fail", f"In the fit '{name}', {degeneracy.sentence(fit.degenerate)}."
    for parameter in fit.at_bound:
        yield "warning", f"In the fit '{name}', {parameter} is at its bound; take its interval from the scan."
    for parameter in fit.on_kink:
        yield (
            "warning",
            (
                f"In the fit '{name}', {parameter} is on the kink of its response at 0, where it has no symmetric error: both of its "
                "variations change yields in the same direction."
            ),
        )
    for parameter in fit.minos_failed:
        yield "warning", f"MINOS found no interval of {parameter} in the fit '{name}'; take it from the scan."
    if fit.floored_events:
        yield (
            "warning",
            f"In the fit '{name}', {fit.floored_events} events or bins have p <= 0.",
            0.1 if poi else None,
        )


def good_fits(facts: Facts) -> str:
    """Say that all is well."""
    return f"{len(facts.inference.fits)} fits converged, away from bounds, and the intervals end within the scans."


def minima(facts: Facts) -> Found:
    """Look for minima that compete with the best one."""
    for name, fit in facts.inference.fits.items():
        rival = fit.next_minimum
        if rival is not None and rival < RIVAL:
            yield (
                "warning",
                (
                    f"The fit '{name}' has {fit.minima} minima; the second is at 2 delta ln L = {rival:.2f} from the best one, so that "
                    "intervals are not those of a parabola: take them from the scan or from toys."
                ),
                None,
            )
    for scan in (own for name, own in facts.inference.scans.items() if name.partition(".")[0] == "scan"):
        fitted, best = facts.fit.parameters[scan.parameter], scan.best
        if fitted.error and abs(best - fitted.value) > 0.1 * fitted.error:
            shift = (best - fitted.value) / fitted.error
            yield (
                "fail",
                f"The scan of {scan.parameter} has found a deeper minimum, {best:.4g}, than the fit, {fitted.value:.4g}.",
                abs(shift),
            )


def good_minima(facts: Facts) -> str:
    """Say that all is well."""
    most = max((fit.minima for fit in facts.inference.fits.values()), default=0)
    return f"The scan confirms the deepest of {most} minima." if most > 1 else "No other minimum was found."


def returned(facts: Facts) -> Found:
    """Hold every parameter of the Asimov fit against its nominal value: the data are simulation at the nominal parameters."""
    for name, fitted in asimov(facts).items():
        error, simulation = fitted.error, fitted.simulation_error or 0.0
        if not error or fitted.value is None:
            continue
        shift = fitted.value - fitted.nominal
        size, effect = abs(shift) / error, abs(shift) / error if name == facts.subject.poi else None
        state = above(size, RETURNED)
        if state == "fail" and abs(shift) < SIGNIFICANT * simulation:
            state = "warning"
        sentence = (
            f"The Asimov fit returns {name} = {fitted.value:.4g} ± {error:.2g} where {fitted.nominal:.4g} is true: "
            f"{size:.2f} standard errors away, with ±{simulation:.2g} from MC statistics."
        )
        if state == "pass" and simulation > BLIND * error:
            yield (
                "no power",
                (
                    f"MC statistics let the Asimov fit of {name} scatter by ±{simulation:.2g}, {simulation / error:.2f} of its error: a bias of the "
                    "ratios of that size cannot be seen; more simulated events in split.test would show it."
                ),
                effect,
            )
        yield state, sentence, effect


def good_returned(facts: Facts) -> str:
    """Say that all is well."""
    return "The Asimov fit returns all of its nominal parameters." if asimov(facts) else ""
