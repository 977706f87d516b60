"""Keys of tasks are what they were: a run that was made before is found done.

What they are made from is written down here for one analysis. Whoever raises the version of a stage on purpose, since its task gives other
results, writes the new ones of that stage and of those after it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from needle_parsl import plan
from needle_parsl.analysis import load

TEXT = """
name = "kept"
seed = 3
physics = "physics.py"
[features]
names = ["x", "y"]
[samples.signal]
files = ["signal.parquet"]
yield = 20.0
[samples.signal.variations.jes]
up = { files = ["signal_up.parquet"] }
down = { files = ["signal_down.parquet"] }
[samples.background]
files = ["background.parquet"]
yield = 200.0
[ratios]
reference = ["background"]
targets = ["signal", "background"]
[training]
members = 2
[split]
cross = 2
[model]
parameters.mu = { nominal = 1.0, bounds = [0.0, 5.0] }
processes.signal = "mu"
processes.background = "1"
nuisances.jes = {}
[fit]
scan = { start = 0.0, stop = 3.0, points = 7 }
limit = 0.95
[toys]
at = [{ mu = 1.0 }]
count = 20
generate = "physics.py:data"
[intervals]
method = "neyman"
grid = { start = 0.5, stop = 1.5, points = 3 }
toys_per_point = 20
[bootstrap]
replicas = 2
"""
KEPT = {
    "convert": "592ceea6be10",
    "train": "1dcd51bdf007",
    "normalise": "b82c522c6506",
    "combine": "81955eb452aa",
    "compose": "f9e81adebc59",
    "diagnose": "7e5eaaae492b",
    "evaluate": "1f5a3e557db0",
    "fit": "118aed2f37dc",
    "interval": "68a21f661810",
    "breakdown": "01e6196e8f6f",
    "replica": "5527480ccfb2",
    "bootstrap": "c7d16495599e",
    "toys": "5e379209d21d",
    "neyman": "0468b815ebe9",
    "coverage": "8bf1b14440d6",
    "precision": "e825a4aab539",
    "residuals": "3062d65750fc",
    "report": "0af3358f82a1",
}
"""Of the names and keys of each stage, in the order of the plan."""


def _keys(tmp_path: Path, physics: str, *settings: str) -> dict[str, set[str]]:
    """Give the keys of each stage."""
    for name in ("signal", "signal_up", "signal_down", "background"):
        (tmp_path / f"{name}.parquet").touch()
    (tmp_path / "analysis.toml").write_text(TEXT)
    (tmp_path / "physics.py").touch()
    analysis = load(tmp_path, [*settings]).analysis
    files = {name: (plan.File(path=name, digest=name * 4, borders=(0, 10_000)),) for name in plan.sources(analysis)}
    made = plan.build(
        analysis, plan.Inputs(files=files, physics=plan.Physics(physics, "physics.py"), exact=False), pack=8
    )
    found: dict[str, set[str]] = {}
    for task in made.tasks:
        found.setdefault(task.stage.name, set()).add(task.key)
    return found


@pytest.mark.parametrize(
    ("setting", "again", "kept"),
    [
        ("ensemble.combine=physics.py:f", {"normalise", "combine", "evaluate", "fit", "replica"}, {"convert", "train"}),
        ("training.loss=physics.py:f", {"train", "combine", "evaluate", "fit", "replica"}, {"convert"}),
        ("ensemble.combine=mean_ratio", set(), {"convert", "train", "normalise", "combine", "evaluate", "fit"}),
    ],
)
def test_what_the_users_code_makes_is_made_again_when_it_changes(
    tmp_path: Path, setting: str, again: set[str], kept: set[str]
) -> None:
    before, after = (_keys(tmp_path, physics, setting) for physics in ("first", "second"))
    assert {stage for stage in again if before[stage] & after[stage]} == set()
    assert {stage for stage in kept if before[stage] != after[stage]} == set()


def test_tasks_that_evaluate_are_given_the_code_and_may_be_asked_for_it(tmp_path: Path) -> None:
    _keys(tmp_path, "")
    analysis = load(tmp_path, ["ensemble.combine=physics.py:f", "training.loss=physics.py:g"]).analysis
    files = {name: (plan.File(path=name, digest=name * 4, borders=(0, 10_000)),) for name in plan.sources(analysis)}
    made = plan.build(
        analysis, plan.Inputs(files=files, physics=plan.Physics("text", "physics.py"), exact=False), pack=8
    )
    names = {task.stage.name: task.code.names for task in made.tasks if task.code}
    assert set(names.values()) == {("physics.py:f",)}
    assert {"train", "normalise", "combine", "evaluate", "diagnose", "replica"} <= set(names)


def test_keys_are_those_of_before(tmp_path: Path) -> None:
    for name in ("signal", "signal_up", "signal_down", "background"):
        (tmp_path / f"{name}.parquet").touch()
    (tmp_path / "analysis.toml").write_text(TEXT)
    (tmp_path / "physics.py").touch()
    analysis = load(tmp_path).analysis
    files = {name: (plan.File(path=name, digest=name * 4, borders=(0, 10_000)),) for name in plan.sources(analysis)}
    made = plan.build(
        analysis, plan.Inputs(files=files, physics=plan.Physics("physics", "physics.py"), exact=False), pack=8
    )
    found: dict[str, list[str]] = {}
    for task in made.tasks:
        found.setdefault(task.stage.name, []).append(f"{task.name} {task.key}")
    texts = {stage: "\n".join(lines).encode() for stage, lines in found.items()}
    assert {stage: hashlib.blake2b(text, digest_size=6).hexdigest() for stage, text in texts.items()} == KEPT
