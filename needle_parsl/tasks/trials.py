"""The task that trains the trials of one pack of a search: what they go on from, what they leave, and what is measured of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import h5py

from needle_parsl.analysis import applied
from needle_parsl.errors import NeedleError
from needle_parsl.files import read_json
from needle_parsl.nsbi.search import combined, metrics
from needle_parsl.nsbi.search.combined import Combination
from needle_parsl.nsbi.search.metrics import Fitted
from needle_parsl.nsbi.search.replicas import replicas
from needle_parsl.nsbi.search.steps import NUMBERS, Step, Work, stack
from needle_parsl.nsbi.search.trials import Rung, measured
from needle_parsl.nsbi.training import packs
from needle_parsl.nsbi.training.members import Member
from needle_parsl.nsbi.training.packs import Trained
from needle_parsl.nsbi.training.ratio_events import RatioEvents
from needle_parsl.nsbi.training.stored_events import StoredEvents
from needle_parsl.nsbi.training.train import train_until
from needle_parsl.plan import Task, specs
from needle_parsl.processes.stopping import TRAINING, StoppedError
from needle_parsl.records import Record, writing
from needle_parsl.tasks import inputs, trial_states
from needle_parsl.tasks.checkpoint import Checkpoint
from needle_parsl.tasks.pack_training import PackTraining, prepare
from needle_parsl.tasks.trial_states import TrialState

Values = dict[str, list[float]]
"""Each metric of each replica."""


@dataclass(frozen=True)
class _PackOfTrials:
    """What trials of a pack have in common."""

    root: str
    task: Task
    subject: specs.Train
    events: RatioEvents | StoredEvents


def train(root: str, task: Task, *_before: Record) -> Record:
    """Train the trials of a pack to the end of their rungs, and measure them."""
    spec = task.of(specs.Trials)
    works = Step.from_json(read_json(inputs.path(root, "search", spec.step))).packs[spec.place]
    with TRAINING, writing(root, task) as out, h5py.File(out.path, "w") as file:
        found: dict[int, dict[str, list[list[float]]]] = {work.trial: {} for work in works}
        reasons: dict[int, str] = {}
        for subject in spec.subjects if works else ():
            for work, (values, reason) in _subject(root, task, subject, works, file):
                for name, numbers in values.items():
                    found[work.trial].setdefault(name, []).append(numbers)
                reasons[work.trial] = reasons.get(work.trial) or reason
        for work in works:
            rung = _rung(task, work, found[work.trial], reasons[work.trial])
            file.require_group(str(work.trial)).attrs["rung"] = json.dumps(rung.to_json())
    trial_states.forget(root, task, works)
    return out.record(root)


def _rung(task: Task, work: Work, values: Mapping[str, list[list[float]]], reason: str) -> Rung:
    """Give what was measured of a trial: of each metric the mean over ratios, replica by replica."""
    joined = {name: [sum(own) / len(own) for own in zip(*each, strict=True)] for name, each in values.items()}
    known = {} if reason else {name: measured(own) for name, own in joined.items()}
    return Rung(epochs=work.epochs, pack=task.name, metrics=known, reason=reason)


def _subject(
    root: str, task: Task, subject: specs.Train, works: Sequence[Work], file: h5py.File
) -> list[tuple[Work, tuple[Values, str]]]:
    """Train all trials for one ratio; give each metric of each, and why one has failed."""
    pack = _PackOfTrials(root, task, subject, inputs.kept_training_events(root, subject))
    kept = Checkpoint(lambda _: None)
    found = []
    for group in alike(subject, works):
        for work, (trained, training, reason) in zip(group, _trained(pack, group, kept), strict=True):
            place = file.require_group(f"{work.trial}/{subject.ratio.name}")
            found.append((work, _measured(pack, work, place, trained, training, reason)))
    return found


def alike(subject: specs.Train, works: Sequence[Work]) -> list[list[Work]]:
    """Group trials that are trained together: those of one shape, which differ in numbers that an accelerator's stack holds for each network.

    Networks of the user's may hold such numbers themselves, and weights to start from belong to numbers of members: they are trained trial by trial.
    """
    groups: dict[object, list[Work]] = {}
    for work in works:
        own = applied.apply(subject.training, work.settings)
        single = own.own_networks() or subject.initial
        groups.setdefault(work.trial if single else stack(work), []).append(work)
    return list(groups.values())


_Outcome = tuple[Sequence[Trained], PackTraining | None, str]
"""Networks of a trial, how they were trained, and why that was not possible."""


def _trained(pack: _PackOfTrials, works: Sequence[Work], kept: Checkpoint) -> list[_Outcome]:
    """Train trials of one shape; one by one where together they fail."""
    try:
        return _together(pack, works, kept)
    except StoppedError:
        raise
    except NeedleError as error:  # settings that do not go together, such as heads that do not divide a width
        if len(works) > 1:
            return [one for work in works for one in _trained(pack, [work], kept)]
        return [((), None, str(error))]


def _together(pack: _PackOfTrials, works: Sequence[Work], kept: Checkpoint) -> list[_Outcome]:
    own = [TrialState(pack.root, pack.task, work, pack.subject) for work in works]
    first = works[0]
    training = prepare(pack.root, pack.subject, pack.task.code, pack.events, first.settings, first.lengths)
    members = [_member(member, place, work) for place, work in enumerate(works) for member in training.members]
    kept.write = lambda state: trial_states.keep(own, state)
    start = trial_states.start(own)
    trained, going = train_until(
        training.events, members, training.settings, start, first.epochs, training.shelf, kept.offer
    )
    if first.goes_on:
        kept.keep(going)
    else:
        kept.offer(lambda: going)
    count = len(training.members)
    networks = [trial_states.numbered(one, -(k // count)) for k, one in enumerate(trained)]
    return [(networks[k * count : (k + 1) * count], training, "") for k in range(len(works))]


def _member(member: Member, place: int, work: Work) -> Member:
    """Give a member of a trial a number of its own among those that are trained with it."""
    own = tuple((name, float(value)) for name, value in work.settings.items() if name in NUMBERS)
    return replace(member, member=trial_states.number(member.member, place), own=own if place else member.own)


def _measured(
    pack: _PackOfTrials,
    work: Work,
    group: h5py.Group,
    trained: Sequence[Trained],
    training: PackTraining | None,
    reason: str,
) -> tuple[Values, str]:
    """Write the networks of a trial, and measure them; give why it has failed, too."""
    if training is None:
        return {}, reason
    packs.put(group.create_group("networks"), trained)
    group.attrs["shape"] = json.dumps(asdict(training.settings.shape))
    if failed := next((one.reason for one in trained if one.reason), ""):
        return {}, failed
    names, how = pack.task.of(specs.Trials).metrics, _combination(pack.task, work)
    if set(names) == {"val_loss"}:
        return {"val_loss": [float(one.history[one.best_epoch, 1]) for one in trained]}, ""
    others = how is not None or "spread" in names
    made = replicas(training.events, training.members, training.settings, trained, others=others)
    fitted = _fitted(pack)
    try:
        return (combined.measure(names, made, fitted, how) if how else metrics.measure(names, made, fitted)), ""
    except NeedleError as error:  # such as losses that are no weights
        return {}, str(error)


def _combination(task: Task, work: Work) -> Combination | None:
    """Give how a trial combines its networks, where that is searched."""
    own = task.of(specs.Trials).combined
    return combined.of_settings(work.settings, *own) if own else None


def _fitted(pack: _PackOfTrials) -> Fitted | None:
    spec, ratio = pack.task.of(specs.Trials), pack.subject.ratio
    if spec.fitted is None:
        return None
    assert isinstance(ratio, specs.Classes)
    return Fitted(
        model=spec.fitted.model,
        poi=spec.fitted.poi,
        classes=tuple(density.name for density in ratio.samples),
        yields={density.name: expected for density, expected in inputs.shares(pack.root, spec.fitted.samples)},
        networks=spec.fitted.networks,
    )
