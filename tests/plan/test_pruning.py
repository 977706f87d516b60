"""Variations that cannot matter are found from yields and histograms, and left out where that is asked for."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from needle_parsl import plan
from needle_parsl.analysis import load
from needle_parsl.plan import pruning

TEXT = """
name = "pruned"
physics = "physics.py"
[features]
names = ["x", "y"]
[samples.signal]
files = ["signal.parquet"]
yield = 25.0
[samples.signal.variations.jes]
up = { files = ["signal_jes_up.parquet"] }
down = { files = ["signal_jes_down.parquet"] }
[samples.signal.variations.jer]
up = { files = ["signal_jer_up.parquet"] }
one_sided = "mirror"
[samples.background]
files = ["background.parquet"]
yield = 100.0
[samples.background.variations.jes]
up = { files = ["background_jes_up.parquet"] }
down = { files = ["background_jes_down.parquet"] }
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
nuisances.jer = {}
"""
NAMES = ("signal.jes.up", "signal.jes.down", "signal.jer.up", "background.jes.up", "background.jes.down")


def effect(shape: float = 0.0, relative: float = 1.0, error: float = 0.0, total: float = 1.0) -> plan.VariationEffect:
    return plan.VariationEffect(feature="x", shape=shape, change=0.01, relative=relative, error=error, total=total)


SMALL = dict.fromkeys(NAMES, effect())


def build(folder: Path, effects: dict[str, plan.VariationEffect], *settings: str, text: str = TEXT) -> plan.Plan:
    for name in ("signal", "background", *(name.replace(".", "_") for name in NAMES)):
        (folder / f"{name}.parquet").touch()
    (folder / "analysis.toml").write_text(text)
    (folder / "physics.py").touch()
    loaded = load(folder, [*settings])
    assert not loaded.problems, loaded.problems
    files = {
        name: (plan.File(path=name, digest=name * 4, borders=(0, 10_000)),) for name in plan.sources(loaded.analysis)
    }
    physics = plan.Physics("", "physics.py")
    return plan.build(loaded.analysis, plan.Inputs(files=files, physics=physics, exact=False, effects=effects), pack=8)


def trained(made: plan.Plan) -> set[str]:
    return {task.name for task in made.tasks if task.stage.name == "combine"}


def test_nothing_is_left_out_unless_that_is_asked_for(tmp_path: Path) -> None:
    plain, listed = build(tmp_path, {}), build(tmp_path, SMALL)
    assert plain.tasks == listed.tasks
    assert plain.verdicts == ()
    assert [(one.process, one.nuisance, one.keep) for one in listed.verdicts] == [
        ("signal", "jes", "nothing"),
        ("signal", "jer", "nothing"),
        ("background", "jes", "nothing"),
    ]
    assert "prune = true spares its trainings" in listed.verdicts[0].sentence(pruned=False)


def test_what_cannot_matter_is_not_trained_and_the_report_says_so(tmp_path: Path) -> None:
    made = build(tmp_path, {**SMALL, "background.jes.up": effect(shape=1.0)}, "pruning.prune=true")
    assert trained(made) == {"signal", "background.jes.up", "background.jes.down"}
    assert made.networks < build(tmp_path, {}).networks
    (report,) = [task.spec for task in made.tasks if task.stage.name == "report"]
    assert len(report.pruned) == 2  # type: ignore[union-attr]
    assert report.pruned[0].startswith("the variation jes of signal is left out: its shape moves")  # type: ignore[union-attr]
    (fit,) = [task.spec for task in made.tasks if task.stage.name == "fit" and task.name == "asimov"]
    assert [*fit.model.nuisances] == ["jes"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("effects", "keep"),
    [
        ({"signal.jes.up": effect(shape=0.0099)}, "nothing"),  # sqrt(25 * 0.0099) = 0.4975
        ({"signal.jes.up": effect(shape=0.0101)}, "shape"),
        ({"signal.jes.down": effect(shape=0.0101)}, "shape"),
        ({"signal.jes.up": effect(relative=1.09)}, "nothing"),  # sqrt(25) * 0.09 = 0.45
        ({"signal.jes.up": effect(relative=0.89)}, "rate"),
        ({"signal.jes.up": effect(relative=1.09, error=0.01)}, "rate"),
        ({"signal.jes.up": effect(shape=0.008, relative=1.09)}, "rate"),  # both together
    ],
)
def test_thresholds(tmp_path: Path, effects: dict[str, plan.VariationEffect], keep: str) -> None:
    made = build(tmp_path, SMALL | effects, "pruning.threshold=0.5")
    found = {(one.process, one.nuisance): one.keep for one in made.verdicts}
    assert found.get(("signal", "jes"), "shape") == keep


def test_a_yield_that_may_matter_stays_as_a_rate(tmp_path: Path) -> None:
    effects = SMALL | {"signal.jer.up": effect(relative=1.25), "signal.jes.down": effect(relative=0.5)}
    made = build(tmp_path, effects, "pruning.prune=true")
    (fit,) = [task.spec for task in made.tasks if task.stage.name == "fit" and task.name == "asimov"]
    rates = {name: dict(own.rate) for name, own in fit.model.nuisances.items()}  # type: ignore[union-attr]
    assert rates == {"jes": {"signal": (1.0, 0.5)}, "jer": {"signal": (1.25, 0.8)}}
    assert trained(made) == {"signal"}


def test_a_yield_of_symmetrised_sides_is_symmetric(tmp_path: Path) -> None:
    text = TEXT.replace("nuisances.jes = {}", "nuisances.jes = { symmetrise = true }")
    made = build(tmp_path, SMALL | {"signal.jes.down": effect(relative=0.25)}, "pruning.prune=true", text=text)
    (fit,) = [task.spec for task in made.tasks if task.stage.name == "fit" and task.name == "asimov"]
    assert fit.model.nuisances["jes"].rate == {"signal": (2.0, 0.5)}  # type: ignore[union-attr]


def test_a_side_that_is_not_known_keeps_the_variation(tmp_path: Path) -> None:
    effects = {name: own for name, own in SMALL.items() if name != "signal.jes.down"}
    made = build(tmp_path, effects, "pruning.prune=true")
    assert {"signal.jes.up", "signal.jes.down"} <= trained(made)


def test_a_stated_rate_stays(tmp_path: Path) -> None:
    text = TEXT.replace("nuisances.jer = {}", "nuisances.jer = { rate = { signal = [1.1, 0.9] } }")
    made = build(tmp_path, SMALL, "pruning.prune=true", text=text)
    (fit,) = [task.spec for task in made.tasks if task.stage.name == "fit" and task.name == "asimov"]
    assert {name: dict(own.rate) for name, own in fit.model.nuisances.items()} == {"jer": {"signal": (1.1, 0.9)}}  # type: ignore[union-attr]


def test_a_region_that_sees_more_keeps_the_variation(tmp_path: Path) -> None:
    text = f'{TEXT}regions.low = {{ selection = "x < 1", binning = {{ column = "x", edges = [0.0, 1.0] }} }}\n'
    text = text.replace('names = ["x", "y"]', 'names = ["x", "y"]\nselection = "x > 1"')
    there = {f"{name}@low": effect(total=2.0) for name in NAMES}
    quiet = build(tmp_path, SMALL | there, text=text)
    assert len(quiet.verdicts) == 3
    loud = build(tmp_path, SMALL | there | {"background.jes.up@low": effect(relative=1.1, total=2.0)}, text=text)
    assert [(one.process, one.nuisance) for one in loud.verdicts] == [("signal", "jes"), ("signal", "jer")]
    assert build(tmp_path, SMALL, text=text).verdicts == ()
    elsewhere = text.replace("= {}", '= { regions = ["main"] }')
    assert len(build(tmp_path, SMALL, text=elsewhere).verdicts) == 3


def test_a_parameter_that_is_named_elsewhere_stays(tmp_path: Path) -> None:
    made = build(tmp_path, SMALL, "pruning.prune=true", "fit.plane={parameters=['mu', 'jes']}")
    (fit,) = [task.spec for task in made.tasks if task.stage.name == "fit" and task.name == "asimov"]
    assert [*fit.model.nuisances] == ["jes"]  # type: ignore[union-attr]


def test_numbers_are_in_errors_of_the_result(tmp_path: Path) -> None:
    (one, *_) = pruning.judged(
        load(tmp_path_with(tmp_path)).analysis, SMALL | {"signal.jes.up": effect(shape=1e-6, relative=1.001)}
    )
    assert one.shape == pytest.approx(math.sqrt(25 * 1e-6))
    assert one.rate == pytest.approx(5 * 0.001)


def tmp_path_with(folder: Path) -> Path:
    build(folder, {})
    return folder
