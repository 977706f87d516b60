"""The tasks that decide a search: a step, its end, and its section of the report. They load no torch."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence

from needle_parsl.analysis import catalogue
from needle_parsl.errors import TaskError
from needle_parsl.files import read_json, write_json
from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.report import search as report
from needle_parsl.nsbi.search import costs, steps, storage
from needle_parsl.nsbi.search.design import Design
from needle_parsl.nsbi.search.found import Chosen, Found
from needle_parsl.nsbi.search.steps import Step, Work
from needle_parsl.nsbi.search.trials import Rung, Trial, front
from needle_parsl.plan import Task, specs
from needle_parsl.records import Record, writing
from needle_parsl.tasks import inputs

STUDY = "study.db"
"""What Optuna opens."""


def decide(root: str, task: Task, *_before: Record) -> Record:
    """Decide a step of a search, or end it."""
    if isinstance(task.spec, specs.Best):
        return _end(root, task, task.spec)
    spec = task.of(specs.Suggest)
    with writing(root, task) as out:
        trials = _measured(root, spec.before, spec.measured)
        found, going = steps.advance(spec.search, trials, spec.step)
        works = steps.work(spec.search, going)
        done = [trial.rungs[-1].epochs if trial.rungs else 0 for trial in going]
        sizes = [_cost(spec.subjects, *one) for one in zip(works, done, strict=True)]
        step = Step(
            step=spec.step,
            trials=tuple(found),
            packs=steps.packed(works, sizes, spec.packs, stacked=spec.stacked),
            steps=spec.search.steps,
            best=steps.best(spec.search, found),
        )
        write_json(out.path, step.to_json())
        storage.write(out.path.parent / STUDY, spec.search, found)
    return out.record(root)


def _measured(root: str, before: str, names: Sequence[str]) -> list[Trial]:
    """Give all trials so far, with what packs have measured of them."""
    trials = Step.from_json(read_json(inputs.path(root, "search", before))).trials if before else ()
    found: dict[int, Rung] = {}
    for name in names:
        with hdf5.opened(inputs.path(root, "trials", name), "pack of trials") as file:
            found |= {int(trial): Rung.from_json(json.loads(group.attrs["rung"])) for trial, group in file.items()}
    return steps.after(trials, found)


def _cost(subjects: Sequence[specs.Train], work: Work, done: int) -> float:
    """Estimate what a trial costs in this rung, after the epochs that are done."""
    return sum(costs.cost(one.training, work.settings, work.epochs - done) for one in subjects)


def _end(root: str, task: Task, spec: specs.Best) -> Record:
    """Choose the settings of the ensemble."""
    with writing(root, task) as out:
        trials = steps.ended(spec.search, _measured(root, spec.before, spec.measured))
        best = steps.winners(spec.search, trials)
        if len(best) < spec.search.taken:
            raise TaskError(_none_left(spec.search, trials, len(best)))
        chosen = tuple(_chosen(spec, trial) for trial in best)
        points = front(trials, spec.search.metrics, spec.search.risk) if len(spec.search.metrics) > 1 else best[:1]
        found = Found(chosen=chosen, front=tuple(trial.number for trial in points), trials=tuple(trials))
        write_json(out.path, found.to_json())
        storage.write(out.path.parent / STUDY, spec.search, trials, whole=True)
    return out.record(root)


def _chosen(spec: specs.Best, trial: Trial) -> Chosen:
    ends = spec.search.brackets[trial.bracket].epochs[
        : len(trial.rungs)
    ]  # of what ended early where nothing else is left, as far as it was trained
    lengths = ends if ends[-1] else ()
    return Chosen(
        trial=trial.number, settings=trial.settings, lengths=lengths, pack=trial.rungs[-1].pack, words=trial.words()
    )


def _none_left(search: Design, trials: Sequence[Trial], left: int) -> str:
    """Say that too few trials can be taken, and why: each reason once, with how often."""
    reasons = Counter(alike(trial.rungs[-1].reason) for trial in trials if trial.state == "failed")
    for name in search.metrics:
        able = [trial for trial in trials if trial.state != "failed" and trial.rungs]
        if lacking := sum(trial.rungs[-1].metrics[name].value is None for trial in able):
            metric = catalogue.SEARCH_METRICS[name]
            reasons[f"{name} could not be computed, {metric.lacking or WITHOUT[metric.fitted]}"] = lacking
    said = "; ".join(f"{count} trials: {reason}" for reason, count in reasons.most_common())
    return f"of {len(trials)} trials {left or 'none'} can be taken, and the ensemble needs {search.taken}: {said}"


WITHOUT = {
    True: "since the fit did not converge: networks have learned too little of the parameter (a longer first rung, larger learning rates), or there are too few events",
    False: "since a fold has too few effective events for it: choose another metric, fewer folds or more events",
}
"""Why a metric is no number, for those that fit a parameter and the others."""


def alike(reason: str) -> str:
    """Give what reasons have in common that differ in numbers."""
    return re.sub(r"\d[\d.e+-]*", "N", reason)


def section(root: str, task: Task, *_before: Record) -> Record:
    """Write the section of the report."""
    spec = task.of(specs.SearchSection)
    with writing(root, task) as out:
        found = {what: Found.from_json(read_json(inputs.path(root, "search", name))) for what, name in spec.searches}
        shown = {
            what: report.Searched(one.trials, tuple(own.trial for own in one.chosen), one.front)
            for what, one in found.items()
        }
        write_json(out.path, report.section(spec.search, spec.replicas, shown).to_json())
    return out.record(root)
