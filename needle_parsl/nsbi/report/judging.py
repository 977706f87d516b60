"""Traffic lights: what is good and what is weak about a run, by subject, each with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from scipy.stats import binomtest

from needle_parsl.analysis import WALL
from needle_parsl.nsbi.report import closure_lights, outside, ratio_lights
from needle_parsl.nsbi.report.colours import ORDER, UNLIKELY, Colour, Found, above, below, corrected, reason
from needle_parsl.nsbi.report.gathering import Facts, Sample
from needle_parsl.nsbi.statistics.fits import degeneracy

FEW = {"yellow": 1000.0, "red": 100.0}
"""Effective events of a part of a sample below which a light changes."""
LEFT_OUT = {"yellow": -1.0, "red": 0.05}
"""Fraction of a sample's bytes in bad files that were left out; any is yellow."""
FINITE = {"yellow": 0.5, "red": 1.0}
"""What the finite simulation is worth, over the statistical error."""
WEIGHTED = {"yellow": 0.25, "red": 1.0}
"""Variance that ensemble weights add, over that of the fit."""
SCATTERED = {"yellow": 0.5, "red": 1.0}
"""Error from the training's events and noise, over that of the fit."""
SHIFTED = {"yellow": 0.2, "red": 0.5}
"""Bias over toys, and learned minus exact, in standard errors; a bias counts beyond two of its own errors."""
PULLED = {"yellow": 0.1, "red": 0.3}
"""|pull width - 1|, beyond 2.5 of its own errors; pulls are taken in the coordinate of the fit."""
BLURRED = {"yellow": 0.2, "red": 0.5}
"""Statistical error of a critical value over its value."""
VETOED = {"yellow": 1e-3, "red": 2e-2}
"""Share of the expected events of toys that could not be drawn."""
TOYS_LOST = {"yellow": 0.0, "red": 0.05}
"""Fraction of the toys whose fit failed."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    colour: Colour
    sentence: str


def judge(facts: Facts) -> list[Finding]:
    """Look at everything; a subject without a weakness has one green finding that says what was looked at."""
    found = []
    for subject, (look, good) in SUBJECTS.items():
        weak = [Finding(subject, colour, sentence) for colour, sentence in _seen(look, facts) if colour != "green"]
        found += weak or [Finding(subject, "green", sentence) for sentence in (good(facts),) if sentence]
    return found


def _seen(look: Callable[[Facts], Found], facts: Facts) -> Found:
    """Look; what cannot be judged has failed."""
    try:
        yield from look(facts)
    except Exception as error:  # noqa: BLE001  numbers that nobody has foreseen cost their check, not the report
        yield "red", f"This cannot be judged: {reason(error)}"


def lights(findings: list[Finding]) -> dict[str, Colour]:
    """Give each subject the colour of its worst finding."""
    colours: dict[str, Colour] = {}
    for finding in findings:
        colours[finding.subject] = max(colours.get(finding.subject, "green"), finding.colour, key=ORDER.index)
    return colours


def _data(facts: Facts) -> Found:
    for sample in facts.samples:
        yield from _sample(sample)
    for name, lost in facts.subject.lost.items():
        if lost:
            share = sum(file.share for file in lost)
            yield (
                above(share, LEFT_OUT),
                (
                    f"Bad files are left out of {name}, by their size about {share:.2g} of its sum of weights; a yield that is "
                    f"not given is too low by as much: {'; '.join(file.reason for file in lost)}."
                ),
            )


def _sample(sample: Sample) -> Found:
    part, effective = min(sample.effective.items(), key=lambda item: item[1])
    yield (
        below(effective, FEW),
        (
            f"Only {effective:.0f} effective events of {sample.name} stand behind the part '{part}' "
            f"({sample.events} events in all); every number that rests on them is as uncertain as they are few."
        ),
    )
    if sample.negative:
        yield "yellow", f"{sample.negative} of {sample.events} events of {sample.name} have negative weights."


def _ratios(subject: str, facts: Facts) -> Found:
    for found in ratio_lights.findings(facts):
        if found.subject == subject:
            yield found.colour, found.sentence


def _good_ratios(subject: str, facts: Facts) -> str:
    return ratio_lights.SUBJECTS[subject].good if facts.diagnostics else ""


def _mixture(facts: Facts) -> Found:
    """Look at the value of the parameter where the mixture is farthest from a density, in the ratios' own thresholds."""
    if not facts.inference.mixture:
        return
    yellow, red = facts.subject.thresholds.normalisation
    poi, points = facts.inference.mixture["parameter"], facts.inference.mixture["points"]
    significant = [p for p in points if abs(p["value"] - 1) > 3 * p["error"]]
    if significant:
        worst = max(significant, key=lambda p: abs(p["value"] - 1))
        yield (
            above(abs(worst["value"] - 1), {"yellow": yellow, "red": red}),
            (
                f"The mixture is not normalised: at {poi} = {worst[poi]:g} its mean over the reference is "
                f"{worst['value']:.4f} ± {worst['error']:.4f}."
            ),
        )
    for p in points:
        if p["negative"]:
            yield (
                "yellow",
                f"At {poi} = {p[poi]:g} the mixture is not positive for {100 * p['negative']:.2g} % of the reference.",
            )


def _good_mixture(facts: Facts) -> str:
    if not facts.inference.mixture or not facts.inference.mixture["points"]:
        return ""
    poi, points = facts.inference.mixture["parameter"], facts.inference.mixture["points"]
    return f"The mean of the mixture over the reference is 1 within thresholds, for {poi} from {points[0][poi]:g} to {points[-1][poi]:g}."


def _fits(facts: Facts) -> Found:
    for name, fit in facts.inference.fits.items():
        if not fit["converged"]:
            walls = " and ".join(fit["on_wall"])
            why = f": {walls} ran away to {WALL:g} sigma" if walls else ""
            why = why if fit["nll"] is not None else ": -ln L is not a finite number, wherever it starts"
            yield "red", f"The fit '{name}' did not converge{why}."
        if fit["degenerate"]:
            yield "red", f"In the fit '{name}', {degeneracy.sentence(fit['degenerate'])}."
        for parameter in fit["at_bound"]:
            yield "yellow", f"In the fit '{name}', {parameter} is at its bound; take its interval from the scan."
        if fit["floored_events"]:
            yield "yellow", f"In the fit '{name}', {fit['floored_events']} events have no positive density."
    for name, scan in facts.inference.scans.items():
        for level in scan["open"]:
            missed = not scan["intervals"][level]
            yield (
                "red" if missed else "yellow",
                (
                    f"The {level} interval of '{name}' "
                    + ("holds no value: the scan misses the best fit." if missed else "leaves the scanned range.")
                ),
            )


def _belt(facts: Facts) -> Found:
    belt = facts.inference.belt
    if belt is None:
        return
    for level in belt["open"]:
        yield (
            "yellow",
            f"The {level} interval of the Neyman construction leaves its grid, or spans a value without a fit.",
        )
    worst = max(p["failed"] / (p["failed"] + p["toys"]) for p in belt["points"])
    yield (
        above(worst, TOYS_LOST),
        f"Up to {100 * worst:.1f} % of the toys at a value of the grid have a fit that failed.",
    )
    vetoed = max(p["vetoed"] for p in belt["points"])
    yield (
        above(vetoed, VETOED),
        f"Up to {100 * vetoed:.2g} % of the expected events of the belt's toys cannot be drawn.",
    )
    for level in belt["intervals"]:
        blur = max(p["critical_error"][level] / max(p["critical"][level], 1e-9) for p in belt["points"])
        yield (
            above(blur, BLURRED),
            (
                f"At {level} the critical values of the Neyman construction are uncertain by up to {100 * blur:.0f} %; "
                "ask for more intervals.toys_per_point."
            ),
        )


def _finite(facts: Facts) -> Found:
    for name, fit in facts.inference.fits.items():
        for parameter, numbers in fit["parameters"].items():
            if numbers["simulation_error"] and numbers["error"]:
                yield (
                    above(numbers["simulation_error"] / numbers["error"], FINITE),
                    (
                        f"In the fit '{name}', the finite number of simulated events alone is worth "
                        f"±{numbers['simulation_error']:.3g} on {parameter}, against a statistical error of "
                        f"{numbers['error']:.3g}; intervals do not contain it."
                    ),
                )


def _ensemble(facts: Facts) -> Found:
    if facts.inference.closure is not None:
        yield from closure_lights.networks(facts)
        return
    for name, fit in facts.inference.fits.items():
        for parameter, numbers in fit["parameters"].items():
            if numbers["ensemble_error"] and numbers["error"]:
                yield (
                    above((numbers["ensemble_error"] / numbers["error"]) ** 2, WEIGHTED),
                    (
                        f"In the fit '{name}', the fitted ensemble weights are worth ±{numbers['ensemble_error']:.3g} on {parameter}, "
                        f"against an error of {numbers['error']:.3g}; total_error, intervals of scans and limits have both, MINOS, impacts and "
                        "toys do not. Beyond the error itself it is overstated by some 20 %, and more events in split.combine are the remedy."
                    ),
                )


def _good_ensemble(facts: Facts) -> str:
    fits = facts.inference.fits.values()
    known = any(numbers["ensemble_error"] is not None for fit in fits for numbers in fit["parameters"].values())
    source = "networks" if facts.inference.closure is not None else "ensemble weights"
    return f"The error of the {source} adds little to the errors of the fits." if known else ""


def _bootstrap(facts: Facts) -> Found:
    found = facts.inference.bootstrap
    if found is None:
        return
    if found["failed"]:
        yield "yellow", f"{found['failed']} replicas have no ratios: {'; '.join(found['reasons'])}."
    for name, parameters in found["fits"].items():
        fit = facts.inference.fits[name]["parameters"]
        for parameter, numbers in parameters.items():
            if numbers["failed"]:
                yield (
                    "yellow",
                    f"In the fit '{name}', {numbers['failed']} replicas did not converge; no number has them in it.",
                )
            if numbers["total"] is not None and fit[parameter]["error"]:
                yield (
                    above(numbers["total"] / fit[parameter]["error"], SCATTERED),
                    (
                        f"In the fit '{name}', other simulated events and seeds would scatter {parameter} by {_scatter(numbers)}, "
                        f"against an error of {fit[parameter]['error']:.3g}; intervals and scans do not contain it. More "
                        "simulated events and more training.members are the remedies."
                    ),
                )


def _scatter(numbers: Mapping[str, Any]) -> str:
    return (
        f"{numbers['total']:.2g} ± {numbers['uncertainty']['total']:.1g} (simulation {numbers['simulation']:.2g}, "
        f"training {numbers['training']:.2g})"
    )


def _good_bootstrap(facts: Facts) -> str:
    found, poi = facts.inference.bootstrap, facts.subject.poi
    if found is None or found["fits"][facts.subject.headline][poi]["total"] is None:
        return ""
    numbers = found["fits"][facts.subject.headline][poi]
    return f"Other simulated events and seeds would scatter {poi} by only {_scatter(numbers)}."


def _truth(facts: Facts) -> Found:
    for poi, learned, exact in _compared(facts):
        shift = (learned["value"] - exact["value"]) / exact["error"]
        yield (
            above(abs(shift), SHIFTED),
            (
                f"On the same Asimov events the learned fit of {poi} differs from the exact one by {shift:+.2f} standard errors."
            ),
        )


def _compared(facts: Facts) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    if "exact" in facts.inference.fits and "asimov" in facts.inference.fits:
        poi = facts.subject.poi
        learned, exact = (facts.inference.fits[name]["parameters"][poi] for name in ("asimov", "exact"))
        if learned["error"] and exact["error"]:
            yield poi, learned, exact


def _toys(facts: Facts) -> Found:
    points = facts.inference.coverage["points"] if facts.inference.coverage else []
    # What these toys leave out, other ensembles, is in intervals with the ensemble error: they should cover more often. Toys with
    # other ensembles are of the method and not of these ratios, and those of one replica are not independent.
    points = [point for point in points if point["method"] in ("profile", "neyman")]
    seen: set[str] = set()
    for point in points:
        truth = ", ".join(f"{name} = {value:g}" for name, value in point["truth"].items())
        if truth not in seen:
            seen.add(truth)
            yield from _estimates(truth, point)
        if point["toys"]:
            yield _covered(truth, point, len(points))


def _covered(truth: str, point: Mapping[str, Any], tests: int) -> tuple[Colour, str]:
    held = round(point["coverage"] * point["toys"])
    p_value = corrected(float(binomtest(held, point["toys"], point["level"]).pvalue), tests)
    return below(p_value, UNLIKELY), (
        f"At {truth} the {point['method']} interval at {point['level']:g} covers in {100 * point['coverage']:.1f} ± "
        f"{100 * point['error']:.1f} % of {point['toys']} toys, p = {p_value:.2g} as one of {tests} such tests."
    )


def _estimates(truth: str, point: Mapping[str, Any]) -> Found:
    total = point["toys"] + point["failed"]
    yield (
        above(point["failed"] / total, TOYS_LOST),
        (f"At {truth} the fits of {point['failed']} of {total} toys failed; no number has them in it."),
    )
    if point["bias"] is not None and point["spread"]:
        size = max(abs(point["bias"]) - 2 * point["bias_error"], 0.0) / point["spread"]
        yield (
            above(size, SHIFTED),
            (
                f"At {truth} toys are biased by {point['bias']:+.3g} ± {point['bias_error']:.2g}, "
                f"{abs(point['bias']) / point['spread']:.2f} of their spread."
            ),
        )
    if point["pull_width"] is not None:
        excess = max(abs(point["pull_width"] - 1) - 2.5 * point["pull_width_error"], 0.0)
        yield (
            above(excess, PULLED),
            (f"At {truth} pulls have the width {point['pull_width']:.2f} ± {point['pull_width_error']:.2f}."),
        )


def _good_fits(facts: Facts) -> str:
    return f"{len(facts.inference.fits)} fits converged, away from bounds, and the intervals end within the scans."


def _good_simulation(facts: Facts) -> str:
    if "asimov" not in facts.inference.fits:
        return ""
    return "The finite number of simulated events adds little to the errors of the Asimov fit."


def _good_toys(facts: Facts) -> str:
    if not facts.inference.coverage:
        return ""
    return (
        f"Bias, pulls and coverage of {sum(len(block.t) for block in facts.inference.toys)} toys are as they should be, at "
        f"{len(facts.inference.toys)} true point{'s' * (len(facts.inference.toys) > 1)}."
    )


def _described(facts: Facts) -> Found:
    found = facts.inference.distributions
    tested = {
        name: entry
        for part in found.values()
        if isinstance(part, dict)
        for name, entry in part.items()
        if "p_value" in entry
    }
    if tested:
        name, worst = min(tested.items(), key=lambda item: item[1]["p_value"])
        p_value = corrected(worst["p_value"], len(tested))
        yield (
            below(p_value, UNLIKELY),
            (
                f"After the fit the data are not described in {name}: deviance {worst['deviance']:.0f} for {worst['ndf']} degrees "
                f"of freedom, p = {p_value:.2g} as the worst of {len(tested)} distributions."
            ),
        )


def _good_description(facts: Facts) -> str:
    shown = "observed" if facts.subject.headline == "observed" else ""
    return "After the fit the model describes every distribution of the data." if shown else ""


SUBJECTS: dict[str, tuple[Callable[[Facts], Found], Callable[[Facts], str]]] = {
    "events": (_data, lambda f: f"Every part of {len(f.samples)} samples has {FEW['yellow']:g} effective events or more."),
    **{name: (partial(_ratios, name), partial(_good_ratios, name)) for name in ratio_lights.SUBJECTS},
    "mixture": (_mixture, _good_mixture),
    **closure_lights.SUBJECTS,
    "fits": (_fits, _good_fits),
    "goodness": (_described, _good_description),
    "outside": (outside.look, outside.good),
    "simulation": (_finite, _good_simulation),
    "ensemble": (_ensemble, _good_ensemble),
    "bootstrap": (_bootstrap, _good_bootstrap),
    "truth": (_truth, lambda f: "Learned and exact fit agree." if any(_compared(f)) else ""),
    "toys": (_toys, _good_toys),
    "belt": (_belt, lambda f: "The critical values of the belt are well known." if f.inference.belt else ""),
}  # fmt: skip
"""By subject: what is looked at, and what to say if all of it is good; nothing if there was nothing to look at."""
