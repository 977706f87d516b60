"""Estimates of node-hours: known rates give known hours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from needle_parsl.analysis import Training
from needle_parsl.densities import Density
from needle_parsl.errors import InputError
from needle_parsl.plan import Task, specs
from needle_parsl.plan.stages import STAGES
from needle_parsl.records import Record
from needle_parsl.site import NodeShape, Site
from needle_parsl.workflow import cost, ledger

SITE = Site(description="t", gpu=NodeShape(gpus_per_node=4), cpu=NodeShape(workers_per_node=10))


def train(members: int) -> Task:
    """A pack; nothing but its number of members is looked at."""
    spec = object.__new__(specs.Train)
    object.__setattr__(spec, "members", (None,) * members)
    return Task(stage=STAGES["train"], name="a", key="0", spec=spec, after=())


def run(root: Path, stages: dict[str, dict[str, float]], units: dict[str, int]) -> None:
    root.mkdir()
    (root / "run.json").write_text(json.dumps({"stages": stages, "units": units}))


def test_rates_of_the_pilot_give_the_hours_of_the_whole(tmp_path: Path) -> None:
    run(tmp_path / "a-pilot", {"train": {"tasks": 2, "done": 2, "seconds": 72.0}, "fit": {"tasks": 2, "done": 1, "seconds": 9.0}}, {"train": 4, "fit": 2})  # fmt: skip
    (tmp_path / "a-pilot" / "packs").mkdir()
    (tmp_path / "a-pilot" / "packs" / "a.0000.h5").write_bytes(b"0" * 400)
    ledger.append(
        tmp_path / "a-pilot",
        Record(key="0", stage="train", what="a", worker="here", seconds=72.0, output="packs/a.0000.h5", digest=""),
    )
    fit = Task(stage=STAGES["fit"], name="asimov", key="1", spec=object.__new__(specs.CoverageSpec), after=())
    found = cost.stages([train(200), train(200), fit], tmp_path / "a", SITE)
    assert found["train"].node_hours() == pytest.approx(400 * 18 / 4 / 3600)  # 18 s a network, 4 workers a node
    assert found["train"].bytes == 100
    assert found["fit"].node_hours() is None  # the pilot had not done all of them
    assert found["fit"].workers == 10


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_its_nodes(stage: str, tmp_path: Path) -> None:
    task = Task(stage=STAGES[stage], name="a", key="0", spec=object.__new__(specs.CoverageSpec), after=())
    assert cost.stages([task], tmp_path, SITE)[stage].units == 1


def test_a_probe_stands_for_trainings_that_were_not_measured(tmp_path: Path) -> None:
    """500,000 events of one sample, 100,000 of another; two folds, so that half of what is left is trained on."""
    training = Training(epochs=10, validation=0.1, folds=2)
    ratio = specs.Ratio(Density("s"), (specs.Share(Density("b"), 1.0),))
    members = tuple(specs.MemberSpec(member=0, fold=fold, seed=0, bootstrap=None) for fold in range(2))
    pack = specs.Train(
        ratio=ratio,
        splitting=specs.Splitting(train=0.5, combine=0.25, test=0.25, salt=0),
        training=training,
        fold_salt=0,
        validation_salt=0,
        members=members,
    )
    file = specs.File(path="b.root", digest="", borders=(0, 60_000, 100_000))
    made = object.__new__(specs.Generate)
    object.__setattr__(made, "events", 500_000)
    read = object.__new__(specs.Convert)
    object.__setattr__(read, "files", (file,))
    stored = object.__new__(specs.Convert)
    object.__setattr__(stored, "files", (specs.File(path="", digest="0"),))
    tasks = [Task(stage=STAGES["generate"], name="s", key="0", spec=made, after=()), Task(stage=STAGES["convert"], name="s", key="1", spec=stored, after=()), Task(stage=STAGES["convert"], name="b", key="2", spec=read, after=()),
             Task(stage=STAGES["train"], name="s", key="3", spec=pack, after=())]  # fmt: skip
    probed = cost.trainings(tasks, 1e-6)
    assert probed["train"][0] == pytest.approx(1e-6 * 600_000 * 0.5 * 0.5 * 10)
    assert cost.stages(tasks[3:], tmp_path, SITE, probed)["train"].seconds == probed["train"][0]
    assert cost.trainings(tasks[:3], 1e-6) == {}


def test_own_rates_count_more_than_those_of_the_pilot(tmp_path: Path) -> None:
    for name, seconds in (("a-pilot", 10.0), ("a", 20.0)):
        run(tmp_path / name, {"train": {"tasks": 1, "done": 1, "seconds": seconds}}, {"train": 10})
    assert cost.measured(tmp_path / "a")["train"][0] == 2.0


@pytest.mark.parametrize("text", ["1", "0%", "101%", "one", "-1%"])
def test_share_of_a_pilot_is_a_percentage(text: str) -> None:
    with pytest.raises(InputError, match="expected a percentage"):
        cost.share(text)
    assert cost.share("2.5 %") == 0.025


def test_error_of_the_ensemble_falls_with_the_square_root(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "fits").mkdir()
    (tmp_path / "report" / "summary.json").write_text('{"dataset": "asimov", "parameter": "mu"}')
    (tmp_path / "fits" / "asimov.json").write_text('{"parameters": {"mu": {"error": 0.3, "ensemble_error": 0.2}}}')
    assert cost.spread(tmp_path, 2, 200) == {"error": 0.3, "pilot": 0.2, "whole": pytest.approx(0.02)}
    assert cost.spread(tmp_path / "nowhere", 2, 200) is None
