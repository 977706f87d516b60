"""The plan of several unbinned regions: what each inherits, what acts where, and what a change makes again."""

from __future__ import annotations

from pathlib import Path

import pytest

from needle_parsl import plan, shipped
from needle_parsl.analysis import Analysis, Loaded, load
from needle_parsl.plan import specs

APP = shipped.folder("apps") / "channels"
PHYSICS = plan.Physics("", "physics.py")


def inputs(**more: object) -> plan.Inputs:
    return plan.Inputs(files={}, physics=PHYSICS, exact=False, **more)  # type: ignore[arg-type]


def planned(loaded: Loaded) -> plan.Plan:
    parts = {name: plan.build_region(own, inputs(), 5) for name, own in loaded.regions.items()}
    return plan.build(loaded.analysis, inputs(regions=parts), 5)


def edited(tmp_path: Path, *changes: tuple[str, str]) -> Loaded:
    """The app with other lines."""
    text = (APP / "analysis.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "physics.py").write_text((APP / "physics.py").read_text())
    (tmp_path / "analysis.toml").write_text(text)
    return load(tmp_path)


def test_regions_inherit_what_they_do_not_say() -> None:
    loaded = load(APP)
    first, other = loaded.analysis, loaded.regions["one_jet"]
    assert (first.region, first.features.names, first.features.selection) == ("no_jet", ("mass", "angle"), "jets == 0")
    assert other.features.names == ("mass", "angle", "recoil")
    assert (other.training.nodes, other.ratios.reference) == (16, ("background",))
    assert list(first.model.regions) == ["control"]


def test_selection_at_the_top_is_a_region_of_its_own(tmp_path: Path) -> None:
    loaded = edited(tmp_path, ('names = ["mass", "angle"]\n', 'names = ["mass", "angle"]\nselection = "jets > 5"\n'))
    assert loaded.analysis.region == "main"
    assert list(loaded.regions) == ["no_jet", "one_jet"]
    assert loaded.analysis.stated is None
    assert {own.stated for own in loaded.regions.values()} == {"jets > 5"}


def varied(analysis: Analysis) -> set[str]:
    return {nuisance for _, nuisance, _, _ in analysis.varied()}


def test_nuisance_is_trained_where_it_acts() -> None:
    loaded = load(APP)
    assert varied(loaded.analysis) == {"scale"}
    assert varied(loaded.regions["one_jet"]) == {"scale", "width"}
    counted = {name for name in plan.sources(loaded.analysis) if name.endswith("@control")}
    assert not any("width" in name for name in counted)


def test_fit_is_of_all_regions_and_closure_of_each() -> None:
    tasks = planned(load(APP)).tasks
    fits = {task.name: task.of(specs.FitSpec) for task in tasks if task.stage.name == "fit"}
    assert {fit.unbinned for fit in fits.values()} == {("no_jet", "one_jet")}
    closures = {task.part: task.spec for task in tasks if isinstance(task.spec, specs.Closing)}
    assert {part: spec.fit.unbinned for part, spec in closures.items()} == {"": ("no_jet",), "one_jet": ("one_jet",)}
    known = {task.key for task in tasks}
    assert all(key in known for task in tasks for key in task.after)


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (('names = ["mass", "angle", "recoil"]', 'names = ["mass", "recoil"]'), {"one_jet"}),
        (('selection = "jets == 1"', 'selection = "jets == 1 and mass > -3"'), {"one_jet"}),
        (('selection = "jets == 0"', 'selection = "jets == 0 and mass > -3"'), {""}),
        (("nodes  = 16", "nodes  = 8"), {"", "one_jet"}),
        (("edges = [-4.0", "edges = [-5.0"), set()),
    ],
    ids=["features", "selection", "first", "all", "bins"],
)
def test_change_of_a_region_trains_that_region(tmp_path: Path, change: tuple[str, str], again: set[str]) -> None:
    before = {task.key for task in planned(load(APP)).tasks}
    new = [task for task in planned(edited(tmp_path, change)).tasks if task.key not in before]
    assert {task.part for task in new if task.stage.name == "train"} == again
    assert {"observed", "asimov"} <= {task.name for task in new if task.stage.name == "fit"}


def test_stage_with_which_a_run_ends_is_that_of_all_regions() -> None:
    until = planned(load(APP)).until("train").tasks
    assert {task.part for task in until if task.stage.name == "train"} == {"", "one_jet"}
    assert not any(task.stage.name == "combine" for task in until)


def test_region_without_unbinned_ones_is_as_before() -> None:
    loaded = load(shipped.folder("apps") / "gaussian")
    assert loaded.regions == {}
    assert loaded.analysis.region == ""


def test_validation_region_changes_no_fit(tmp_path: Path) -> None:
    before = {task.key for task in planned(edited(tmp_path)).tasks}
    looked = '[model.regions.looked]\nvalidation = true\nselection = "jets == 3"\nbinning = { column = "mass", edges = [-4.0, 4.0] }\n\n[fit]\n'
    made = planned(edited(tmp_path, ("[fit]\n", looked))).tasks
    new = {task.name if task.stage.name == "interval" else task.stage.name for task in made if task.key not in before}
    assert new == {"generate", "convert", "count", "validation", "report"}
    (count,) = [task.of(specs.Count) for task in made if task.stage.name == "count" and task.key not in before]
    assert [name for name, _ in count.beside] == ["control"]
    assert all("looked" not in task.spec.model.regions for task in made if isinstance(task.spec, specs.FitSpec))
