"""The section of the report on a search: the best settings, and how they were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from needle_parsl.analysis import catalogue, extras
from needle_parsl.nsbi.report.sections import Section, SectionCheck, SectionFigure, SectionTable
from needle_parsl.nsbi.search.design import Design
from needle_parsl.nsbi.search.trials import Trial, ranked
from needle_parsl.summary import State

SHOWN = 10
"""Trials in the table."""


class Searched(NamedTuple):
    """What a search has found."""

    trials: Sequence[Trial]
    chosen: Sequence[int]
    """Numbers of the trials that the ensemble is trained as, the best first."""
    front: Sequence[int]
    """Trials that no other one beats in all metrics."""


def section(design: Design, replicas: int, found: Mapping[str, Searched]) -> Section:
    """Show searches.

    Args:
        design: What was searched.
        replicas: Networks of each trial and ratio.
        found: By what was trained, in words.
    """
    return Section(
        title="Search",
        text=_text(design, replicas, found),
        tables=tuple(_table(design, what, one) for what, one in found.items()),
        figures=tuple(figure for what, one in found.items() for figure in _figures(design, what, one))
        if extras.here("plots")
        else (),
        checks=tuple(check for what, one in found.items() for check in _checks(design, what, one)),
    )


def _text(design: Design, replicas: int, found: Mapping[str, Searched]) -> str:
    metrics = ", ".join(f"{name} ({catalogue.SEARCH_METRICS[name].meaning})" for name in design.metrics)
    count = sum(len(one.trials) for one in found.values())
    rungs = f" {_rungs(design)}" if len(design.lengths) > 1 else ""
    return (
        f"{count} trials with {replicas} networks of each ratio, chosen by {catalogue.SAMPLERS[design.sampler].meaning}. The objective is the mean of {metrics} over replicas "
        f"{'minus' if catalogue.SEARCH_METRICS[design.metrics[0]].larger and len(design.metrics) == 1 else 'plus'} {design.risk:g} times its standard error.{rungs} "
        "Errors are without what replicas of the same fold have in common in all trials. The networks of the trials that were chosen are the first of the ensemble. "
        "study.db in the folder of the search opens in Optuna."
    )


def _rungs(design: Design) -> str:
    """Say how many trials go from rung to rung: `9, 3, 1 trials at 1, 3, 9 epochs (3 times)`."""
    kinds = Counter((bracket.counts, bracket.epochs) for bracket in design.brackets)
    said = [
        f"{_listed(counts)} trials at {_listed(epochs)} epochs ({'once' if times == 1 else f'{times} times'})"
        for (counts, epochs), times in kinds.items()
    ]
    return f"Rungs: {'; '.join(said)}."


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _table(design: Design, what: str, found: Searched) -> SectionTable:
    """List the best trials, those that were trained to their end first."""
    complete = [trial for trial in found.trials if trial.state == "complete"]
    others = [trial for trial in found.trials if trial.state != "complete"]
    order = [
        *ranked(complete, design.metrics, design.risk, design.pick),
        *ranked(others, design.metrics, design.risk, design.pick),
    ]
    order.sort(key=lambda trial: trial.number not in found.chosen)
    names = [name for name, _ in design.space]
    columns = ("trial", *names, *(one for name in design.metrics for one in (name, "error")), "epochs", "state")
    rows = tuple(_row(design, trial, names, found) for trial in order[:SHOWN])
    return SectionTable(
        columns,
        rows,
        f"The first {len(rows)} of {len(found.trials)} trials of {what}: what was chosen, then those trained to their end, then the others. Errors are standard errors of the mean over replicas.",
    )


def _row(design: Design, trial: Trial, names: Sequence[str], found: Searched) -> tuple[str | int | float | None, ...]:
    rung = trial.rungs[-1]
    numbers = [number for name in design.metrics for number in (rung.metrics[name].value, rung.metrics[name].error)]
    settings = [
        value if not isinstance(value, bool) else str(value).lower()
        for value in (trial.settings[name] for name in names)
    ]
    state = "chosen" if trial.number in found.chosen else trial.state
    return trial.number, *settings, *numbers, rung.epochs or None, state


def _checks(design: Design, what: str, found: Searched) -> Iterator[SectionCheck]:
    """Say which trials failed, and whether the winner is at an end of a range."""
    failed = [trial for trial in found.trials if trial.state == "failed"]
    for name in design.metrics:
        rungs = [trial.rungs[-1] for trial in found.trials if trial.rungs and trial.state != "failed"]
        if lacking := sum(rung.metrics[name].value is None for rung in rungs):
            yield SectionCheck(
                None,
                "warning",
                f"In {lacking} of {len(found.trials)} trials of {what} {name} could not be computed; they count as the worst.",
            )
    if failed:
        first = failed[0]
        state: State = "warning" if len(failed) * 2 < len(found.trials) else "fail"
        yield SectionCheck(
            None,
            state,
            f"{len(failed)} of {len(found.trials)} trials of {what} have failed, such as {first.words()}: {first.rungs[-1].reason}.",
        )
    best = next(trial for trial in found.trials if trial.number == found.chosen[0])
    edges = [name for name, axis in design.space if not axis.choices and best.settings[name] in axis.extremes()]
    if edges:
        yield SectionCheck(
            None,
            "warning",
            f"The best trial of {what} is at an end of the range of {', '.join(edges)}: a wider range may hold better ones.",
        )
    if not failed and not edges:
        yield SectionCheck(None, "pass", f"All trials of {what} have trained, and the best one is within its ranges.")


def _figures(design: Design, what: str, found: Searched) -> Iterator[SectionFigure]:
    from needle_parsl.nsbi.report.figures import search as drawing  # noqa: PLC0415  matplotlib, an extra

    for draw, caption in drawing.FIGURES:
        figure = draw(design, found.trials, found.chosen, found.front)
        if figure is not None:
            yield SectionFigure.of(figure, f"{what}: {caption}" if what else caption)
