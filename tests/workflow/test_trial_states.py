"""From where a trial goes on: from the state that a pack before it has kept, and of no other run's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from needle_parsl import plan
from needle_parsl.analysis import load
from needle_parsl.nsbi.search.steps import Work
from needle_parsl.nsbi.training.state import State
from needle_parsl.plan import Task
from needle_parsl.tasks.trial_states import TrialState

HALVING = 'search.scheduler={ name = "halving", grace_period = 1, max_epochs = 4, reduction_factor = 2 }'
SEARCH = ('search.space={ learning_rate = "loguniform:1e-3,1e-1" }', "search.trials=8", "search.replicas=2", HALVING)
KEPT = State((), ({"name": (0, 0), "weights": torch.arange(3.0)},))


def packs(folder: Path, code: str = "p", *settings: str) -> dict[str, Task]:
    loaded = load(folder, [*SEARCH, *settings])
    files = {name: (plan.File(path="f", digest=name, borders=(0, 100)),) for name in plan.sources(loaded.analysis)}
    inputs = plan.Inputs(files=files, physics=plan.Physics(code, "p"), exact=True)
    return {task.name: task for task in plan.build(loaded.analysis, inputs, 4).tasks if task.stage.name == "trials"}


@pytest.fixture
def work() -> Work:
    settings, lengths = {"learning_rate": 0.01}, (1, 2, 4)
    return Work(trial=0, settings=settings, epochs=2, lengths=lengths, begun="000.000")


def test_a_trial_goes_on_from_the_pack_before(small_inputs: Path, tmp_path: Path, work: Work) -> None:
    made = packs(small_inputs)
    subject = made["000.000"].spec.subjects[0]
    TrialState(str(tmp_path), made["000.000"], work, subject).write(KEPT)
    (found,) = TrialState(str(tmp_path), made["002.000"], work, subject).read().running
    assert torch.equal(found["weights"], KEPT.running[0]["weights"])
    for other in (replace(work, begun="000.001"), replace(work, begun=""), replace(work, trial=1)):
        assert TrialState(str(tmp_path), made["002.000"], other, subject).read() == State()
    assert TrialState(str(tmp_path), made["002.000"], replace(work, lengths=(2, 4)), subject).read() == State()


@pytest.mark.parametrize("setting", ["seed=8", 'samples.signal.weight="2 * weight"', "search.risk=0.5"])
def test_a_state_of_another_run_is_none(small_inputs: Path, tmp_path: Path, work: Work, setting: str) -> None:
    """It may be newer than the pack: a run with other code or events began the pack anew, and was killed before its end."""
    own, other = packs(small_inputs), packs(small_inputs, "p", setting)
    TrialState(str(tmp_path), other["000.000"], work, own["000.000"].spec.subjects[0]).write(KEPT)
    assert TrialState(str(tmp_path), own["002.000"], work, own["000.000"].spec.subjects[0]).read() == State()
