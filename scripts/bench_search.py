"""Time a search of hyper-parameters beside Ray Tune with ASHA, on the same data, space and cores; one line of JSON.

python scripts/bench_search.py               # 40 trials: needle with 3 replicas each, Ray Tune with one; needs ray[tune]
python scripts/bench_search.py --quick       # 9 trials
python scripts/bench_search.py --arm needle  # one arm, in a process of its own

`H1.trainings`: trainings per hour of needle over those of Ray Tune, start-up included. `H1.quality`: validation loss of needle's best settings minus that of
Ray Tune's, both trained again with ten common seeds, in standard errors of the difference. `H2.idle`: share of the workers' time in the search without a trial.
`H2.bookkeeping`: processor time of deciding a search of 1,000 trials, and of writing its study, over the time that its trainings take on these cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from measuring import line  # type: ignore[import-not-found]  # scripts find what stands beside them

FEATURES, TRAINING, VALIDATION, BATCH, RUNGS = 16, 20_480, 4_096, 1_024, (1, 3, 9)
WORKERS = 2
NAMES = [f"x{k}" for k in range(FEATURES)]
ANALYSIS = f"""
name = "search"
[features]
names = {json.dumps(NAMES)}
transform = "none"
[samples.one]
files = ["one.parquet"]
[samples.zero]
files = ["zero.parquet"]
[ratios]
reference = ["zero"]
targets = ["one"]
[split]
train = 0.98
combine = 0.01
test = 0.01
min_events = 10
[training]
loss = "carl"
folds = 1
members = 3
batch_size = {BATCH}
epochs = {RUNGS[-1]}
validation = {VALIDATION / (TRAINING + VALIDATION):.6f}
schedule = "constant"
weight_decay = 0.0
[search]
space = {{ layers = "randint:2,7", nodes = "qrandint:32,256,16", learning_rate = "loguniform:1e-4,1e-2" }}
trials = TRIALS
replicas = 3
scheduler = {{ name = "halving", grace_period = {RUNGS[0]}, max_epochs = {RUNGS[-1]} }}
[stages.nothing]
command = "echo ok > {{done}}"
outputs = {{ done = ".txt" }}
"""
Floats = npt.NDArray[np.float64]


def events(count: int, seed: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Draw features and labels."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, FEATURES))
    return x, rng.uniform(size=count) < 1 / (1 + np.exp(-(x[:, 0] + 0.5 * x[:, 1] * x[:, 2])))


def written(folder: Path) -> None:
    """Write the events of both classes."""
    import pyarrow as pa
    from pyarrow import parquet

    x, label = events(round((TRAINING + VALIDATION) / 0.98), 1)
    for name, own in (("one", x[label]), ("zero", x[~label])):
        parquet.write_table(pa.table(dict(zip(NAMES, own.T, strict=True))), folder / f"{name}.parquet")


def needle(folder: Path, trials: int) -> dict[str, Any]:
    """Search with needle, on one worker process per core."""
    (folder / "analysis.toml").write_text(ANALYSIS.replace("TRIALS", str(trials)))
    started = time.perf_counter()
    command = [sys.executable, "-m", "needle_parsl", "run", "analysis.toml", "--site", "local-htex", "--out", "run"]
    subprocess.run([*command, "--until", "search"], cwd=folder, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    root = folder / "run"
    best = json.loads((root / "search" / "best.json").read_text())
    lines = [json.loads(text) for text in (root / "ledger.jsonl").read_text().splitlines()]
    work = sum(one["seconds"] for one in lines if one["stage"] == "trials")
    first = min(one["seconds"] for one in lines if one["stage"] == "trials")
    times = [(root / "search" / name).stat().st_mtime for name in ("step.000.json", "best.json")]
    return {
        "seconds": seconds,
        "trainings": 3 * trials,
        "best": best["chosen"][0]["settings"],
        "idle": 1 - work / (WORKERS * (times[1] - times[0])),
        "shortest": first,
        "work": work,
    }


def ray(folder: Path, trials: int) -> dict[str, Any]:
    """Search with Ray Tune: function trainables with ASHA, actors reused."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_DEDUP_LOGS": "0"}
    started = time.perf_counter()
    import ray as ray_
    from ray import tune

    ray_.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    space = {
        "layers": tune.randint(2, 7),
        "nodes": tune.qrandint(32, 256, 16),
        "learning_rate": tune.loguniform(1e-4, 1e-2),
    }
    scheduler = tune.schedulers.ASHAScheduler(
        metric="val_loss", mode="min", grace_period=RUNGS[0], max_t=RUNGS[-1], reduction_factor=3
    )
    tuner = tune.Tuner(
        tune.with_resources(lambda config: lightning(config, str(folder)), {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            num_samples=trials, max_concurrent_trials=WORKERS, reuse_actors=True, scheduler=scheduler
        ),
        run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
    )
    found = tuner.fit()
    seconds = time.perf_counter() - started
    if found.errors:
        raise found.errors[0]
    best = found.get_best_result("val_loss", "min", "last").config
    ray_.shutdown()
    return {
        "seconds": seconds,
        "trainings": trials,
        "best": {name: float(value) if name == "learning_rate" else int(value) for name, value in best.items()},
    }


def lightning(config: dict[str, Any], folder: str) -> None:
    """Train one network by lightning.Trainer, as one would in a trainable, and report each epoch."""
    import logging
    import warnings

    import lightning as pl
    import pyarrow.parquet as pq
    import torch
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from ray import tune
    from torch.nn import functional
    from torch.utils.data import DataLoader, TensorDataset

    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    tables = [
        np.column_stack(list(pq.read_table(f"{folder}/{name}.parquet").to_pydict().values()))
        for name in ("one", "zero")
    ]
    x = torch.tensor(np.concatenate(tables), dtype=torch.float32)
    y = torch.cat([torch.ones(len(tables[0])), torch.zeros(len(tables[1]))])
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    parts = [TensorDataset(x[own], y[own]) for own in (order[:TRAINING], order[TRAINING : TRAINING + VALIDATION])]

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            widths = [FEATURES, *[config["nodes"]] * config["layers"]]
            layers = [part for a, b in pairwise(widths) for part in (torch.nn.Linear(a, b), torch.nn.SiLU())]
            self.net = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], 1))

        def training_step(self, batch: Any, _: int) -> Any:
            return functional.binary_cross_entropy_with_logits(self.net(batch[0])[:, 0], batch[1])

        def validation_step(self, batch: Any, number: int) -> None:
            self.log("val_loss", self.training_step(batch, number))

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), config["learning_rate"], weight_decay=0.0)

        def on_validation_epoch_end(self) -> None:
            if not self.trainer.sanity_checking:
                tune.report({"val_loss": float(self.trainer.callback_metrics["val_loss"])})

    trainer = pl.Trainer(
        max_epochs=RUNGS[-1], accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, plugins=[LightningEnvironment()],
    )  # fmt: skip
    trainer.fit(Net(), DataLoader(parts[0], BATCH, shuffle=True), DataLoader(parts[1], BATCH))


def again(settings: dict[str, Any], seeds: int = 10) -> list[float]:
    """Train settings again, and give the validation loss of each seed."""
    from needle_parsl.nsbi.data.events import Events
    from needle_parsl.nsbi.training import networks
    from needle_parsl.nsbi.training.members import Member, Settings
    from needle_parsl.nsbi.training.ratio_events import MemberView, RatioEvents
    from needle_parsl.nsbi.training.train import train

    x, label = events(TRAINING + VALIDATION, 1)
    ids = np.arange(len(x), dtype=np.uint64)
    parts = [
        Events(names=tuple(NAMES), x=x[own].astype(np.float32), weight=np.ones(own.sum()), id=ids[own])
        for own in (label, ~label)
    ]
    shape = networks.NetworkShape(network="mlp", features=FEATURES, layers=settings["layers"], nodes=settings["nodes"])
    common = Settings(
        shape=shape, loss="carl", optimizer="adamw", learning_rate=settings["learning_rate"], schedule="constant", weight_decay=0.0, batch_size=BATCH,
        epochs=RUNGS[-1], patience=RUNGS[-1],
    )  # fmt: skip
    made, found = RatioEvents.build(parts[0], parts[1]), list[float]()
    for seed in range(seeds):
        view = MemberView(
            fold=0, folds=1, fold_salt=5, validation=VALIDATION / len(x), validation_salt=6, bootstrap_salt=None
        )
        trained = train(made, Member(member=seed, fold=0, seed=1000 + seed, view=view), replace(common))
        found.append(float(trained.history[:, 1].min()))
    return found


def bookkeeping(trials: int = 1_000) -> float:
    """Give the processor seconds of deciding a search, and of writing its study."""
    from needle_parsl.analysis import Search
    from needle_parsl.analysis.tables.search import Scheduler
    from needle_parsl.nsbi.search import design, steps, storage
    from needle_parsl.nsbi.search.trials import Rung, Trial, measured

    space: dict[str, Any] = {
        "layers": "randint:2,7",
        "nodes": "qrandint:32,256,16",
        "learning_rate": "loguniform:1e-4,1e-2",
    }
    how = Scheduler(name="halving", grace_period=RUNGS[0], max_epochs=RUNGS[-1])
    made = design.of(Search(space=space, trials=trials, scheduler=how), None, 1)
    rng, all_, open_ = np.random.default_rng(1), list[Trial](), dict[int, list[Trial]]()
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        for step in range(made.steps + design.OPEN_STEPS):
            found = {
                one.number: Rung(
                    epochs=made.brackets[one.bracket].epochs[len(one.rungs)],
                    pack="p",
                    metrics={"val_loss": measured(rng.normal(size=3).tolist())},
                )
                for one in open_.pop(step - design.OPEN_STEPS, [])
            }
            all_, open_[step] = steps.advance(made, steps.after(all_, found), step)
            storage.write(Path(folder) / "study.db", made, all_)
        storage.write(Path(folder) / "study.db", made, steps.ended(made, all_), whole=True)
        return time.process_time() - started


def main() -> None:
    """Run both arms, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=["needle", "ray"])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has ray[tune], for the other arm")
    chosen = parser.parse_args()
    trials = 9 if chosen.quick else chosen.trials
    if chosen.arm:
        with tempfile.TemporaryDirectory() as folder:
            written(Path(folder))
            sys.stdout.write(json.dumps({"needle": needle, "ray": ray}[chosen.arm](Path(folder), trials)) + "\n")
        return
    arms = {}
    for name, python in (("needle", sys.executable), ("ray", chosen.python)):
        done = subprocess.run(
            [python, __file__, "--arm", name, "--trials", str(trials)], check=True, capture_output=True, text=True
        )
        arms[name] = json.loads(done.stdout.splitlines()[-1])
    rates = {name: one["trainings"] / one["seconds"] for name, one in arms.items()}
    losses = {name: again(one["best"]) for name, one in arms.items()}
    away = np.array(losses["needle"]) - np.array(losses["ray"])
    spent, whole = bookkeeping(), arms["needle"]["work"] * 1_000 / trials / WORKERS
    error = away.std(ddof=1) / np.sqrt(len(away))
    limits = {
        "H1.trainings": (
            round(rates["needle"] / rates["ray"], 2),
            10.0,
            "Ray Tune with ASHA, the same space, epochs and cores",
        ),
        "H1.quality": (round(float(away.mean() / error), 2), 1.0, "standard errors of the difference, at most"),
        "H2.idle": (round(arms["needle"]["idle"], 3), 0.1, "share of the workers' time, at most"),
        "H2.bookkeeping": (round(spent / whole, 4), 0.02, "share of a run of 1,000 trials, at most"),
    }
    sys.stdout.write(
        line("search", ["parsl", "torch", "optuna"], limits, {**arms, "losses": losses, "bookkeeping_s": spent}) + "\n"
    )


if __name__ == "__main__":
    main()
