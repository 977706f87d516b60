"""`[search]` from the analysis to the ensemble: the same bytes anywhere, and networks that are those of a training without a search."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cluster
import h5py
import numpy as np
import pytest

from needle_parsl import files

SEARCH = (
    'search.space={ learning_rate = "loguniform:1e-3,1e-1", nodes = "choice:4,8", layers = "randint:1,3" }',
    "search.trials=8",
    "search.replicas=2",
    'search.scheduler={ name = "halving", grace_period = 1, max_epochs = 4, reduction_factor = 2 }',
)


def options(settings: Sequence[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def digests(root: Path) -> dict[str, str]:
    """All that a search and its trainings leave, but for the study of Optuna, which has times."""
    found = [*root.glob("search/*.json"), *root.glob("search/packs/*.h5"), *root.glob("packs/*.h5")]
    assert found
    return {str(path.relative_to(root)): files.digest(path) for path in found}


def networks(root: Path, name: str) -> dict[tuple[int, int], np.ndarray]:
    found = {}
    for path in sorted((root / "packs").glob(f"{name}.*.h5")):
        with h5py.File(path) as file:
            rows = zip(file["member"][:], file["fold"][:], file["weights"][:], strict=True)
            found |= {(int(member), int(fold)): weights for member, fold, weights in rows}
    return found


@pytest.fixture(scope="module")
def searched(small_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("searched") / "run"
    command = [sys.executable, "-m", "needle_parsl", "run", str(small_inputs), "--out", str(root), "--until", "combine"]
    subprocess.run([*command, *options(SEARCH)], check=True, timeout=300, capture_output=True)
    return root


@pytest.mark.slow
def test_networks_are_those_of_a_training_with_the_settings_that_were_found(
    searched: Path, small_inputs: Path, needle: Callable[..., Any], tmp_path: Path
) -> None:
    found = files.read_json(searched / "search" / "best.json")
    (chosen,) = found["chosen"]
    best = chosen["settings"]
    own = [f"training.{name}={value}" for name, value in best.items()]
    ended = needle(
        "run", small_inputs, "--out", tmp_path / "run", "--until", "train", *options([*own, "training.epochs=4"])
    )
    assert ended.code == 0, ended
    for name in ("signal", "background.jes.up"):
        with_search, without = networks(searched, name), networks(tmp_path / "run", name)
        assert with_search.keys() == without.keys()
        assert len(without) == 3 * 2  # members and folds
        for key, weights in without.items():
            np.testing.assert_array_equal(with_search[key], weights)
    # The first of them were trained by the search, and by nothing else.
    with h5py.File(searched / "search" / "packs" / f"{chosen['pack']}.h5") as file:
        group = file[f"{chosen['trial']}/signal/networks"]
        assert list(zip(group["member"][:], group["fold"][:], strict=True)) == [(0, 0), (0, 1)]
        np.testing.assert_array_equal(group["weights"][0], networks(searched, "signal")[0, 0])
    complete = [trial for trial in found["trials"] if trial["state"] == "complete"]
    objective = {
        trial["number"]: trial["rungs"][-1]["metrics"]["val_loss"]["value"]
        + trial["rungs"][-1]["metrics"]["val_loss"]["error"]
        for trial in complete
    }
    assert chosen["trial"] == min(objective, key=objective.get)


@pytest.mark.slow
def test_a_killed_search_goes_on_to_the_same_bytes_at_another_site(
    searched: Path, small_inputs: Path, needle: Callable[..., Any], tmp_path: Path
) -> None:
    root = tmp_path / "run"
    arguments = ["run", str(small_inputs), "--out", str(root), "--until", "combine", *options(SEARCH)]
    process = subprocess.Popen([sys.executable, "-m", "needle_parsl", *arguments, "--site", "local-htex"])
    until = time.monotonic() + 120
    while not list(root.glob("search/step.001.json")) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (root / "search" / "best.json").exists()
    ended = needle(*arguments, "--site", "local-htex", "--json")
    assert ended.code == 0, ended
    assert ended.json()["reused"] > 0
    assert digests(root) == digests(searched)


@pytest.mark.slow
def test_several_metrics_settings_and_searches(small_inputs: Path, needle: Callable[..., Any], tmp_path: Path) -> None:
    more = (
        'search.space={ learning_rate = "choice:1e-2,3e-2,1e30" }',
        "search.trials=3",
        "search.sampler=grid",
        'search.metric=["val_loss", "ece", "spread"]',
        "search.replicas=2",
        "search.per_ratio=true",
        'search.ensemble="top:2"',
        "training.members=4",
        "training.optimizer=sgd",
        "training.schedule=constant",
    )
    root = tmp_path / "run"
    ended = needle("run", small_inputs, "--out", root, "--json", "--until", "searched", *options(more))
    assert ended.code == 0, ended
    found = files.read_json(root / "search" / "signal" / "best.json")
    states = {trial["settings"]["learning_rate"]: trial["state"] for trial in found["trials"]}
    assert states == {1e-2: "complete", 3e-2: "complete", 1e30: "failed"}
    (failed,) = [trial for trial in found["trials"] if trial["state"] == "failed"]
    assert "diverged" in failed["rungs"][0]["reason"]
    assert {one["settings"]["learning_rate"] for one in found["chosen"]} == {1e-2, 3e-2}
    with h5py.File(next((root / "packs").glob("signal.*.h5"))) as file:
        assert "learning_rate" in file["settings"].asstr()[()]  # the report tells the settings apart
    section = files.read_json(root / "search" / "section.json")
    assert any("1 of 3 trials of signal have failed" in check["sentence"] for check in section["checks"])
    assert len(section["figures"]) == 3  # history, slices, and the Pareto front; one setting has no importance
    again = needle("run", small_inputs, "--out", root, "--json", "--until", "searched", *options(more))
    assert again.json()["done"] == 0
    status = needle("status", root)
    assert "search of signal: done, 3 trials, 1 failed; chosen: trial " in status.out


@pytest.mark.slow
def test_without_a_trial_that_trains_the_run_says_why(
    small_inputs: Path, needle: Callable[..., Any], tmp_path: Path
) -> None:
    more = ('search.space={ learning_rate = "choice:1e30,1e31" }', "search.trials=2", "training.optimizer=sgd")
    ended = needle("run", small_inputs, "--out", tmp_path / "run", *options([*more, "training.schedule=constant"]))
    assert ended.code == 1, ended
    assert "of 2 trials none can be taken, and the ensemble needs 1: 2 trials: diverged in epoch N" in ended.err


@pytest.mark.campaign
@pytest.mark.slurm
def test_a_search_is_the_same_on_nodes(
    searched: Path, small_inputs: Path, needle: Callable[..., Any], slurm: dict[str, str], tmp_path: Path
) -> None:
    root = tmp_path / "run"
    site = cluster.written(tmp_path)
    ended = needle(
        "run", small_inputs, "--site", site, "--out", root, "--until", "combine", *options(SEARCH), env=slurm
    )
    assert ended.code == 0, ended
    assert digests(root) == digests(searched)


@pytest.mark.campaign
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_search_is_the_same_with_any_number_of_workers(
    searched: Path, small_inputs: Path, needle: Callable[..., Any], tmp_path: Path, workers: int
) -> None:
    root, site = tmp_path / "run", tmp_path / "workers.toml"
    site.write_text(f'description = "workers"\nscheduler = "local"\nexecutor = "htex"\nworkers_per_node = {workers}\n')
    ended = needle("run", small_inputs, "--site", site, "--out", root, "--until", "combine", *options(SEARCH))
    assert ended.code == 0, ended
    assert digests(root) == digests(searched)
