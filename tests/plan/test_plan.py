from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from needle_parsl import plan
from needle_parsl.analysis import load
from needle_parsl.errors import InputError
from needle_parsl.plan import specs, task_json


def build(folder: Path, *settings: str, pack: int = 4, digest: str = "d", rows: int = 100) -> plan.Plan:
    loaded = load(folder, list(settings))
    files = {
        name: (plan.File(path="f", digest=digest + name, borders=(0, rows)),) for name in plan.sources(loaded.analysis)
    }
    return plan.build(
        loaded.analysis, plan.Inputs(files=files, physics=plan.Physics(loaded.source, "p"), exact=True), pack
    )


def changed(before: plan.Plan, after: plan.Plan) -> set[str]:
    """Stages in which a task would be done again."""
    known = {task.key for task in before.tasks}
    return {task.stage.name for task in after.tasks if task.key not in known}


def test_counts(small_inputs: Path) -> None:
    made = build(small_inputs)
    assert made.networks == 3 * 3 * 2  # (signal, jes up, jes down) x members x folds
    assert made.stages() == {
        "convert": 5, "train": 6, "normalise": 2, "combine": 3, "compose": 1, "diagnose": 4, "evaluate": 2, "fit": 3, "interval": 7, "breakdown": 1, "goodness": 1, "residuals": 1, "precision": 1, "report": 1,
    }  # fmt: skip


MORPHED = (
    "model.processes={}", "model.parameters={ c = { nominal = 0.0, bounds = [-1.0, 1.0] } }", "ratios.targets=[]",
    "model.morphing={ parameters = ['c'], order = 1, linear = true, basis = { signal = {}, background = { c = 1.0 } } }",
)  # fmt: skip


def test_linear_terms_are_fitted_beside_all(small_inputs: Path) -> None:
    made = build(small_inputs, *MORPHED, "fit.limit=0.95")
    names = [(task.stage.name, task.name) for task in made.tasks]
    linear = {"fit": ["observed_linear", "asimov_linear"], "interval": ["scan_linear", "limits_linear"]}
    for stage, own in linear.items():
        assert {(stage, name) for name in own} <= set(names)
    assert ("morphing", "morphing") in names
    (fit,) = (task.spec for task in made.tasks if task.name == "asimov_linear")
    assert dict(fit.truth) == {"signal": "1 - c", "background": "c"}
    without = build(small_inputs, *(text.replace("linear = true", "linear = false") for text in MORPHED))
    assert not [task.name for task in without.tasks if task.name.endswith("_linear")]


TOYS = ("toys.count=25", "toys.block=10", "toys.at=[{mu=0.5}, {}]")
NEYMAN = ("intervals.method='neyman'", "intervals.grid=[0.5, 1.0, 2.0]", "intervals.toys_per_point=20")


def test_toys_are_cut_into_blocks(small_inputs: Path) -> None:
    made = build(small_inputs, *TOYS, *NEYMAN)
    names = [task.name for task in made.tasks if task.stage.name == "toys"]
    assert names == [
        *(f"neyman/mu={mu}.{n:04d}" for mu in ("0.5", "1", "2") for n in (0, 1)),
        *(f"coverage/mu={mu}.{n:04d}" for mu in ("0.5", "1") for n in (0, 1, 2)),
    ]
    counts = [task.spec.count for task in made.tasks if task.name.startswith("coverage/mu=1.")]
    assert counts == [10, 10, 5]
    assert [task.name for task in made.tasks if task.stage.name == "evaluate"] == ["asimov", "observed", "reference"]


def test_a_toys_seed_does_not_depend_on_the_others(small_inputs: Path) -> None:
    """Another truth beside it, more toys, or another grid: what is there keeps its key."""
    one = {t.name: t.key for t in build(small_inputs, *TOYS).tasks if t.stage.name == "toys"}
    more = build(small_inputs, "toys.count=45", "toys.block=10", "toys.at=[{}, {mu=2}, {mu=0.5}]", *NEYMAN)
    other = {t.name: t.key for t in more.tasks if t.stage.name == "toys"}
    kept = [name for name in one if one[name] == other.get(name)]
    assert kept == [name for name in one if not name.endswith(".0002")]  # the last block has become longer


def test_every_task_comes_after_what_it_needs_and_has_its_own_key(small_inputs: Path) -> None:
    seen: set[str] = set()
    for task in build(small_inputs).tasks:
        assert set(task.after) <= seen
        assert task.key not in seen
        seen.add(task.key)


def test_closure_knows_against_what_ratios_are_learned(small_inputs: Path) -> None:
    """Binary networks against the reference, one of all processes against all others."""
    known = {}
    for loss in ("carl", "multiclass"):
        (known[loss],) = (
            dict(task.spec.against)
            for task in build(small_inputs, f"training.loss='{loss}'").tasks
            if isinstance(task.spec, specs.Closing)
        )
    assert known["carl"] == known["multiclass"] == {"signal": ("background",)}


def test_target_equal_to_the_reference_is_not_trained(small_inputs: Path) -> None:
    names = {task.name for task in build(small_inputs).tasks if task.stage.name == "combine"}
    assert names == {"signal", "background.jes.up", "background.jes.down"}


@pytest.mark.parametrize(
    ("setting", "stages"),
    [
        ("intervals.level=[0.9]", {"interval", "report"}),
        (
            "model.parameters.mu.bounds=[0, 9]",
            {"diagnose", "fit", "interval", "breakdown", "goodness", "residuals", "precision", "report"},
        ),
        (
            "ensemble.quorum=0.5",
            {
                "normalise",
                "combine",
                "compose",
                "diagnose",
                "evaluate",
                "fit",
                "interval",
                "breakdown",
                "goodness",
                "residuals",
                "precision",
                "report",
            },
        ),
        (
            "training.epochs=4",
            {
                "train",
                "normalise",
                "combine",
                "compose",
                "diagnose",
                "evaluate",
                "fit",
                "interval",
                "breakdown",
                "goodness",
                "residuals",
                "precision",
                "report",
            },
        ),
        ("name='other'", {"compose", "report"}),
        ("split.min_events=10", set()),
        (
            "split.test=0.2",
            {"diagnose", "evaluate", "fit", "interval", "breakdown", "goodness", "residuals", "precision", "report"},
        ),
        (
            "samples.background.yield=500.0",
            {
                "normalise",
                "combine",
                "compose",
                "diagnose",
                "evaluate",
                "fit",
                "interval",
                "breakdown",
                "goodness",
                "residuals",
                "precision",
                "report",
            },
        ),
        (
            "model.parameters.mu.nominal=2.0",
            {
                "normalise",
                "combine",
                "compose",
                "diagnose",
                "evaluate",
                "fit",
                "interval",
                "breakdown",
                "goodness",
                "residuals",
                "precision",
                "report",
            },
        ),
        ("fit.goodness=100", {"goodness", "report"}),
        ("fit.goodness=0", {"report"}),
        ("fit.minos=false", {"fit", "breakdown", "precision", "report"}),
        ("model.nuisances.jes.group='jet'", {"breakdown", "report"}),
        ("fit.plane={parameters=['mu', 'jes']}", {"interval", "report"}),
        ("toys.count=10", {"toys", "coverage", "report"}),
    ],
)
def test_a_changed_key_redoes_only_what_depends_on_it(small_inputs: Path, setting: str, stages: set[str]) -> None:
    assert changed(build(small_inputs), build(small_inputs, setting)) == stages


def test_unblinding_a_hidden_offset_makes_fits_again_and_what_was_left_out(small_inputs: Path) -> None:
    more = ("fit.limit=0.95", "fit.plane={parameters=['mu', 'jes']}", *NEYMAN)
    hidden, plain = build(small_inputs, "fit.blind='offset'", *more), build(small_inputs, *more)
    assert not {"toys", "neyman"} & set(hidden.stages())
    assert "plane" not in {task.name for task in hidden.tasks}
    new = changed(hidden, plain)
    assert new == {"fit", "interval", "breakdown", "toys", "neyman", "precision", "report"}
    known = {task.key for task in hidden.tasks}
    kept = {(task.stage.name, task.name) for task in plain.tasks if task.key in known}
    assert {("fit", "asimov"), ("interval", "scan_asimov")} <= kept
    (limits,) = (task.spec for task in hidden.tasks if task.name == "limits")
    assert limits.fit.dataset == "asimov"


def test_nothing_changes_without_a_change(small_inputs: Path) -> None:
    assert changed(build(small_inputs), build(small_inputs)) == set()
    assert changed(build(small_inputs), build(small_inputs, digest="other")) == set(build(small_inputs).stages())


def test_more_members_keep_the_full_packs(small_inputs: Path) -> None:
    before, after = build(small_inputs, "training.members=4"), build(small_inputs, "training.members=8")
    known = {task.key for task in before.tasks}
    packs = [task for task in after.tasks if task.stage.name == "train"]
    assert sum(task.key in known for task in packs) == len(packs) // 2


def test_members_do_not_depend_on_the_packs(small_inputs: Path) -> None:
    def members(pack: int) -> set[object]:
        tasks = [task for task in build(small_inputs, pack=pack).tasks if task.stage.name == "train"]
        return {(task.spec.ratio.name, member) for task in tasks for member in task.spec.members}

    assert members(1) == members(4) == members(100)


def test_only_derived_columns_that_are_used_are_in_the_plan(small_inputs: Path) -> None:
    derived = "features.derived={p='hypot(x1, x2)', q='p + x3', unused='x4 + 1'}"
    made = build(small_inputs, derived, "samples.signal.weight='weight * q'")
    specs = {task.name: task.spec for task in made.tasks if task.stage.name == "convert"}
    assert [name for name, _ in specs["signal"].derived] == ["p", "q"]
    assert specs["background"].derived == ()
    assert changed(build(small_inputs), build(small_inputs, derived)) == {"report"}  # which warns of them


def test_until(small_inputs: Path) -> None:
    assert set(build(small_inputs).until("train").stages()) == {"convert", "train"}
    with pytest.raises(InputError, match='did you mean "train"'):
        build(small_inputs).until("trian")


def test_blind_plan_leaves_the_data_alone(small_inputs: Path) -> None:
    names = {(task.stage.name, task.name) for task in build(small_inputs, "fit.blind=true").tasks}
    assert not any("observed" in name for _, name in names)


LARGE = """
import re, time
from pathlib import Path
from needle_parsl import plan
from needle_parsl.analysis import load
loaded = load(Path({folder!r}), ["training.members=16667", "training.folds=2"])
files = {{name: (plan.File(path="f", digest=name),) for name in plan.sources(loaded.analysis)}}
started = time.process_time()
made = plan.build(loaded.analysis, plan.Inputs(files=files, physics=plan.Physics(loaded.source, "p"), exact=True), 8)
print(made.networks, time.process_time() - started, int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1e6)
"""


@pytest.mark.slow
def test_a_hundred_thousand_members_are_planned_in_5_seconds_and_a_gigabyte(small_inputs: Path) -> None:
    program = LARGE.format(folder=str(small_inputs))
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    networks, seconds, gigabytes = map(float, ended.stdout.split())
    assert networks >= 100_000
    assert seconds < 5
    assert gigabytes < 1


def test_observed_alone(small_inputs: Path) -> None:
    names = {(task.stage.name, task.name) for task in build(small_inputs, "fit.asimov=false").tasks}
    kept = {name for stage, name in names if stage in ("fit", "interval")}
    assert kept == {"observed", "scan", "scan_statistical", "impacts", "distributions", "closure"}
    assert ("evaluate", "asimov") in names  # the simulation behind Z_j


def test_packs_follow_work_and_memory(small_inputs: Path) -> None:
    """A pack is about 30 s of work; large networks are alone, and a site may say something else."""
    sizes = {}
    for nodes in (8, 40, 500):
        made = build(
            small_inputs,
            "training.members=16",
            "training.layers=4",
            "training.epochs=500",
            f"training.nodes={nodes}",
            pack=0,
            rows=10_000,
        )
        sizes[nodes] = max(len(t.spec.members) for t in made.tasks if isinstance(t.spec, plan.Train))
    assert sizes[8] == 8
    assert 1 <= sizes[40] < 8
    assert sizes[500] == 1


def test_ten_thousand_networks_are_planned_in_seconds(small_inputs: Path) -> None:
    """Less than one; with time quadratic in their number it would be minutes, which a busy machine cannot hide."""
    started = time.process_time()
    made = build(small_inputs, "training.members=1700", pack=0)
    assert made.networks == 1700 * 2 * 3
    assert time.process_time() - started < 5.0


REPLICAS = ("bootstrap={replicas=3, repeats=2, members=1}",)


def test_replicas_are_trained_together_and_fitted_apart(small_inputs: Path) -> None:
    plain, made = build(small_inputs), build(small_inputs, *REPLICAS)
    assert made.networks == plain.networks + 3 * (3 + 2) * 2  # ratios x (replicas + repeats) x folds
    assert {task.key for task in plain.tasks if task.stage.name not in ("precision", "report")} <= {
        task.key for task in made.tasks
    }
    packs = {task.name: task.spec for task in made.tasks if task.name.startswith("bootstrap/")}
    assert sorted(packs) == sorted(
        f"bootstrap/{kind}/{ratio}.{n:04d}"
        for ratio in ("signal", "background.jes.up", "background.jes.down")
        for kind, packs_ in (("replica", 2), ("repeat", 1))
        for n in range(packs_)
    )
    salts = {
        ratio: [m.bootstrap for n in (0, 1) for m in packs[f"bootstrap/replica/{ratio}.000{n}"].members]
        for ratio in ("signal", "background.jes.up")
    }
    assert salts["signal"] == salts["background.jes.up"]  # one draw per event, whatever the ratio
    assert len(set(salts["signal"])) == 3
    assert {m.bootstrap for m in packs["bootstrap/repeat/signal.0000"].members} == {None}
    assert len({m.seed for spec in packs.values() for m in spec.members}) == 3 * (3 + 2) * 2
    assert (made.stages()["replica"], made.stages()["bootstrap"]) == (5, 1)


def test_more_replicas_keep_those_that_are_done(small_inputs: Path) -> None:
    before = build(small_inputs, *REPLICAS, pack=1)
    after = build(small_inputs, "bootstrap={replicas=5, repeats=3, members=1}", pack=1)
    kept = {task.key for task in after.tasks}
    assert {task.stage.name for task in before.tasks if task.key not in kept} == {"bootstrap", "precision", "report"}


def test_a_pack_counts_what_a_stack_holds_of_a_batch(small_inputs: Path) -> None:
    """40 bytes for each hidden neuron and event: 2 x 64 neurons at a batch of 65,536 are 336 MB, of which 1,024 MiB hold three."""
    wide = ("training.layers=2", "training.nodes=64", "training.members=20", "training.folds=1")
    sizes = [
        max(len(task.of(plan.Train).members) for task in made.tasks if task.stage.name == "train")
        for made in (build(small_inputs, *wide, f"training.batch_size={size}", pack=0) for size in (1024, 65_536))
    ]
    assert sizes == [8, 3]


@pytest.mark.parametrize("settings", [(), (*TOYS, *NEYMAN, *REPLICAS), ("training.members=[{nodes=8}, {nodes=16}]",)])
def test_tasks_come_back_from_json_as_they_were(small_inputs: Path, settings: tuple[str, ...]) -> None:
    tasks = list(build(small_inputs, *settings).tasks)
    text = task_json.text(tasks)
    found = task_json.tasks(text)
    assert found == tasks
    assert [plan.digest(task.spec) for task in found] == [plan.digest(task.spec) for task in tasks]
    assert repr(found) == repr(tasks)  # a list is no tuple, and 1 is no 1.0
    assert task_json.text(found) == text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"records":[["Popen",{"args":"ls"}]],"tasks":[0]}', '{"records":[["Task",{}]],"tasks":[0]}', '{"records":[],"tasks":[0]}', '{"records":[["Density",{"sample":{"record":0}}]],"tasks":[]}'])  # fmt: skip
def test_what_are_no_tasks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no tasks|Expecting value"):
        task_json.tasks(text)


def test_a_task_holds_nothing_that_json_does_not_give_back(small_inputs: Path) -> None:
    (task, *_) = build(small_inputs).tasks
    with pytest.raises(TypeError, match="a task cannot hold a PosixPath"):
        task_json.text([replace(task, name=small_inputs)])  # type: ignore[arg-type]
