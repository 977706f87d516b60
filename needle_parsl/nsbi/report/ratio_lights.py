"""Which ratios are good and which are weak, by subject, with thresholds that the user can set in `[diagnostics]`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from needle_parsl.analysis import Diagnostics
from needle_parsl.nsbi.report.colours import ORDER, Colour, above, below, corrected
from needle_parsl.nsbi.report.gathering import Facts

Numbers = Mapping[str, Any]
"""The content of `diagnostics.json`."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, of one ratio."""

    ratio: str
    subject: str
    colour: Colour
    sentence: str


@dataclass(frozen=True)
class Subject:
    """A question to all ratios."""

    look: Callable[[str, Numbers, Diagnostics, int], Iterator[tuple[Colour, str]]]
    """Takes name and numbers of a ratio, the thresholds, and the number of ratios."""
    good: str
    """What to say if none is weak."""


def findings(facts: Facts) -> list[Finding]:
    """Ask everything of every ratio; of a subject without weakness there is nothing."""
    limits, count = facts.subject.thresholds, len(facts.diagnostics)
    return [
        Finding(name, subject, colour, sentence)
        for subject, asked in SUBJECTS.items()
        for name, numbers in facts.diagnostics.items()
        for colour, sentence in asked.look(name, numbers, limits, count)
        if colour != "green"
    ]


def by_ratio(facts: Facts) -> dict[str, dict[str, Any]]:
    """Give each ratio the colour of its worst finding, with the subjects that are red, and those that are yellow."""
    found: dict[str, dict[str, Any]] = {n: {"light": "green", "red": [], "yellow": []} for n in facts.diagnostics}
    for finding in findings(facts):
        own = found[finding.ratio]
        own["light"] = max(own["light"], finding.colour, key=ORDER.index)
        if finding.subject not in own[finding.colour]:
            own[finding.colour].append(finding.subject)
    return found


def _limits(pair: tuple[float, float]) -> dict[str, float]:
    return {"yellow": pair[0], "red": pair[1]}


def _training(name: str, numbers: Numbers, limits: Diagnostics, _: int) -> Iterator[tuple[Colour, str]]:
    failed = [m for m in numbers["training"] if m["reason"]]
    share = len(failed) / max(len(numbers["training"]), 1)
    for member in failed:
        yield (
            above(share, _limits(limits.failed)),
            f"Not trained: {name}, member {member['member']}, fold {member['fold']}: {member['reason']}.",
        )


def _weights(name: str, numbers: Numbers, _limits: Diagnostics, _: int) -> Iterator[tuple[Colour, str]]:
    if numbers["fallback"]:
        yield (
            "red",
            (
                f"The ratio {name} is combined by mean_log instead of wifi, without an error of its weights: {numbers['fallback']}. "
                "Give more events to split.combine, or reduce negative weights."
            ),
        )


def _normalisation(name: str, numbers: Numbers, limits: Diagnostics, _: int) -> Iterator[tuple[Colour, str]]:
    value, error = numbers["normalisation"]["value"], numbers["normalisation"]["error"]
    if abs(value - 1) > 3 * error:
        yield (
            above(abs(value - 1), _limits(limits.normalisation)),
            f"The ratio {name} is not normalised: its mean over the reference is {value:.4f} ± {error:.4f}.",
        )


def _closure(name: str, numbers: Numbers, limits: Diagnostics, ratios: int) -> Iterator[tuple[Colour, str]]:
    tested = {column: n for column, n in numbers["closure"].items() if n["p_value"] is not None}
    if not tested:
        return
    column, worst = min(tested.items(), key=lambda item: item[1]["p_value"])
    p_value = corrected(worst["p_value"], len(tested) * ratios)
    yield (
        below(p_value, _limits(limits.p_value)),
        (
            f"The reweighted reference of {name} does not look like the numerator in {column}: chi2 = {worst['chi2']:.0f} for "
            f"{worst['ndf']} degrees of freedom, p = {p_value:.2g} as the worst of all columns."
        ),
    )


def _distances(name: str, numbers: Numbers, limits: Diagnostics, _: int) -> Iterator[tuple[Colour, str]]:
    column, worst = max(numbers["distances"].items(), key=lambda item: item[1]["wasserstein"])
    yield (
        above(worst["wasserstein"], _limits(limits.wasserstein)),
        (
            f"The reweighted reference of {name} is {worst['wasserstein']:.2g} standard deviations away from the numerator in "
            f"{column}, by the Wasserstein distance."
        ),
    )


def _two_sample(name: str, numbers: Numbers, limits: Diagnostics, ratios: int) -> Iterator[tuple[Colour, str]]:
    found = numbers["two_sample"]
    if corrected(found["p_value"], ratios) < limits.p_value[0]:
        yield (
            above(found["auc"], _limits(limits.auc)),
            (
                f"A small network tells the reweighted reference of {name} from the numerator: area under its curve "
                f"{found['auc']:.3f} ± {found['error']:.3f}."
            ),
        )


def _calibration(name: str, numbers: Numbers, limits: Diagnostics, ratios: int) -> Iterator[tuple[Colour, str]]:
    found = numbers["calibration"]
    p_value = corrected(found["p_value"], ratios)
    yield (
        below(p_value, _limits(limits.p_value)),
        (
            f"The ratio {name} is not calibrated: chi2 = {found['chi2']:.0f} for {found['ndf']} bins, p = {p_value:.2g} as "
            f"the worst of all ratios; the expected calibration error is {found['ece']:.2g}."
        ),
    )


def _overtraining(name: str, numbers: Numbers, limits: Diagnostics, ratios: int) -> Iterator[tuple[Colour, str]]:
    found = numbers["overtraining"]
    side = min(("numerator", "denominator"), key=lambda s: float(found[s]["p_value"]))
    p_value = corrected(found[side]["p_value"], 2 * ratios)
    yield (
        below(p_value, _limits(limits.p_value)),
        (
            f"The ratio {name} knows its training events: ln r of the {side} differs from that of test events by "
            f"{found[side]['distance']:.3f} in the distribution function, p = {p_value:.2g}; the loss is "
            f"{found['loss']['train']:.4f} and {found['loss']['test']:.4f}."
        ),
    )


def _support(name: str, numbers: Numbers, limits: Diagnostics, _: int) -> Iterator[tuple[Colour, str]]:
    yield (
        above(numbers["support"], _limits(limits.support)),
        f"{100 * numbers['support']:.1f} % of the numerator of {name} is where the reference has fewer than 10 effective events.",
    )


SUBJECTS = {
    "training": Subject(_training, "All networks have trained."),
    "weights": Subject(_weights, "Members are combined as was asked for."),
    "normalisation": Subject(_normalisation, "The mean of every ratio over its reference is 1 within errors."),
    "closure": Subject(_closure, "Every reweighted reference looks like its numerator."),
    "distances": Subject(_distances, "Every reweighted reference is near its numerator in each column."),
    "classifier": Subject(_two_sample, "No small network tells a reweighted reference from its numerator."),
    "calibration": Subject(_calibration, "Every ratio is calibrated within errors."),
    "overtraining": Subject(_overtraining, "No ratio knows its training events from others."),
    "support": Subject(_support, "The reference has events wherever numerators have them."),
}
"""In the order of the report."""
