"""Time members behind a frozen backbone: its outputs computed once, beside the same in every step; one line of JSON.

python scripts/bench_frozen.py             # 8 members of 20 epochs on 20,000 events, about 10 minutes
python scripts/bench_frozen.py --quick     # 4 members of 10 epochs on 6,000 events, about a minute
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from measuring import alternate, line, ratio  # type: ignore[import-not-found]  # scripts find what stands beside them

PHYSICS = """
from torch import nn


class Network(nn.Module):
    def __init__(self, features):
        super().__init__()
        inner = [layer for _ in range(3) for layer in (nn.Linear(256, 256), nn.GELU())]
        self.backbone = nn.Sequential(nn.Linear(features, 256), nn.GELU(), *inner, nn.Linear(256, 64))
        self.head = nn.Sequential(nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, x):
        return self.head(self.backbone(x)).squeeze(-1)
"""
ARMS = ("once", "every step")


def run(arm: str, members: int, epochs: int, events: int) -> dict[str, Any]:
    """Train a pack in one of the two ways."""
    import torch

    from needle_parsl.analysis import Training
    from needle_parsl.nsbi.data.events import Events
    from needle_parsl.nsbi.training import initial, networks, ratio_events, state, train
    from needle_parsl.nsbi.training.members import Member, Settings

    def sample(first: int, mean: float) -> Events:
        x = np.random.default_rng(first).normal(mean, 1, (events // 2, 16)).astype(np.float32)
        ids = np.arange(first, first + len(x), dtype=np.uint64)
        return Events(names=tuple(f"x{n}" for n in range(16)), x=x, weight=np.ones(len(x)), id=ids)

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    data = ratio_events.RatioEvents.build(sample(0, 0.1), sample(10**6, 0.0))
    table = Training(network="physics.py:Network", epochs=epochs, patience=epochs, batch_size=512, frozen=("backbone",))
    how = Settings.of(table, 16, 0, PHYSICS, "/physics.py")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.pt")
        torch.save(networks.build(how.shape, 1).state_dict(), path)
        how = Settings(**{**vars(how), "initial": initial.read([str(path)])})
    pack = [
        Member(
            member=k,
            fold=0,
            seed=k,
            view=ratio_events.MemberView(
                fold=0, folds=1, fold_salt=5, validation=0.2, validation_salt=6, bootstrap_salt=None
            ),
        )
        for k in range(members)
    ]
    begun = () if arm == "once" else tuple({"name": m.name, "engine": "sequential"} for m in pack)
    train.train_pack(data, pack[:1], Settings(**{**vars(how), "epochs": 1}), state.State((), begun[:1]), state.never)
    started = time.process_time()
    trained = train.train_pack(data, pack, how, state.State((), begun), state.never)
    seconds = time.process_time() - started
    return {"cpu_s": seconds, "engine": trained[0].engine, "loss": float(trained[0].history[-1, 1])}


def main() -> None:
    """Run both arms in turn, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arm")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.arm:
        print(json.dumps(run(given.arm, *((4, 10, 6_000) if given.quick else (8, 20, 20_000)))))
        return
    found = alternate(__file__, ARMS, given.rounds, *(["--quick"] if given.quick else []))
    once, every = ([one["cpu_s"] for one in found[arm]] for arm in ARMS)
    faster = {"frozen": (ratio(every, once), 5.0, "the same members, the frozen part in every step")}
    print(line("frozen", ("torch",), faster, found))


if __name__ == "__main__":
    main()
