"""How long trainings take on this machine, for `needle plan --probe`: events made up are trained on. A program of its own.

It runs in a child process, so that the process that submits does not import torch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from needle_parsl import refs
from needle_parsl.analysis import Training, catalogue, recommended
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.jagged import Jagged
from needle_parsl.nsbi.training import state, train
from needle_parsl.nsbi.training.members import Member, Settings
from needle_parsl.nsbi.training.ratio_events import MemberView, RatioEvents

BATCHES, EPOCHS, MEMBERS = 8, 2, 2
"""That are timed."""
FEWEST, MOST = 2_000, 100_000
"""Events, whatever the size of a batch."""


def seconds(table: Training, features: int, particles: int, physics: tuple[str, str]) -> float:
    """Measure what an event costs a member in an epoch, on one core: with cross-entropy, the shorter of two trainings.

    Args:
        table: `[training]`.
        features: How many there are.
        particles: Features of a particle; 0 without particles.
        physics: Text and path of the user's Python file.

    Returns:
        Seconds per event, epoch and member; the mean over events for training and for validation.
    """
    torch.set_num_threads(1)
    short, _ = recommended.suited(
        replace(table, loss=catalogue.TWO_CLASSES, epochs=EPOCHS, patience=EPOCHS, metrics=()), [MOST]
    )
    settings = Settings.of(short, features, particles, *physics)
    half = min(max(BATCHES * (short.batch_size or 1), FEWEST), MOST) // 2
    events = RatioEvents.build(_events(half, 0, features, particles), _events(half, half, features, particles))
    members = [
        Member(
            member=n,
            fold=0,
            seed=n,
            view=MemberView(
                fold=0, folds=1, fold_salt=1, validation=table.validation, validation_salt=2, bootstrap_salt=None
            ),
        )
        for n in range(MEMBERS)
    ]

    def once() -> float:
        began = time.perf_counter()
        train.train_pack(events, members, settings, state.State(), state.never)
        return time.perf_counter() - began

    once()  # compiles, and chooses the engine
    return min(once() for _ in range(2)) / (2 * half * EPOCHS * MEMBERS)


def _events(count: int, first: int, features: int, particles: int) -> Events:
    """Make events up, with two particles each."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(count, features)).astype(np.float32)
    jets = None
    if particles:
        values = generator.normal(size=(2 * count, particles)).astype(np.float32)
        jets = Jagged(values, np.arange(count + 1, dtype=np.int64) * 2)
    names = tuple(f"x{n}" for n in range(features))
    return Events(
        names=names, x=x, weight=np.ones(count), id=np.arange(first, first + count, dtype=np.uint64), particles=jets
    )


def main(output: str) -> None:
    """Read a request as JSON from standard input, and write the answer to a file."""
    request: Mapping[str, Any] = json.load(sys.stdin)
    source, path = request["physics"]
    refs.note_calls(output)
    table = Training(**request["table"])
    with refs.alone(next(iter(table.own_networks()), "")):
        measured = seconds(table, request["features"], request["particles"], (source, path))
    Path(output).write_text(json.dumps({"seconds": measured}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
    refs.leave()
