"""A pack of trials: killed within a rung it goes on to the same bytes, and trials that are trained together are those that are trained alone."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from needle_parsl import files
from needle_parsl.analysis import load
from needle_parsl.nsbi.search.steps import Step, Work
from needle_parsl.nsbi.training.engines import choosing
from needle_parsl.nsbi.training.engines.stacked import Stacked
from needle_parsl.nsbi.training.state import State
from needle_parsl.plan import Task
from needle_parsl.site import Site
from needle_parsl.tasks import search, trials
from needle_parsl.workflow import prepared_run

SEARCH = (
    'search.space={ learning_rate = "loguniform:1e-3,1e-1" }', "search.trials=4", "search.sampler=random", "search.replicas=3",
    'search.scheduler={ name = "halving", grace_period = 2, max_epochs = 4, reduction_factor = 2 }',
)  # fmt: skip
KILLED = """
import os, signal, sys
from pathlib import Path
from needle_parsl.tasks import checkpoint, trials
sys.path.insert(0, {tests!r})
import test_trial_packs as own
checkpoint.EVERY = 0.0
keep, count = checkpoint.Checkpoint.keep, [0]
def kept(self, state):
    keep(self, state)
    count[0] += 1
    if count[0] == {after}:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.Checkpoint.keep = kept
trials.train({root!r}, own.planned(Path({inputs!r}), Path({root!r}))["000.000"])
"""


def planned(inputs: Path, root: Path, *settings: str) -> dict[str, Task]:
    made = prepared_run.prepare(root, load(inputs, [*SEARCH, *settings]), Site(description="t"), "search").plan.tasks
    return {task.name: task for task in made if task.stage.name in ("search", "trials")}


@pytest.fixture(scope="module")
def begun(small_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose events are read, and of whose first step one pack has all trials."""
    root = tmp_path_factory.mktemp("begun") / "run"
    command = [sys.executable, "-m", "needle_parsl", "run", str(small_inputs), "--out", str(root), "--until", "convert"]
    subprocess.run([*command, *(part for s in SEARCH for part in ("--set", s))], check=True, capture_output=True)
    search.decide(str(root), planned(small_inputs, root)["step.000"])
    path = root / "search" / "step.000.json"
    step = Step.from_json(files.read_json(path))
    works = tuple(work for pack in step.packs for work in pack)
    assert len(works) == 2
    files.write_json(path, replace(step, packs=(works, ())).to_json())
    return root


def trained(root: Path, inputs: Path) -> str:
    """Train the pack; give the digest of its networks."""
    task = planned(inputs, root)["000.000"]
    trials.train(str(root), task)
    return files.digest(root / task.place)


@pytest.fixture(scope="module")
def whole(begun: Path, small_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    root = shutil.copytree(begun, tmp_path_factory.mktemp("whole") / "run")
    return trained(root, small_inputs)


@pytest.mark.parametrize("after", [2, 9])
def test_a_killed_pack_goes_on_within_its_rung(
    begun: Path, whole: str, small_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    root = shutil.copytree(begun, tmp_path / "run")
    code = KILLED.format(tests=str(Path(__file__).parent), root=str(root), inputs=str(small_inputs), after=after)
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not list((root / "search" / "packs").glob("*.h5"))
    steps: list[bool] = []
    monkeypatch.setattr(trials, "train_until", counted(trials.train_until, steps))
    assert trained(root, small_inputs) == whole
    assert steps[0]  # it does not begin anew


def counted(function: Callable[..., Any], steps: list[bool]) -> Callable[..., Any]:
    def called(events: Any, members: Any, settings: Any, start: State, *more: Any) -> Any:
        steps.append(bool(start.running))
        return function(events, members, settings, start, *more)

    return called


def test_trials_that_are_trained_together_are_those_that_are_trained_alone(
    begun: Path, whole: str, small_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(begun, tmp_path / "run")
    monkeypatch.setattr(trials, "alike", lambda _, works: [[work] for work in works])
    assert trained(root, small_inputs) == whole


def test_a_stack_holds_trials_of_one_shape(
    begun: Path, small_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an accelerator: one stack of both trials gives the networks of a stack for each, up to rounding."""
    monkeypatch.setattr(choosing, "accelerated", lambda: True)
    sizes: list[int] = []
    made = Stacked.__init__

    def noted(self: Stacked, jobs: Any) -> None:
        sizes.append(len(jobs))
        made(self, jobs)

    monkeypatch.setattr(Stacked, "__init__", noted)
    found = {}
    for name in ("together", "alone"):
        if name == "alone":
            monkeypatch.setattr(trials, "alike", lambda _, works: [[work] for work in works])
        root = shutil.copytree(begun, tmp_path / name)
        trained(root, small_inputs)
        with h5py.File(root / "search" / "packs" / "000.000.h5") as file:
            found[name] = {n: file[f"{n}/signal/networks/weights"][...] for n in file}
    assert sizes.count(6) == 1  # three networks of two trials
    for number, weights in found["alone"].items():
        np.testing.assert_allclose(found["together"][number], weights, rtol=1e-4, atol=1e-5)


def test_trials_of_another_shape_are_apart(begun: Path, small_inputs: Path) -> None:
    subject = planned(small_inputs, begun)["000.000"].spec.subjects[0]
    work = Work(trial=0, settings={"learning_rate": 1e-3, "nodes": 8}, epochs=2, lengths=(2, 4), begun="")
    other = replace(work, trial=1, settings={"learning_rate": 1e-2, "nodes": 8})
    wide = replace(work, trial=2, settings={"learning_rate": 1e-2, "nodes": 16})
    later = replace(work, trial=3, epochs=4, begun="000.000")
    assert trials.alike(subject, [work, wide, other, later]) == [[work, other], [wide], [later]]
    own = replace(subject, training=replace(subject.training, network="physics.py:Net"))
    assert trials.alike(own, [work, other]) == [[work], [other]]
