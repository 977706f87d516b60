from __future__ import annotations

import time
from pathlib import Path

import pytest

from needle_parsl import plan
from needle_parsl.analysis import load
from needle_parsl.errors import InputError


def build(folder: Path, *settings: str, pack: int = 4, digest: str = "d") -> plan.Plan:
    loaded = load(folder, list(settings))
    files = {name: (plan.File("f", digest + name),) for name in plan.sources(loaded.analysis)}
    return plan.build(loaded.analysis, plan.Inputs(files, plan.Physics(loaded.source, "p"), exact=True), pack)


def changed(before: plan.Plan, after: plan.Plan) -> set[str]:
    """Stages in which a task would be done again."""
    known = {task.key for task in before.tasks}
    return {task.stage for task in after.tasks if task.key not in known}


def test_counts(small_inputs: Path) -> None:
    made = build(small_inputs)
    assert made.networks == 3 * 3 * 2  # (signal, jes up, jes down) x members x folds
    assert made.stages() == {
        "convert": 5, "train": 6, "combine": 3, "diagnose": 3, "evaluate": 2, "fit": 3, "interval": 3, "report": 1,
    }  # fmt: skip


def test_every_task_comes_after_what_it_needs_and_has_its_own_key(small_inputs: Path) -> None:
    seen: set[str] = set()
    for task in build(small_inputs).tasks:
        assert set(task.after) <= seen
        assert task.key not in seen
        seen.add(task.key)


def test_target_equal_to_the_reference_is_not_trained(small_inputs: Path) -> None:
    names = {task.name for task in build(small_inputs).tasks if task.stage == "combine"}
    assert names == {"signal", "background.jes.up", "background.jes.down"}


@pytest.mark.parametrize(
    ("setting", "stages"),
    [
        ("intervals.level=[0.9]", {"interval", "report"}),
        ("model.parameters.mu.bounds=[0, 9]", {"fit", "interval", "report"}),
        ("ensemble.quorum=0.5", {"combine", "diagnose", "evaluate", "fit", "interval", "report"}),
        ("training.epochs=4", {"train", "combine", "diagnose", "evaluate", "fit", "interval", "report"}),
        ("name='other'", {"report"}),
        ("split.min_events=10", set()),
        ("split.test=0.2", {"diagnose", "evaluate", "fit", "interval", "report"}),
        ("samples.background.yield=500.0", {"evaluate", "fit", "interval", "report"}),
        ("model.parameters.mu.nominal=2.0", {"fit", "interval", "report"}),
    ],
)
def test_a_changed_key_redoes_only_what_depends_on_it(small_inputs: Path, setting: str, stages: set[str]) -> None:
    assert changed(build(small_inputs), build(small_inputs, setting)) == stages


def test_nothing_changes_without_a_change(small_inputs: Path) -> None:
    assert changed(build(small_inputs), build(small_inputs)) == set()
    assert changed(build(small_inputs), build(small_inputs, digest="other")) == set(build(small_inputs).stages())


def test_more_members_keep_the_full_packs(small_inputs: Path) -> None:
    before, after = build(small_inputs, "training.members=4"), build(small_inputs, "training.members=8")
    known = {task.key for task in before.tasks}
    packs = [task for task in after.tasks if task.stage == "train"]
    assert sum(task.key in known for task in packs) == len(packs) // 2


def test_members_do_not_depend_on_the_packs(small_inputs: Path) -> None:
    def members(pack: int) -> set[object]:
        tasks = [task for task in build(small_inputs, pack=pack).tasks if task.stage == "train"]
        return {(task.spec.ratio.name, member) for task in tasks for member in task.spec.members}

    assert members(1) == members(4) == members(100)


def test_only_derived_columns_that_are_used_are_in_the_plan(small_inputs: Path) -> None:
    derived = "features.derived={p='hypot(x1, x2)', q='p + x3', unused='x4 + 1'}"
    made = build(small_inputs, derived, "samples.signal.weight='weight * q'")
    specs = {task.name: task.spec for task in made.tasks if task.stage == "convert"}
    assert [name for name, _ in specs["signal"].derived] == ["p", "q"]
    assert specs["background"].derived == ()
    assert changed(build(small_inputs), build(small_inputs, derived)) == set()


def test_until(small_inputs: Path) -> None:
    assert set(build(small_inputs).until("train").stages()) == {"convert", "train"}
    with pytest.raises(InputError, match='did you mean "train"'):
        build(small_inputs).until("trian")


def test_blind_plan_leaves_the_data_alone(small_inputs: Path) -> None:
    names = {(task.stage, task.name) for task in build(small_inputs, "fit.blind=true").tasks}
    assert not any("observed" in name for _, name in names)


def test_large_plan(small_inputs: Path) -> None:
    started = time.process_time()
    made = build(small_inputs, "training.members=2000", pack=1)
    assert made.networks == 12_000
    assert time.process_time() - started < 30  # far above what it takes; a plan must not be quadratic


def test_observed_alone(small_inputs: Path) -> None:
    names = {(task.stage, task.name) for task in build(small_inputs, "fit.asimov=false").tasks}
    assert {name for stage, name in names if stage in ("fit", "interval")} == {"observed", "scan"}
    assert ("evaluate", "asimov") in names  # the simulation behind Z_j
