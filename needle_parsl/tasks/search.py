"""The tasks of a search: decide a step, train its trials pack by pack, and end it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import h5py

from needle_parsl import files, rundir
from needle_parsl.analysis import catalogue
from needle_parsl.errors import NeedleError, TaskError
from needle_parsl.files import read_json, write_json
from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.report import search as report
from needle_parsl.nsbi.search import costs, metrics, steps, storage
from needle_parsl.nsbi.search.design import Design
from needle_parsl.nsbi.search.metrics import Fitted
from needle_parsl.nsbi.search.replicas import replicas
from needle_parsl.nsbi.search.steps import Step, Work
from needle_parsl.nsbi.search.trials import Rung, Trial, front, measured
from needle_parsl.nsbi.training import packs, state
from needle_parsl.nsbi.training.ratio_events import RatioEvents
from needle_parsl.nsbi.training.state import State
from needle_parsl.nsbi.training.stored_events import StoredEvents
from needle_parsl.nsbi.training.train import train_until
from needle_parsl.plan import Task, digest, specs
from needle_parsl.processes.stopping import TRAINING
from needle_parsl.records import Record, writing
from needle_parsl.tasks import inputs
from needle_parsl.tasks.found_settings import Chosen, Found
from needle_parsl.tasks.pack_training import prepare

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
            packs=steps.packed(works, sizes, spec.packs),
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


def train(root: str, task: Task, *_before: Record) -> Record:
    """Train the trials of a pack to the end of their rungs, and measure them."""
    spec = task.of(specs.Trials)
    step = Step.from_json(read_json(inputs.path(root, "search", spec.step)))
    works = step.packs[spec.place]
    with TRAINING, writing(root, task) as out, h5py.File(out.path, "w") as file:
        found: dict[int, dict[str, list[list[float]]]] = {work.trial: {} for work in works}
        reasons: dict[int, str] = {}
        for subject in spec.subjects if works else ():
            events = inputs.training_events(root, subject)
            for work in works:
                group = file.require_group(f"{work.trial}/{subject.ratio.name}")
                values, reason = _trial(root, task, subject, work, events, group)
                for name, numbers in values.items():
                    found[work.trial].setdefault(name, []).append(numbers)
                reasons[work.trial] = reasons.get(work.trial) or reason
        for work in works:
            rung = _rung(task, work, found[work.trial], reasons[work.trial])
            file[str(work.trial)].attrs["rung"] = json.dumps(rung.to_json())
    return out.record(root)


def _rung(task: Task, work: Work, values: Mapping[str, list[list[float]]], reason: str) -> Rung:
    """Give what was measured of a trial: of each metric the mean over ratios, replica by replica."""
    joined = {name: [sum(own) / len(own) for own in zip(*each, strict=True)] for name, each in values.items()}
    known = {} if reason else {name: measured(own) for name, own in joined.items()}
    return Rung(epochs=work.epochs, pack=task.name, metrics=known, reason=reason)


def _trial(
    root: str, task: Task, subject: specs.Train, work: Work, events: RatioEvents | StoredEvents, group: h5py.Group
) -> tuple[dict[str, list[float]], str]:
    """Train the networks of a trial for one ratio; give each metric of each, and why one has failed."""
    spec = task.of(specs.Trials)
    try:
        training = prepare(root, subject, task.code, events, work.settings, work.lengths)
        start = _start(root, task, work, subject)
        trained, going = train_until(
            training.events, training.members, training.settings, start, work.epochs, training.shelf
        )
    except NeedleError as error:  # settings that do not go together, such as heads that do not divide a width
        return {}, str(error)
    packs.put(group.create_group("networks"), trained)
    _keep(root, task, work, subject, going)
    group.attrs["shape"] = json.dumps(asdict(training.settings.shape))
    if reason := next((one.reason for one in trained if one.reason), ""):
        return {}, reason
    made = replicas(training.events, training.members, training.settings, trained, others="spread" in spec.metrics)
    return metrics.measure(spec.metrics, made, _fitted(root, spec, subject)), ""


def _path(root: str, pack: str, work: Work, subject: specs.Train) -> Path:
    """Give where the state of a trial is kept: random states differ from process to process, so that it is no output."""
    return Path(root) / rundir.TRIAL_STATES / f"{pack}-{work.trial}-{subject.ratio.name}.h5"


def _key(pack: str, work: Work, subject: specs.Train) -> str:
    """Say what a state is that of: of the pack by its key, which says what code and events it was made from."""
    return digest([pack, subject, work.settings, work.lengths])


def _keep(root: str, task: Task, work: Work, subject: specs.Train, going: State) -> None:
    """Keep what the next rung goes on from."""
    with files.atomic(_path(root, task.name, work, subject)) as temporary:
        state.write(temporary, going, _key(task.key, work, subject))


def _start(root: str, task: Task, work: Work, subject: specs.Train) -> State:
    """Give where a trial goes on; from the start, to the same result, where its state is not there any more, or that of a run with another code."""
    path = _path(root, work.begun, work, subject)
    if not work.begun or not path.exists():
        return State()
    known = (state.read(path, _key(before, work, subject)) for before in task.after)
    return next((found for found in known if found), State())


def _fitted(root: str, spec: specs.Trials, subject: specs.Train) -> Fitted | None:
    if spec.fitted is None:
        return None
    assert isinstance(subject.ratio, specs.Classes)
    return Fitted(
        model=spec.fitted.model,
        poi=spec.fitted.poi,
        classes=tuple(density.name for density in subject.ratio.samples),
        yields={density.name: expected for density, expected in inputs.shares(root, spec.fitted.samples)},
        networks=spec.fitted.networks,
    )


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
