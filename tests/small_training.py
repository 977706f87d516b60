"""Members of a small network, and events of two Gaussians to train them on."""

from __future__ import annotations

import numpy as np

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.training import networks, ratio_events
from needle_parsl.nsbi.training.members import Member, Settings

SHAPE = networks.NetworkShape(network="mlp", features=2, layers=1, nodes=8)
SETTINGS = Settings(
    shape=SHAPE,
    loss="carl",
    optimizer="adamw",
    learning_rate=1e-2,
    schedule="constant",
    weight_decay=1e-4,
    batch_size=256,
    epochs=4,
    patience=10,
)


def gaussian(n: int, mean: float, seed: int, start: int = 0) -> Events:
    x = np.random.default_rng(seed).normal(mean, 1, (n, 2)).astype(np.float32)
    return Events(names=("a", "b"), x=x, weight=np.ones(n), id=np.arange(start, start + n, dtype=np.uint64))


DATA = ratio_events.RatioEvents.build(gaussian(2000, 0.5, 1), gaussian(3000, 0.0, 2, start=10_000))


def member(number: int = 0, fold: int = 0, folds: int = 1, bootstrap: int | None = 11) -> Member:
    view = ratio_events.MemberView(
        fold=fold, folds=folds, fold_salt=5, validation=0.2, validation_salt=6, bootstrap_salt=bootstrap
    )
    return Member(member=number, fold=fold, seed=100 + number, view=view)
