"""What joint variations change in a plan: one surrogate in the place of the ratios of its nuisance parameters, and a ratio of each point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from problems import shifted

from needle_parsl import plan
from needle_parsl.analysis import load
from needle_parsl.plan import specs, task_json

REST = """
[samples.background.variations.pdf]
up = { weight = "1.1" }
down = { weight = "0.9" }
[ratios]
reference = ["background"]
targets = ["signal", "background"]
[split]
cross = 2
[model]
parameters.mu = {}
processes = { signal = "mu", background = "1" }
nuisances.met = { interpolation = "exp_quadratic" }
nuisances.jes = { interpolation = "exp_quadratic" }
nuisances.pdf = {}
"""
HEAD = """
name = "shifted"
features.names = ["x", "y"]
samples.signal.files = ["signal.parquet"]
[samples.background]
files = ["background.parquet"]
"""


def built(folder: Path, points: list[tuple[float, float]], *settings: str, rest: str = REST) -> plan.Plan:
    for name in ("signal", "background"):
        (folder / f"{name}.parquet").touch()
    (folder / "analysis.toml").write_text(HEAD + shifted.toml(points) + rest)
    analysis = load(folder, list(settings)).analysis
    files = {n: (plan.File(path="f", digest=n, borders=(0, 100)),) for n in plan.sources(analysis)}
    return plan.build(analysis, plan.Inputs(files=files, physics=plan.Physics("", "p"), exact=False), 4)


def named(made: plan.Plan, stage: str) -> dict[str, plan.Task]:
    return {task.name: task for task in made.tasks if task.stage.name == stage}


@pytest.mark.parametrize("loss", ["multiclass", "carl"])
def test_one_surrogate_gives_the_ratios_of_its_nuisances_and_points(tmp_path: Path, loss: str) -> None:
    made = built(tmp_path, [(1, 1), (-1, 2)], f'training.loss="{loss}"')
    own = {"multiclass": ["@classes", "@background"], "carl": ["signal", "background.pdf.up", "background.pdf.down"]}
    packs = named(made, "train")
    assert list(packs) == [f"{name}.0000" for name in [*own[loss], "@background.surrogate"]]
    train = packs["@background.surrogate.0000"].of(specs.Train)
    assert isinstance(train.ratio, specs.Surrogate)
    assert (train.ratio.nuisances, train.training.loss, len(train.members)) == (("jes", "met"), "carl", 4)
    ratios = {name: task.of(specs.Combine) for name, task in named(made, "combine").items()}
    joint = ["background.jes=1,met=1", "background.jes=-1,met=2"]
    assert {name for name, one in ratios.items() if one.packs == ("@background.surrogate.0000",)} == {
        *joint, *(f"background.{n}.{side}" for n in shifted.NAMES for side in ("up", "down")),
    }  # fmt: skip
    assert {ratios[name].ratio.nu() for name in joint} == {(1.0, 1.0), (-1.0, 2.0)}
    (fit,) = named(made, "fit").values()
    (cross,) = fit.of(specs.FitSpec).crosses
    assert (cross.first, cross.second, cross.ratio, cross.at) == ("jes", "met", joint[0], (1.0, 1.0))
    (read,) = task_json.tasks(task_json.text([packs["@background.surrogate.0000"]]))
    assert read == packs["@background.surrogate.0000"]


def test_without_joint_variations_no_task_knows_of_them(tmp_path: Path) -> None:
    made = built(tmp_path, [])
    assert not any(
        "surrogate" in str(plan.content(task.spec)) or "crosses" in str(plan.content(task.spec)) for task in made.tasks
    )


def test_a_further_point_changes_the_surrogate_and_what_follows(tmp_path: Path) -> None:
    before, after = (built(tmp_path, points) for points in ([(1, 1)], [(1, 1), (-1, -1)]))
    known = {task.key for task in before.tasks}
    again = {task.name for task in after.tasks if task.key not in known and task.stage.name in ("convert", "train")}
    assert again == {"background.jes=-1,met=-1", "@background.surrogate.0000"}


def test_points_are_counted_in_regions_too(tmp_path: Path) -> None:
    region = '[model.regions.low]\nselection = "x < 0"\nbinning = { column = "x", edges = [-2.0, -1.0, 0.0] }\n'
    made = built(tmp_path, [(1, 1)], rest=REST + region)
    assert "background.jes=1,met=1@low" in named(made, "convert")
    (count,) = named(made, "count").values()
    assert "background.jes=1,met=1" in [density.name for density in count.of(specs.Count).varied]


def test_replicas_train_the_surrogate_again(tmp_path: Path) -> None:
    made = built(tmp_path, [(1, 1)], "bootstrap={ replicas = 2 }")
    assert "bootstrap/replica/@background.surrogate.0000" in named(made, "train")
    (again, *_) = (task.of(specs.ReplicaFit).again for task in named(made, "replica").values())
    assert "background.jes=1,met=1" in [one.ratio.name for one in again.combines]


def test_each_unbinned_region_has_a_surrogate_of_its_own(tmp_path: Path) -> None:
    built(tmp_path, [(1, 1)])
    text = (tmp_path / "analysis.toml").read_text()
    regions = '[model.regions.left]\nunbinned = true\nselection = "x < 0"\n[model.regions.right]\nunbinned = true\nselection = "x >= 0"\n'
    (tmp_path / "analysis.toml").write_text(text + regions)
    loaded = load(tmp_path)
    names = {name for own in (loaded.analysis, *loaded.regions.values()) for name in plan.sources(own)}
    files = {name: (plan.File(path="f", digest=name, borders=(0, 100)),) for name in names}
    inputs = plan.Inputs(files=files, physics=plan.Physics("", "p"), exact=False)
    parts = {name: plan.build_region(own, inputs, 4) for name, own in loaded.regions.items()}
    made = plan.build(loaded.analysis, replace(inputs, regions=parts), 4)
    assert {"@background.surrogate.0000", "right/@background.surrogate.0000"} <= set(named(made, "train"))
    (fit,) = named(made, "fit").values()
    assert len(fit.of(specs.FitSpec).crosses) == 1
