"""Checks of the samples: enough events, variations that can be meant, no event in two parts, outputs that can be ln r."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from needle_parsl.nsbi.report.checks.states import Found, above, below, limits
from needle_parsl.nsbi.report.gathering import Facts, SampleRow
from needle_parsl.nsbi.statistics.results import InjectionTests
from needle_parsl.summary import State

FEW = {"warning": 1000.0, "fail": 100.0}
"""Effective events of a part of a sample."""
LEFT_OUT = {"warning": -1.0, "fail": 0.05}
"""Fraction of a sample's bytes in bad files that were left out; any is a warning."""
NEGATIVE = {"warning": 0.0, "fail": 0.3}
"""Fraction of events with negative weights."""
LEAKED = {"warning": 1e-4, "fail": 2e-3}
"""Fraction of the test events that are among the training events, by content."""
TRIVIAL = 0.1
"""Fraction of repeated contents within one part from which on equal contents say nothing."""
ROUNDING = 1e-5
"""How far numbers of 32 bits may be beyond the ends of a probability."""
MOVED = 5e-3
"""Relative change of a yield that counts as one."""
ALIKE, SHAPED = 0.5, 0.05
"""Correlation of ln of both shape responses, and their size, from which on they change the shape in the same direction."""


def events(facts: Facts) -> Found:
    """Look at the numbers of events."""
    for sample in facts.samples:
        yield from _sample(sample, counted=facts.binned)
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


def _sample(sample: SampleRow, *, counted: bool) -> Found:
    part, effective = min(sample.effective.items(), key=lambda item: item[1])
    where = "there" if len(set(sample.effective.values())) == 1 else f"in the part '{part}'"
    if not counted:  # the uncertainty from few events in bins is part of the fit
        yield (
            below(effective, FEW),
            (
                f"Only {effective:.0f} effective events of {sample.name} are {where} ({sample.events} events in all); "
                "results using this sample are statistically limited."
            ),
        )
    if sample.negative:
        share = sample.negative / sample.events
        yield (
            above(share, NEGATIVE),
            f"{sample.negative} of {sample.events} events of {sample.name} have negative weights"
            + ("; is the sign of the weights right?" if share > NEGATIVE["fail"] else "."),
        )


def good_events(facts: Facts) -> str:
    """Say that all is well."""
    if facts.binned:
        return f"No event of {len(facts.samples)} samples in the regions has a negative weight."
    return f"Every part of {len(facts.samples)} samples has {FEW['warning']:g} effective events or more."


def variations(facts: Facts) -> Found:
    """Look at yields and shapes of varied samples: one side, both on one side, large, swapped, identical to the nominal sample."""
    samples = {sample.name: sample for sample in facts.samples}
    for process, nuisance, sides in _varied(facts):
        named = {side: f"{process}.{nuisance}.{side}" for side in sides}
        same = [side for side, name in named.items() if name in samples and _identical(samples[name], samples[process])]
        for side in same:
            yield (
                "fail",
                f"The variation {named[side]} is identical to the nominal sample: the same features, weights and yields; is it the right file?",
            )
        if not same:
            yield from _yields(facts, f"{process}.{nuisance}", sides)
            yield from _shapes(facts, f"{process}.{nuisance}", tuple(named.values()))
    for process, joint, relative in _together(facts):
        name = f"{process}.{joint}"
        if name in samples and _identical(samples[name], samples[process]):
            yield "fail", f"The joint variation {name} is identical to the nominal sample; is it the right file?"
        else:
            yield from _yields(facts, process, {joint: relative})


def _together(facts: Facts) -> Iterator[tuple[str, str, float]]:
    """List joint variations, such as `jes=1,met=1`, with the logarithms of their relative yields."""
    yields = facts.dataset.yields
    for name, value in yields.items():
        process, _, joint = name.partition(".")
        if "=" in joint and yields.get(process, 0) > 0 and value > 0:
            yield process, joint, float(np.log(value / yields[process]))


def _varied(facts: Facts) -> Iterator[tuple[str, str, dict[str, float]]]:
    """List varied samples with the logarithms of their relative yields by side."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    yields = facts.dataset.yields
    for name, value in yields.items():
        process, _, rest = name.partition(".")
        nuisance, _, side = rest.rpartition(".")
        if nuisance and yields.get(process, 0) > 0 and value > 0:
            found.setdefault((process, nuisance), {})[side] = float(np.log(value / yields[process]))
    yield from ((*key, sides) for key, sides in found.items())


def _identical(one: SampleRow, other: SampleRow) -> bool:
    facts = [(row.events, row.sum_of_weights, row.effective, row.content) for row in (one, other)]
    return facts[0] == facts[1]


def _yields(facts: Facts, name: str, sides: Mapping[str, float]) -> Found:
    shown = ", ".join(f"{side} {np.exp(value):.3g}" for side, value in sides.items())
    largest = max(abs(value) for value in sides.values())
    state = above(largest, limits(facts.subject.thresholds.variation))
    yield (
        state,
        f"The yields of {name} are {shown} times the nominal one; are its weights those of the nominal sample, with the same cross section?",
    )
    if set(sides) != {"up", "down"} or state == "fail":
        return
    up, down = sides["up"], sides["down"]
    moved = [abs(value) > MOVED for value in (up, down)]
    if all(moved) and up * down > 0:
        yield (
            "warning",
            f"Both variations of {name} move its yield in the same direction: {shown} times the nominal one.",
        )
    elif all(moved) and up < 0 < down:
        yield "warning", f"Up lowers the yield of {name} and down raises it ({shown}); are the two swapped?"
    elif any(moved) and not all(moved) and max(abs(up), abs(down)) > 4 * MOVED:
        yield "warning", f"Only one variation of {name} moves its yield: {shown} times the nominal one."


def _shapes(facts: Facts, name: str, pair: tuple[str, ...]) -> Found:
    """Correlate ln of both shape responses over the events of the process: of opposite variations they are opposite."""
    if len(pair) < 2 or any(side not in facts.dataset.ratios for side in pair):
        return
    data = facts.dataset
    process = name.partition(".")[0]
    rows = np.flatnonzero(data.sample == data.samples.index(process)) if process in data.samples else np.arange(0)
    up, down = (data.ratios[side][rows] for side in pair)
    if len(rows) > 10 and min(up.std(), down.std()) > SHAPED and (alike := float(np.corrcoef(up, down)[0, 1])) > ALIKE:
        yield (
            "warning",
            f"Both variations of {name} change the shape in the same direction (correlation {alike:.2f}); a symmetric error has no meaning.",
        )


def good_variations(facts: Facts) -> str:
    """Say that all is well."""
    count = len(list(_varied(facts))) + len(list(_together(facts)))
    return f"Yields and shapes of {count} variations move to both sides, by plausible sizes." if count else ""


def leaks(facts: Facts) -> Found:
    """Look for events that are in the training and in the test part, by their content."""
    for sample in () if facts.binned else facts.samples:
        if sample.repeated > TRIVIAL:
            yield (
                "no power",
                (
                    f"{100 * sample.repeated:.0f} % of the test events of {sample.name} have the content of another one: whether events were trained on "
                    "cannot be seen by content; name the columns of the event's id in split.id."
                ),
            )
        elif sample.leaked:
            state: State = above(sample.leaked, LEAKED)
            yield (
                state,
                (
                    f"{100 * sample.leaked:.3g} % of the test events of {sample.name} are among its training events, with the same content; "
                    "are files given twice, or events copied? split.id keeps all versions of an event in one part."
                ),
            )


def good_leaks(facts: Facts) -> str:
    """Say that all is well."""
    return "" if facts.binned else f"No test event of {len(facts.samples)} samples is among the training events."


def outputs(facts: Facts) -> Found:
    """Look for values that cannot be ln r: those of a probability lie between 0 and 1, before they are normalised."""
    scales = _scales(facts.inference.closure)
    for name, values in facts.dataset.ratios.items():
        slope, offset = scales.get(name, (1.0, 0.0))
        low = (float(values.min(initial=np.inf)) - offset) / slope
        high = (float(values.max(initial=-np.inf)) - offset) / slope
        if low >= -ROUNDING and high <= 1 + ROUNDING and high - low > 1e-3:
            yield (
                "fail",
                f"All that the networks give for {name} lies between {low:.3f} and {high:.3f}: do they give a probability where the logit is expected?",
            )


def _scales(closure: InjectionTests | None) -> dict[str, tuple[float, float]]:
    """Give the slope and offset with which ratios were normalised."""
    groups = closure.normalisation.values() if closure else ()
    return {name: (own.slope, own.offset) for group in groups for name, own in group.ratios.items() if own.slope}


def good_outputs(facts: Facts) -> str:
    """Say that all is well."""
    return (
        "Network outputs are logits, not probabilities: values lie below 0 or above 1." if facts.dataset.ratios else ""
    )
