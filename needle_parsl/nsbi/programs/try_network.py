"""A look at the user's network before anything runs: can it be trained, and by which engine? A program of its own.

It runs in a child process, so that the process that submits imports neither torch nor the user's modules.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from needle_parsl import refs
from needle_parsl.analysis import Training, catalogue, recommended
from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.data import own_code
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.jagged import Jagged
from needle_parsl.nsbi.programs import inspect_inputs
from needle_parsl.nsbi.training import initial, losses, modules, networks, randomness, train, trained_part, user_errors
from needle_parsl.nsbi.training.initial import Initial
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.ratio_events import MemberView, RatioEvents

EVENTS = 256
"""Events that are made up; their features are random."""
CLASSES = ("a", "b", "c")
"""That stand for the samples of a network of many."""
FROZEN = "[training] frozen: "
"""How sentences about that key begin, wherever it is found wrong."""
_MEMBER = Member(
    member=0,
    fold=0,
    seed=1,
    view=MemberView(fold=0, folds=1, fold_salt=1, validation=0.5, validation_salt=2, bootstrap_salt=None),
)
EPOCHS, BATCH = 2, 64
"""Of the training that is tried: long enough for the end of an epoch, a scheduler, and a second epoch."""


@dataclass(frozen=True)
class Start:
    """Weights that members are to start from."""

    path: str
    """As the analysis says it."""
    files: Mapping[str, Sequence[str]]
    """By what is learned; those under the empty name are for anything."""
    learned: Mapping[str, Sequence[str]]
    """What the analysis learns, each with its classes, if it is a network of many."""
    features: Sequence[str]
    """Of the analysis."""
    members: Sequence[int] = (0,)
    """Numbers of those that start so; each starts from that of its number in an earlier run."""


def look(
    table: Training, features: int, particles: int, physics: tuple[str, str], start: Start | None = None
) -> dict[str, Any]:
    """Build a network, choose its engine, and train it with that for two short epochs.

    Args:
        table: `[training]`.
        features: How many there are.
        particles: Features of a particle; 0 without particles.
        physics: Text and path of the user's Python file.
        start: Weights that it starts from.

    Returns:
        `problems`, each with the key in `[training]`; `notes`; `engine` with the `reason` why it is no faster one; `code`: digests of the
        user's modules.
    """
    before = set(sys.modules)
    with own_code.watching() as opened:
        tried = (_looked(own, features, particles, physics, start) for own in _sizes(table, start))
        first = next(tried)
        found = next((one for one in tried if not one["problems"]), first) if first["problems"] else first
    named = {reference.rpartition(":")[0] for reference in (table.architecture()[0], *table.own_code())}
    return {**found, "code": inspect_inputs.digests(set(sys.modules) - before, named, opened)}


def _unable(
    values: Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]],
    features: int,
    particles: int,
    physics: tuple[str, str],
) -> list[tuple[str, str]]:
    """Say which values of a search make networks that cannot be trained: each is built, and its first batch computed.

    Args:
        values: Key, value in words, and the tables in which it is tried; one that works is enough.
        features: How many there are.
        particles: Features of a particle; 0 without particles.
        physics: Text and path of the user's Python file.
    """
    found = []
    for name, value, tables in values:
        wrong = [_fails(Training(**table), features, particles, physics) for table in tables]
        if all(wrong):
            found.append((name, f"has {value}, with which {wrong[0]}"))
    return found


def _fails(table: Training, features: int, particles: int, physics: tuple[str, str]) -> str:
    """Say why a network cannot be trained; nothing if it can."""
    complete, lengths = recommended.suited(table, [EVENTS])
    classes = CLASSES if catalogue.loss(table.loss).classes else ()
    try:
        with user_errors.blamed(table.architecture()[0]):
            settings = Settings.of(complete, features, particles, *physics, classes, lengths)
        trained_part.prepare(_made_up(features, particles, classes), _MEMBER, settings)
    except (InputError, TaskError) as error:
        return str(error)
    return ""


def _sizes(table: Training, start: Start | None) -> list[Training]:
    """List the networks that a training may have: without `layers` their number depends on its events, which are not known here."""
    if not start or table.own_networks():
        return [table]
    sizes = [recommended.Size(events) for events in (EVENTS, recommended.LARGE)]
    return [replace(table, layers=n) for n in dict.fromkeys(recommended.complete(table, size).layers for size in sizes)]


def _looked(
    table: Training, features: int, particles: int, physics: tuple[str, str], start: Start | None
) -> dict[str, Any]:
    found: dict[str, Any] = {"problems": [], "notes": [], "engine": "", "reason": ""}
    complete, lengths = recommended.suited(table, [EVENTS])

    def settings(classes: Sequence[str]) -> Settings:
        with user_errors.blamed(table.architecture()[0]):
            return Settings.of(complete, features, particles, *physics, classes, lengths)

    key = "network"
    try:
        if table.loss and table.loss not in catalogue.LOSSES:
            key = "loss"
            losses.tried(refs.located(table.loss, *physics))
            key = "network"
        classes = CLASSES if catalogue.loss(table.loss).classes else ()
        usual = settings(classes)
        if start:
            key = "initial"
            given, found["notes"] = _given(start, settings)
            usual, key = replace(usual, initial=None if classes else given), "network"
        found |= _tried(usual, _made_up(features, particles, classes)) if table.tried() else {}
    except (InputError, TaskError) as error:
        found["problems"] = [_placed(line, key) for line in str(error).splitlines()]
    return found


def _placed(line: str, key: str) -> tuple[str, str]:
    """Give a sentence with its key: that which it begins with, or another."""
    for name, beginning in (("frozen", FROZEN), ("loss", modules.LOSS)):
        if line.startswith(beginning):
            return name, line.removeprefix(beginning)
    return key, line


def _given(start: Start, settings: Callable[[Sequence[str]], Settings]) -> tuple[Initial | None, list[str]]:
    """Give networks the weights that they are to start from; tell what was taken of them.

    Raises:
        InputError: They are none, or those of other networks.
    """
    notes: dict[str, list[str]] = {}
    given = None
    for name, classes in start.learned.items():
        files = start.files.get("") or start.files.get(name)
        if not files:
            continue
        given = initial.read(files)
        if given.features and list(given.features) != list(start.features):
            theirs, ours = ", ".join(given.features), ", ".join(start.features)
            raise InputError(f"{given.path}: was trained with the features {theirs}; those of this analysis are {ours}")
        shape = settings(classes).shape
        for member in start.members if len(given.weights) > 1 else start.members[:1]:
            with randomness.forked():
                taken = given.only(member, 0).put(networks.make(shape), shape)
            notes.setdefault(str(taken), []).append(name)
    if given is None:
        has, wanted = initial.listed(list(start.files)), initial.listed(list(start.learned))
        raise InputError(f'"{start.path}" has networks of {has}, and none of {wanted}')
    without = [name for name in start.learned if not (start.files.get("") or start.files.get(name))]
    found = [f"{start.path}: {taken}" for taken in notes]
    return given.only(start.members[0], 0), found + (
        [f"{start.path}: has no networks of {initial.listed(without)}, which start at random"] if without else []
    )


def _tried(settings: Settings, events: RatioEvents) -> dict[str, Any]:
    """Choose an engine, and train.

    Raises:
        InputError: The network cannot be trained.
        TaskError: Its training has failed.
    """
    short = replace(settings, epochs=EPOCHS, lengths=(), patience=EPOCHS, batch_size=min(settings.batch_size, BATCH))
    choice = trained_part.prepare(events, _MEMBER, settings).choice
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a Trainer that is needed is said by the reason
        with user_errors.blamed(settings.shape.network, passed=(TaskError,)):
            trained = train.train(events, _MEMBER, short)
    if trained.reason and not trained.reason.startswith("diverged"):  # random features prove nothing of a real loss
        raise TaskError(f"{settings.shape.network}: {trained.reason}")
    return {"engine": choice.engine, "reason": choice.reason}


def _made_up(features: int, particles: int, classes: Sequence[str]) -> RatioEvents:
    """Make events up, with two particles each."""
    if not classes:
        return RatioEvents.build(_events(0, features, particles), _events(1, features, particles))
    return RatioEvents.of_classes({name: _events(n, features, particles) for n, name in enumerate(classes)})


def _events(number: int, features: int, particles: int) -> Events:
    generator = np.random.default_rng(number)
    x = generator.normal(size=(EVENTS, features)).astype(np.float32)
    values = generator.normal(size=(2 * EVENTS, particles)).astype(np.float32)
    jets = Jagged(values, np.arange(EVENTS + 1, dtype=np.int64) * 2) if particles else None
    ids = np.arange(number * EVENTS, (number + 1) * EVENTS, dtype=np.uint64)
    return Events(names=tuple(f"x{n}" for n in range(features)), x=x, weight=np.ones(EVENTS), id=ids, particles=jets)


def main(output: str) -> None:
    """Read a request as JSON from standard input, and write the answer to a file."""
    request: Mapping[str, Any] = json.load(sys.stdin)
    source, path = request["physics"]
    start = Start(**request["initial"]) if request["initial"] else None
    refs.note_calls(output)
    table = Training(**request["table"])
    with refs.alone(next(iter(table.own_code()), "")):
        columns = request["features"], request["particles"]
        answer = look(table, *columns, (source, path), start)
        answer["space"] = [] if answer["problems"] else _unable(request.get("further", ()), *columns, (source, path))
    Path(output).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
    refs.leave()
