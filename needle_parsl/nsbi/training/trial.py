"""A look at the user's network before anything runs: can it be trained, and by which engine? A program of its own.

It runs in a child process, so that the process that submits imports neither torch nor the user's modules.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from needle_parsl import refs
from needle_parsl.analysis import Training, recommended
from needle_parsl.errors import InputError, TaskError
from needle_parsl.nsbi.data import inspection, own_code
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.jagged import Jagged
from needle_parsl.nsbi.training import engine
from needle_parsl.nsbi.training.engines import choosing, placing
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.views import MemberView, RatioEvents

EVENTS = 256
"""Events that are made up; their features are random."""
CLASSES = ("a", "b", "c")
"""That stand for the samples of a network of many."""
EPOCHS, BATCH = 2, 64
"""Of the training that is tried: long enough for the end of an epoch, a scheduler, and a second epoch."""


def look(table: Training, features: int, particles: int, physics: tuple[str, str]) -> dict[str, Any]:
    """Build a network, choose its engine, and train it with that for two short epochs.

    Args:
        table: `[training]`.
        features: How many there are.
        particles: Features of a particle; 0 without particles.
        physics: Text and path of the user's Python file.

    Returns:
        `problems`, `engine` with the `reason` why it is no faster one, and `code`: digests of the user's modules.
    """
    before = set(sys.modules)
    with own_code.watching() as opened:
        found = _looked(table, features, particles, physics)
    named = {table.architecture()[0].rpartition(":")[0]}
    return {**found, "code": inspection.digests(set(sys.modules) - before, named, opened)}


def _looked(table: Training, features: int, particles: int, physics: tuple[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {"problems": [], "engine": "", "reason": ""}
    try:
        classes = CLASSES if table.loss == "multiclass" else ()
        complete, lengths = recommended.suited(table, [EVENTS])
        with placing.blamed(table.architecture()[0]):
            settings = Settings.of(complete, features, particles, *physics, classes, lengths)
        found |= _tried(settings, _made_up(features, particles, classes))
    except (InputError, TaskError) as error:
        found["problems"] = [("training.network", line) for line in str(error).splitlines()]
    return found


def _tried(settings: Settings, events: RatioEvents) -> dict[str, Any]:
    """Choose an engine, and train.

    Raises:
        InputError: The network cannot be trained.
        TaskError: Its training has failed.
    """
    member = Member(0, 0, 1, MemberView(0, 1, 1, 0.5, 2, None))
    short = replace(settings, epochs=EPOCHS, lengths=(), patience=EPOCHS, batch_size=min(settings.batch_size, BATCH))
    choice = choosing.choose(engine.prepared(events, member, settings, 0).job)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a Trainer that is needed is said by the reason
        with placing.blamed(settings.shape.network, passed=(TaskError,)):
            trained = engine.train(events, member, short)
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
    return Events(tuple(f"x{n}" for n in range(features)), x, np.ones(EVENTS), ids, jets)


def main(output: str) -> None:
    """Read a request as JSON from standard input, and write the answer to a file."""
    request: Mapping[str, Any] = json.load(sys.stdin)
    source, path = request["physics"]
    answer = look(Training(**request["table"]), request["features"], request["particles"], (source, path))
    Path(output).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
    refs.leave()
