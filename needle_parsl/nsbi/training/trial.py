"""A look at the user's network before anything runs: can it be trained, and by which engine? A program of its own.

It runs in a child process, so that the process that submits imports neither torch nor the user's modules.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from needle_parsl import refs
from needle_parsl.analysis import Training, recommended
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import inspection, own_code
from needle_parsl.nsbi.data.jagged import Jagged
from needle_parsl.nsbi.training.engines import choosing
from needle_parsl.nsbi.training.members import Job, Settings
from needle_parsl.nsbi.training.views import Batchable

EVENTS = 256
"""Events of the batch that is tried; their features are random."""
CLASSES = ("a", "b", "c")
"""That stand for the samples of a network of many."""


def look(table: Training, features: int, particles: int, physics: tuple[str, str]) -> dict[str, Any]:
    """Build a network and train it with one batch.

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
        settings = Settings.of(complete, features, particles, *physics, classes, lengths)
        choice = choosing.choose(Job(settings, 1, *(_events(features, particles, len(classes) or 2) for _ in range(2))))
        found |= {"engine": choice.engine, "reason": choice.reason}
    except InputError as error:
        found["problems"] = [("training.network", line) for line in str(error).splitlines()]
    return found


def _events(features: int, particles: int, classes: int) -> Batchable:
    """Make events up."""
    generator = torch.Generator().manual_seed(1)
    label = (torch.arange(EVENTS) % classes).float()
    values = torch.randn(2 * EVENTS, particles, generator=generator).numpy()
    jets = Jagged(values, np.arange(EVENTS + 1, dtype=np.int64) * 2) if particles else None
    return Batchable(torch.randn(EVENTS, features, generator=generator), label, torch.ones(EVENTS), jets)


def main(output: str) -> None:
    """Read a request as JSON from standard input, and write the answer to a file."""
    request: Mapping[str, Any] = json.load(sys.stdin)
    source, path = request["physics"]
    answer = look(Training(**request["table"]), request["features"], request["particles"], (source, path))
    Path(output).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
    refs.leave()
