"""The tasks that train: a pack, a piece of one whose workers were lost, and what the pieces have left."""

from __future__ import annotations

from dataclasses import replace

from needle_parsl.nsbi.training import packs
from needle_parsl.nsbi.training import train as engine
from needle_parsl.nsbi.training.packs import Pack
from needle_parsl.nsbi.training.state import State
from needle_parsl.plan import Task, specs
from needle_parsl.processes.stopping import TRAINING
from needle_parsl.records import Record, writing
from needle_parsl.tasks import checkpoint, found_settings
from needle_parsl.tasks.pack_training import PackTraining, prepare


def train(root: str, task: Task, *_before: Record) -> Record:
    """Train the members of a pack, from where their kept state stands."""
    with TRAINING, writing(root, task) as out:
        training = _training(root, task)
        made = training.pack(training.trained(checkpoint.of_pack(root, task).offer))
        packs.write(out.path, made)
    checkpoint.forget(root, task)
    return replace(out.record(root), engine=_engines(made))


def piece(root: str, task: Task) -> None:
    """Train some members of a pack that has lost its workers, and leave them in the kept state."""
    with TRAINING:
        pack_checkpoint = checkpoint.of_pack(root, task)
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


def _training(root: str, task: Task) -> PackTraining:
    """Prepare a pack, as a search has found it where there was one, and from where its kept state stands."""
    spec = task.of(specs.Train)
    found = found_settings.of(root, spec)
    made = prepare(root, spec, task.code, settings=found.settings, lengths=found.lengths, said=found.said)
    kept, known = checkpoint.kept(root, task), found_settings.networks(root, spec, found)
    own = {(m.member, m.fold): m for m in (*known, *kept.finished)}
    return replace(made, start=State(tuple(own.values()), kept.running))
