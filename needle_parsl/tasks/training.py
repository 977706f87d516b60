"""The tasks that train: a pack, a piece of one whose workers were lost, and what the pieces have left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from needle_parsl import files, initial_weights, plan, rundir
from needle_parsl.analysis import Training, recommended
from needle_parsl.nsbi.training import packs
from needle_parsl.nsbi.training import train as engine
from needle_parsl.nsbi.training.embeddings import Shelf
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.packs import Pack, Trained
from needle_parsl.nsbi.training.ratio_events import MemberView, RatioEvents
from needle_parsl.nsbi.training.state import Offer, State
from needle_parsl.nsbi.training.stored_events import StoredEvents
from needle_parsl.plan import Task, specs
from needle_parsl.processes.stopping import TRAINING
from needle_parsl.records import Record, writing
from needle_parsl.tasks import checkpoint, inputs


def train(root: str, task: Task, *_before: Record) -> Record:
    """Train the members of a pack, from where their kept state stands."""
    with TRAINING, writing(root, task) as out:
        training = _training(root, task)
        made = training.pack(training.trained(checkpoint.PackCheckpoint(root, task).offer))
        packs.write(out.path, made)
    checkpoint.forget(root, task)
    return replace(out.record(root), engine=_engines(made))


def piece(root: str, task: Task) -> None:
    """Train some members of a pack that has lost its workers, and leave them in the kept state."""
    with TRAINING:
        pack_checkpoint = checkpoint.PackCheckpoint(root, task)
        pack_checkpoint.keep(State(_training(root, task).trained(pack_checkpoint.offer)))


def gather(root: str, task: Task, reason: str, *reasons: str) -> Record:
    """Write a pack of what its pieces have left; the members that are not there are lost.

    Args:
        root: The run directory.
        task: The whole pack.
        reason: Why it could not be trained as a whole.
        reasons: Why each piece ended early; empty for one that did not.
    """
    why = next(filter(None, reasons), "" if reasons else reason)
    with TRAINING, writing(root, task) as out:
        training = _training(root, task)
        there = {(m.member, m.fold): m for m in training.start.finished}
        lost = [m for m in training.members if (m.member, m.fold) not in there]
        there |= {(m.member, m.fold): engine.untrained(m, training.settings.shape, f"lost: {why}") for m in lost}
        made = training.pack([there[m.member, m.fold] for m in training.members])
        packs.write(out.path, made)
    if not lost:
        checkpoint.forget(root, task)
    failed = f"{len(lost)} of {len(training.members)} members are lost: {why}" if lost else ""
    return replace(out.record(root), reason=failed, engine=_engines(made))


def _engines(pack: Pack) -> str:
    """Name what trained the members."""
    return ", ".join(sorted({m.engine for m in pack.members if m.engine}))


VALIDATED = 20_000
"""Events of its fold by which a member is validated, about: all members together decide on the length of a training."""


@dataclass(frozen=True)
class _Training:
    """What training a pack takes, in the words of `nsbi.training`."""

    events: RatioEvents | StoredEvents
    members: list[Member]
    settings: Settings
    start: State
    shelf: Shelf

    def trained(self, offer: Offer) -> tuple[Trained, ...]:

        return engine.train_pack(self.events, self.members, self.settings, self.start, offer, self.shelf)

    def pack(self, members: Sequence[Trained]) -> Pack:

        transform = self.events.transform
        if not self.settings.shape.particles:
            transform = replace(transform, particles=None)
        return packs.Pack(self.settings.shape, transform, tuple(members))


def _training(root: str, task: Task) -> _Training:

    spec = task.of(specs.Train)
    events = inputs.training_events(root, spec)
    jets, code = events.transform.particles, task.code
    source = (code.source, code.path) if code else ("", "")
    table, lengths = _suited(spec, list(events.counts().values()))
    classes = [density.name for density in spec.ratio.samples] if isinstance(spec.ratio, specs.Classes) else []
    settings = Settings.of(table, events.features, jets.outputs if jets else 0, *source, classes, lengths)
    if spec.initial:
        settings = replace(settings, initial=initial_weights.read(spec.initial))
    if spec.yields:
        expected = inputs.yields_of(root, spec.yields)
        settings = replace(settings, log_yields=tuple(math.log(value) for value in expected))
        events = replace(events, shares=dict(enumerate(value / sum(expected) for value in expected)))
    folds, count = spec.splitting.folds, sum(events.counts().values())
    own = min(1.0, VALIDATED * folds / max(count, 1)) if lengths else 0.0
    members = [_member(spec, member, own) for member in spec.members]
    memory = spec.training.memory_mib * 2**20
    shelf = Shelf(Path(root) / rundir.EMBEDDINGS, files.atomic, plan.digest(task.code), memory)
    return _Training(events, members, settings, checkpoint.kept(root, task), shelf)


def _suited(spec: specs.Train, counts: list[int]) -> tuple[Training, tuple[int, ...]]:
    """Complete `[training]` for the events that there are."""
    varied = spec.ratio.varied if isinstance(spec.ratio, specs.Classes) else spec.ratio.numerator.nuisance
    folds, crossed = spec.training.folds or 1, bool(spec.splitting.folds)
    part = (1 - 1 / folds if folds > 1 else 1.0) * (1.0 if crossed else 1 - spec.training.validation)
    return recommended.suited(spec.training, counts, varied=bool(varied), part=part, crossed=crossed)


def _member(spec: specs.Train, member: specs.MemberSpec, own: float) -> Member:

    view = MemberView(
        fold=member.fold,
        folds=spec.training.folds or 1,
        fold_salt=spec.fold_salt,
        validation=spec.training.validation,
        validation_salt=spec.validation_salt,
        bootstrap_salt=member.bootstrap,
        replica=spec.replica,
        own=own,
    )
    return Member(
        member=member.member, fold=member.fold, seed=member.seed, view=view, own=member.own, said=member.settings
    )
