"""Members whose weights are fitted, of one feature, and events for them."""

from __future__ import annotations

import numpy as np

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import composing
from needle_parsl.nsbi.training import networks, packs
from needle_parsl.nsbi.transforms.transform import Transform

RNG = np.random.default_rng(8)
SHAPE = networks.NetworkShape(network="mlp", features=1, layers=1, nodes=4)
P = 4 + 4 + 4 + 1
MEMBERS = tuple(
    packs.Trained(
        member=m,
        fold=0,
        seed=m,
        weights=RNG.normal(0, 0.6, P).astype(np.float32),
        history=np.ones((1, 2)),
        best_epoch=0,
        reason="",
    )
    for m in range(2)
)
PACK = packs.Pack(SHAPE, Transform.none("a"), MEMBERS)
HOW = composing.How("wifi", 1.0)
N = 3000


def events(rng: np.random.Generator, mean: float, first: int, count: int = N) -> Events:
    ids = np.arange(first, first + count, dtype=np.uint64)
    return Events(
        names=("x",), x=rng.normal(mean, 1, (count, 1)).astype(np.float32), weight=rng.uniform(0.5, 1.5, count), id=ids
    )
