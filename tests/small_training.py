"""Members of a small network, and events of two Gaussians to train them on."""

from __future__ import annotations

import numpy as np

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.training import networks, ratio_events
from needle_parsl.nsbi.training.members import Member, Settings

SHAPE = networks.NetworkShape("mlp", features=2, layers=1, nodes=8)
SETTINGS = Settings(SHAPE, "carl", "adamw", 1e-2, "constant", 1e-4, 256, 4, 10)


def gaussian(n: int, mean: float, seed: int, start: int = 0) -> Events:
    x = np.random.default_rng(seed).normal(mean, 1, (n, 2)).astype(np.float32)
    return Events(names=("a", "b"), x=x, weight=np.ones(n), id=np.arange(start, start + n, dtype=np.uint64))


DATA = ratio_events.RatioEvents.build(gaussian(2000, 0.5, 1), gaussian(3000, 0.0, 2, start=10_000))


def member(number: int = 0, fold: int = 0, folds: int = 1, bootstrap: int | None = 11) -> Member:
    view = ratio_events.MemberView(fold, folds, 5, 0.2, 6, bootstrap)
    return Member(number, fold, 100 + number, view)
