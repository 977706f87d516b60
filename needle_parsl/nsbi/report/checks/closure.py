"""Checks of ratios that are normalised at the expected yields: a fit of Asimov data closes there by construction, and shows nothing.

Everything is in units of the error of the Asimov fit, so that a state gives the effect of a fault on the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from needle_parsl.nsbi.report.checks.closure_numbers import (
    PROCESSES,
    Returned,
    expected,
    information,
    injected,
    means,
    number,
    returned,
    scales,
    spread,
)
from needle_parsl.nsbi.report.checks.states import Found, above
from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.nsbi.statistics.results import ToyScatter
from needle_parsl.summary import State

SLOPE = {"warning": 0.05, "fail": 0.1}
"""|slope - 1|; less than two of its errors is none."""
OFFSET = {"warning": 0.1, "fail": 0.3}
"""|offset|, in ln r; less than two of its errors is none."""
REPAIRED = {"warning": 0.05, "fail": 0.25}
"""What the normalisation adds to the information in the ratios of the processes, over all that there is then. Less is no more than
the noise of lengths and seeds; at a quarter, the ratios are those of other densities."""
RETURNED = {"warning": 0.3, "fail": 1.0}
"""Distance from what was injected, in errors. At 0.3 a total error that holds it is 4 % larger; beyond 1, what comes back is not within
its error."""
HALF = {"warning": 1.0, "fail": 2.0}
"""Distance of a single half, in the root of the squares of the fit's error and twice its error from the finite simulation."""
SCATTER = {"warning": 0.0, "fail": 0.1}
"""|spread / error - 1| of toys, beyond 2.5 of its own errors: one run in eighty by chance."""
ADDED = {"warning": 0.5, "fail": 1.0}
"""Uncertainty from the networks, over the error of the fit."""


def _fixed(facts: Facts, kind: str) -> Iterator[tuple[State, str]]:
    """Name the injections whose fit did not converge."""
    lost = [one.name for one in injected(facts, kind) if not one.converged]
    if lost:
        yield "fail", f"The fit of what was injected did not converge: {', '.join(lost)}."


def _slopes(facts: Facts) -> Found:
    seen = set()
    for ratio, (group, scale) in scales(facts).items():
        slope, error = number(scale.slope), number(scale.slope_error)
        if (group, slope) in seen:  # one slope for all processes
            continue
        seen.add((group, slope))
        size = abs(slope - 1)
        yield (
            "pass" if size <= 2 * error else _above(size, SLOPE),
            (
                f"The slope of ln r of {ratio} is {slope:.3f} ± {error:.2g} on events that did not train: its networks {_fault(slope)}. "
                "The ratio is multiplied with it."
            ),
        )


def _fault(slope: float) -> str:
    return (
        "are trained too long, or on too few events"
        if slope < 1
        else "are trained too short, or give something else than ln r"
    )


def _above(value: float, limits: Mapping[str, float]) -> State:
    """State a number that should be small; NaN is not."""
    return "fail" if np.isnan(value) else above(value, limits)


def _offsets(facts: Facts) -> Found:
    for ratio, (_, scale) in scales(facts).items():
        offset, error = number(scale.offset), number(scale.offset_error)
        yield (
            "pass" if abs(offset) <= 2 * error else _above(abs(offset), OFFSET),
            (
                f"The offset of ln r of {ratio} is {offset:+.3f} ± {error:.2g}: its networks are wrong by {100 * abs(np.expm1(offset)):.0f} % at the "
                "expected yields."
            ),
        )


def _information(facts: Facts) -> Found:
    """Judge the nominal ratios; those of variations tell so little that their slopes say it better."""
    if PROCESSES not in information(facts):
        return
    before, after = information(facts)[PROCESSES]
    numbers = f"{1e3 * before:.4g} nats per 1000 events as they came, {1e3 * after:.4g} normalised"
    if before < 0:
        yield "fail", f"The networks know less than nothing of the process of events that did not train: {numbers}."
    else:
        repaired = (after - before) / after if after > 0 else np.nan
        yield _above(repaired, REPAIRED), f"The normalisation repairs much of the ratios: they tell {numbers}."


def _variations(facts: Facts) -> Found:
    yield from _fixed(facts, "variations")
    for name, found in returned(facts, "variations").items():
        yield from _judged(f"With {name} injected, the fit gives", found, RETURNED)


def _signals(facts: Facts) -> Found:
    yield from _fixed(facts, "signals")
    for name, found in returned(facts, "signals").items():
        yield from _judged(f"With {name} injected, the fit gives", found, RETURNED)


def _judged(words: str, found: Sequence[Returned], limits: Mapping[str, float]) -> Found:
    """Judge a fit by its worst parameter."""
    known = [one for one in found if one.error > 0]
    if not known:
        yield "no power", f"{words} no parameter with an error; it cannot be judged."
        return
    worst = max(known, key=lambda one: np.inf if np.isnan(one.pull) else abs(one.pull))
    yield _above(abs(worst.pull), limits), f"{words} {worst.sentence()}."


def _halves(facts: Facts) -> Found:
    yield from _fixed(facts, "halves")
    if both := means(facts):
        yield from _judged(
            "Normalised on one half of the simulated events and fitted on the other, in the mean of both ways the fit gives",
            both,
            RETURNED,
        )
    for name, found in returned(facts, "halves").items():
        for one in found:
            ratio = abs(one.value - one.true) / expected(facts, one) if one.error > 0 else 0.0
            yield (
                _above(ratio, HALF),
                (
                    f"Normalised on {name} of the simulated events and fitted on the other, {one.sentence()}, where the finite simulation and the error "
                    f"allow ±{expected(facts, one):.2g}."
                ),
            )


def _toys(facts: Facts) -> Found:
    found = _thrown(facts)
    if not found:
        return
    if found.reason:
        yield "no power", f"Toys do not tell whether the error is right: {found.reason.rstrip('.')}."
        return
    ratio, error = spread(found)
    yield (
        _above(max(abs(ratio - 1) - 2.5 * error, 0.0) if np.isfinite(ratio) else np.nan, SCATTER),
        f"Fits of {found.toys} toys of the simulated events scatter by {ratio:.2f} ± {error:.2f} of the error that the Asimov fit states.",
    )


def _thrown(facts: Facts) -> ToyScatter | None:
    return facts.inference.closure.toys if facts.inference.closure else None


def networks(facts: Facts) -> Found:
    """Judge what the networks add to the errors of the fits."""
    for name, fit in facts.inference.fits.items():
        for parameter, fitted in fit.parameters.items():
            if fitted.ensemble_error and fitted.error:
                yield (
                    above(fitted.ensemble_error / fitted.error, ADDED),
                    (
                        f"In the fit '{name}', other networks, of other simulated events and seeds, would move {parameter} by "
                        f"±{fitted.ensemble_error:.2g}, against an error of {fitted.error:.3g}; total_error contains it, intervals and scans do not. More "
                        "simulated events, then more training.members, are the remedies."
                    ),
                )


def _good_slopes(facts: Facts) -> str:
    found = {(group, s.slope, s.slope_error) for group, s in scales(facts).values()}
    known = [(slope, error) for _, slope, error in found]
    if not known:
        return ""
    low, high = min(known), max(known)
    said = f"{low[0]:.3f} ± {low[1]:.2g}" + (f" to {high[0]:.3f} ± {high[1]:.2g}" if len(known) > 1 else "")
    return f"ln r of events that did not train has the slope 1 within thresholds: {said}."


def _good_offsets(facts: Facts) -> str:
    sizes = [abs(number(scale.offset)) for _, scale in scales(facts).values()]
    return f"Offsets at the expected yields are at most {max(sizes):.2g} in ln r." if sizes else ""


def _good_information(facts: Facts) -> str:
    found = information(facts).get(PROCESSES)
    if found is None:
        return ""
    before, after = (1e3 * x for x in found)
    return (
        f"The ratios separate the processes by {after:.4g} nats per 1000 events that did not train "
        f"(entropy of the processes minus cross-entropy); {before:.4g} before they were normalised."
    )


def _good(kind: str, words: str) -> Callable[[Facts], str]:
    """Say how far away the farthest is."""

    def good(facts: Facts) -> str:
        found = [one for own in returned(facts, kind).values() for one in own if one.error > 0]
        return f"{words}: the farthest by {max(abs(one.pull) for one in found):.2f} errors." if found else ""

    return good


def _good_halves(facts: Facts) -> str:
    found = [one for one in means(facts) if one.error > 0]
    if not found:
        return ""
    worst = max(found, key=lambda one: abs(one.pull))
    return f"Ratios normalised on one half of the simulated events close on the other: in the mean of both ways, {worst.sentence()}."


def _good_toys(facts: Facts) -> str:
    found = _thrown(facts)
    if not found or found.reason:
        return ""
    ratio, error = spread(found)
    return (
        f"Fits of {found.toys} toys of the simulated events scatter by {ratio:.2f} ± {error:.2f} of the stated error."
    )


CHECKS: dict[str, tuple[Callable[[Facts], Found], Callable[[Facts], str]]] = {
    "slopes": (_slopes, _good_slopes),
    "offsets": (_offsets, _good_offsets),
    "information": (_information, _good_information),
    "variations": (_variations, _good("variations", "Injected variations come back")),
    "signals": (_signals, _good("signals", "Injected signals come back")),
    "halves": (_halves, _good_halves),
    "scatter": (_toys, _good_toys),
}
"""As in `checks.run`, in the order of the report."""
