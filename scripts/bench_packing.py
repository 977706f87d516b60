"""Measure training beside lightning.Trainer and the rate of matrix products: `bench_packing.py [--quick]`, one JSON line.

`T1`: job S (`packing_job.py`) and wider networks, against Lightning in the same warm process with its usual loader; `T2`:
with a loader of whole batches. `any`: a user's module, by the engine `rows`; `mlp`: needle's network, by the engine
`native`. `T3`: share of the rate of float32 matrix products of the same shape, without validation. `T4`: against a process
per network. `T2.softmax`, `T2.dropout`: a step with three classes, or with dropout 0.1, over one without, 3 x 64. `T7`: writing the state of a pack. All in processor time, arms in turn; ratios are medians of paired samples.

`--networks N` trains N networks of job S by `needle run` on two worker processes, start-up included: `T5`, wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import torch
from measuring import ONE_THREAD, line, ratio  # type: ignore[import-not-found]  # scripts find what stands beside them
from packing_job import Work, by_engine, by_lightning, cpu, job, network, quiet  # type: ignore[import-not-found]  # likewise

PACKAGES = ("torch", "lightning", "numba")
SHAPES = {"h64": (64, 3, 5), "h128": (128, 4, 2), "h256": (256, 4, 1)}
"""Nodes, hidden layers and epochs."""
WIDTHS = {name: (nodes, layers) for name, (nodes, layers, _) in SHAPES.items()}
LARGE = {"h512": (512, 4, 1), "h570": (570, 4, 1)}
"""The last has a million weights."""
VARIANTS: dict[str, dict[str, Any]] = {"logit": {}, "softmax": {"classes": 3}, "dropout": {"dropout": 0.1}}
HERE = Path(__file__).parent


def native(trained: Any) -> Callable[[list[Any]], Any]:
    """Prove that compiled code trains a network; give what makes its engine."""
    from needle_parsl.nsbi.training.engines.native import Native, proven

    plan = proven(trained)
    assert plan
    return lambda jobs: Native(jobs, plan)


def engines(work: Work) -> dict[str, Callable[[], Any]]:
    """Give the arms: each trains one network."""
    from needle_parsl.nsbi.training import modules
    from needle_parsl.nsbi.training.engines.sequential import MemberEngine

    trained = job(work, 1)
    compiled = native(trained)
    build = modules.build

    def users(jobs: list[Any]) -> Any:
        modules.build = lambda *_: network(work)
        try:
            return MemberEngine(jobs)
        finally:
            modules.build = build

    return {
        "lightning": lambda: by_lightning(work, 1, whole=False),
        "lightning_whole_batches": lambda: by_lightning(work, 1, whole=True),
        "rows": lambda: by_engine(users, trained),
        "native": lambda: by_engine(compiled, trained),
    }


def trainings(rounds: int, shapes: dict[str, tuple[int, int, int]]) -> dict[str, Any]:
    """Train networks of several widths by each arm in turn: milliseconds per network."""
    found: dict[str, Any] = {}
    for name, (nodes, layers, epochs) in shapes.items():
        arms = engines(Work(nodes, layers, epochs=epochs))
        for train in arms.values():
            train()  # warm
        samples: dict[str, list[float]] = {arm: [] for arm in arms}
        for _ in range(rounds):
            for arm, run in arms.items():
                samples[arm].append(round(cpu(run), 2))
        found[name] = samples
    return found


def products(nodes: int) -> Callable[[], Any]:
    """Give forward products of a layer, 1024 events at a time."""
    x, weights, out = torch.randn(1024, nodes), torch.randn(nodes, nodes), torch.empty(1024, nodes)

    def run() -> None:
        for _ in range(max(1, 2**23 // nodes**2)):
            torch.mm(x, weights.t(), out=out)

    return run


def rates(rounds: int, widths: dict[str, tuple[int, int]], batch_size: int = 1024) -> dict[str, Any]:
    """Compare the rate of training steps with that of products: GFLOP/s of both, in turn."""
    found: dict[str, Any] = {}
    for name, (nodes, layers) in widths.items():
        work = Work(nodes, layers, batch_size, epochs=1, events=4096)
        trained = job(work, 1)
        arithmetic = native(trained)([trained])
        order = trained.fitting.order(torch.Generator().manual_seed(0))
        run, peak = products(nodes), 2.0 * 1024 * nodes**2 * max(1, 2**23 // nodes**2)
        times = max(1, int(2e9 / work.operations))
        pairs = []
        for _ in range(rounds):
            ours = cpu(lambda: [arithmetic.train([order]) for _ in range(times)])  # noqa: B023  called at once
            pairs.append((work.operations * times / ours / 1e6, peak / cpu(run) / 1e6))
        found[name] = np.round(pairs[1:], 1).tolist()
    return found


def steps(rounds: int) -> dict[str, list[float]]:
    """Train a network with one logit, with three classes, and with dropout, in turn: milliseconds per step, without validation."""
    work, times = Work(events=8192), 12
    arms: dict[str, Callable[[], Any]] = {}
    for name, own in VARIANTS.items():
        trained = job(work, 1, **own)
        arithmetic, order = native(trained)([trained]), trained.fitting.order(torch.Generator().manual_seed(0))
        arms[name] = lambda a=arithmetic, o=order: [a.train([o]) for _ in range(times)]  # type: ignore[misc]  # mypy knows no defaults of lambdas
    samples: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, run in arms.items():
            samples[name].append(round(cpu(run) / (times * work.events / work.batch_size), 4))
    return {name: own[1:] for name, own in samples.items()}


def processes(rounds: int) -> list[float]:
    """Train with a process per network: milliseconds of processor time."""
    found = []
    for seed in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [sys.executable, str(HERE / "packing_job.py"), str(seed), str(Path(folder) / "done")],
                check=True, capture_output=True, env={**os.environ, **ONE_THREAD},
            )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(round(1e3 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime), 1))
    return found


def checkpoints(rounds: int) -> list[float]:
    """Write the state of a pack of 32 networks of job S, all but one finished: milliseconds of processor time."""
    from needle_parsl.nsbi.training.state import State, write

    trained = job(Work(epochs=1), 1)
    arithmetic = native(trained)([trained])
    course = by_engine(lambda _: arithmetic, trained)
    ended = course.trained(lambda: arithmetic.weights(0), "native")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            state = State((ended,) * 31, ({**course.described(), "arithmetic": arithmetic.describe(0)},))
            path = Path(folder) / f"{number}.h5"
            found.append(round(cpu(lambda: write(path, state, "key")), 2))  # noqa: B023  called at once
    return found


def run(networks: int) -> dict[str, Any]:
    """Train networks of job S by `needle run` on two worker processes."""
    spent: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("analysis.toml", ANALYSIS), ("physics.py", PHYSICS)):
            (Path(folder) / name).write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "needle_parsl", "run", "--site", "local-htex", "--until", "train", "--set", f"training.members={networks}", "analysis.toml"]  # fmt: skip
        load, began = os.getloadavg()[0], time.perf_counter()
        with psutil.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, env={**os.environ, **ONE_THREAD}) as started:
            while started.poll() is None:
                for process in [started, *started.children(recursive=True)]:
                    try:
                        spent[process.pid] = sum(process.cpu_times()[:2])
                    except psutil.NoSuchProcess:
                        continue
                time.sleep(0.2)
        wall = time.perf_counter() - began
        if started.returncode:
            sys.exit("needle run has failed")
        lines = (Path(folder) / "runs" / "packing" / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    training = [row["seconds"] for row in map(json.loads, lines) if row["stage"] == "train"]
    return {
        "networks": networks, "wall_s": round(wall, 1), "cpu_s": round(sum(spent.values()), 1), "packs": len(training),
        "load_before": load, "load_after": os.getloadavg()[0],
    }  # fmt: skip


def ratios(raw: dict[str, Any]) -> dict[str, tuple[float, float, str]]:
    """Compute what was promised."""
    found: dict[str, tuple[float, float, str]] = {}
    usual, whole = "Lightning in a warm process", "Lightning with a loader of whole batches"
    for name, least in (("h64", 6.0), ("h128", 3.0), ("h256", 1.5)):
        samples = raw["trainings"][name]
        found[f"T1.any.{name}"] = ratio(samples["lightning"], samples["rows"]), least, usual
    small = raw["trainings"]["h64"]
    found["T1.mlp"] = ratio(small["lightning"], small["native"]), 9.0, usual
    found["T2.any"] = ratio(small["lightning_whole_batches"], small["rows"]), 2.0, whole
    found["T2.mlp"] = ratio(small["lightning_whole_batches"], small["native"]), 2.7, whole
    for name, most in (("softmax", 1.10), ("dropout", 1.25)):
        found[f"T2.{name}"] = (
            ratio(raw["steps"][name], raw["steps"]["logit"]),
            most,
            "at most, of a step with one logit",
        )
    for name, pairs in raw["rates"].items():
        share = ratio(*zip(*pairs, strict=True))
        found[f"T3.{name}"] = share, 0.6, f"{median(peak for _, peak in pairs):.0f} GFLOP/s of matrix products"
    found["T4"] = round(median(raw["processes"]) / median(small["native"]), 1), 40.0, "a process per network"
    from needle_parsl.tasks.checkpoint import EVERY

    share = round(median(raw["checkpoints"]) / 1e3 / EVERY, 5)
    found["T7.checkpoint"] = share, 0.02, f"training, one state every {EVERY:g} s"
    if "run" in raw:
        rate = round(raw["run"]["networks"] / raw["run"]["wall_s"], 2)
        found["T5.networks_per_s"] = rate, 12.0, "law 1.0, Ray Tune 0.3, with reuse 0.8"
    return found


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--networks", type=int, default=0, help="of T5; 0 leaves it out")
    given = parser.parse_args()
    quiet()
    rounds = 3 if given.quick else 7
    raw: dict[str, Any] = {"trainings": trainings(rounds, SHAPES)}
    if not given.quick:
        raw["large"] = trainings(3, LARGE)
    raw["rates"] = rates(2 * rounds, WIDTHS)
    raw["rates_of_batches_of_256"] = rates(2 * rounds, WIDTHS, 256)
    raw["steps"] = steps(6 * rounds)
    raw["processes"] = processes(1 if given.quick else 5)
    raw["checkpoints"] = checkpoints(rounds)
    if given.networks:
        raw["run"] = run(given.networks)
    print(line("packing", PACKAGES, ratios(raw), raw))


PHYSICS = '''"""Two Gaussians in 16 features."""


def _sample(mean, random, events):
    x = random.normal(mean, 1.0, (events, 16))
    return {**{f"x{k}": x[:, k] for k in range(16)}, "weight": random.uniform(0.5, 1.5, events)}


def signal(random, events):
    return _sample(0.2, random, events)


def background(random, events):
    return _sample(0.0, random, events)
'''
ANALYSIS = """
name     = "packing"
seed     = 1
physics  = "physics.py"
features = { names = ["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15"] }
samples.signal     = { generate = "physics.py:signal", events = 20_480, weight = "weight", yield = 100.0 }
samples.background = { generate = "physics.py:background", events = 20_480, weight = "weight", yield = 100.0 }
ratios   = { reference = ["background"], targets = ["signal", "background"] }
training = { layers = 3, nodes = 64, optimizer = "adam", schedule = "constant", weight_decay = 0.0, epochs = 5, validation = 0.1667, bootstrap = false }
model    = { parameters = { mu = { nominal = 1.0, bounds = [0.0, 5.0], role = "poi" } }, processes = { signal = "mu", background = "1" } }
"""

if __name__ == "__main__":
    main()
