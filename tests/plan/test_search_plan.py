"""A search in the plan: static, with the trainings behind it, and without a trace where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from needle_parsl import plan
from needle_parsl.analysis import load
from needle_parsl.errors import InputError
from needle_parsl.plan import precision, specs, task_json
from needle_parsl.workflow import cost

SEARCH = ('search.space={ learning_rate = "loguniform:1e-3,1e-1" }', "search.trials=10", "search.replicas=2")


def build(folder: Path, *settings: str) -> plan.Plan:
    loaded = load(folder, list(settings))
    files = {name: (plan.File(path="f", digest=name, borders=(0, 100)),) for name in plan.sources(loaded.analysis)}
    inputs = plan.Inputs(files=files, physics=plan.Physics(loaded.source, "p"), exact=True)
    return plan.build(loaded.analysis, inputs, 4)


def test_trainings_wait_for_the_end_of_the_search(small_inputs: Path) -> None:
    made = build(small_inputs, *SEARCH)
    (end,) = [task for task in made.tasks if isinstance(task.spec, specs.Best)]
    trains = [task for task in made.tasks if task.stage.name == "train"]
    assert all(end.key in task.after and task.spec.searched == "best" for task in trains)
    nominal = [task for task in trains if not task.spec.ratio.numerator.nuisance]
    assert made.kept == 2
    assert made.trials == 10 * 2
    assert [m.replica for task in nominal for m in task.spec.members] == [0, 0, -1, -1, -1, -1]
    varied = [task for task in trains if task.spec.ratio.numerator.nuisance]
    assert {m.replica for task in varied for m in task.spec.members} == {-1}
    place = {task.key: k for k, task in enumerate(made.tasks)}
    assert all(place[before] < place[task.key] for task in made.tasks for before in task.after)


def test_the_best_of_several_take_turns(small_inputs: Path) -> None:
    made = build(small_inputs, *SEARCH, 'search.ensemble="top:3"', "training.members=6")
    trains = [task for task in made.tasks if task.stage.name == "train" and task.name.startswith("signal.0")]
    for task in trains:
        assert {member.member % 3 for member in task.spec.members} == {task.spec.slot}
    found = {(m.member, m.fold): m for task in trains for m in task.spec.members}
    assert len(found) == 6 * 2
    assert {m.seed for (k, fold), m in found.items() if k < 3 and fold == 0} == {found[0, 0].seed}  # other settings
    assert found[0, 0].seed != found[3, 0].seed
    assert sorted(key for key, m in found.items() if m.replica >= 0) == [(k, fold) for k in range(3) for fold in (0, 1)]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("name", ["halving", "hyperband"])
def test_an_ensemble_of_more_than_are_trained_to_their_end_is_refused(
    small_inputs: Path, sampler: str, name: str
) -> None:
    how = f'search.scheduler={{ name = "{name}", grace_period = 1, max_epochs = 9 }}'
    more = [*SEARCH, how, f"search.sampler={sampler}", "search.replicas=1", "training.members=10", "search.trials=18"]
    with pytest.raises(InputError, match=r"asks for the 10 best, and \d trials are trained to their end"):
        build(small_inputs, *more, 'search.ensemble="top:10"')
    made = build(small_inputs, *more, 'search.ensemble="top:2"')
    # A pilot has fewer trials, and no fewer than the ensemble needs.
    loaded = load(small_inputs, [*more, 'search.ensemble="top:2"'])
    assert (
        build(small_inputs, *more, 'search.ensemble="top:2"', *cost.reduced(loaded.analysis, 0.01)).trials
        <= made.trials
    )


@pytest.mark.parametrize("taken", [7, 8])
def test_a_pilot_has_the_trials_of_its_ensemble(small_inputs: Path, taken: int) -> None:
    own = [*SEARCH, f'search.ensemble="top:{taken}"', "search.replicas=1", "training.members=8"]
    fewer = cost.reduced(load(small_inputs, own).analysis, 0.01)
    assert f"search.trials={taken}" in fewer
    assert build(small_inputs, *own, *fewer).trials == taken


def test_networks_of_a_search_have_the_bootstrap_that_the_ensemble_says(small_inputs: Path) -> None:
    """Also where settings take turns, so that member 4 is the third network of its settings."""
    more = ('search.ensemble="top:2"', "training.members=6", "training.bootstrap=true", "search.replicas=4")
    made = build(small_inputs, *SEARCH, *more)
    (first, *_) = [task for task in made.tasks if task.stage.name == "trials"]
    tried = {s.ratio.name: {(m.member, m.fold): m for m in s.members} for s in first.spec.subjects}
    ensemble = [task.spec for task in made.tasks if task.stage.name == "train" and task.spec.ratio.name in tried]
    kept = [(spec.ratio.name, m) for spec in ensemble for m in spec.members if m.replica >= 0]
    assert len(kept) == 2 * 4 * len(tried)
    for name, member in kept:
        own = tried[name][member.replica, member.fold]
        assert (member.seed, member.bootstrap) == (own.seed, own.bootstrap)
        assert own.bootstrap is not None


@pytest.mark.parametrize(("loss", "words"), [("multiclass", "all ratios"), ("carl", "signal")])
def test_the_report_names_what_was_searched(small_inputs: Path, loss: str, words: str) -> None:
    settings = ("ratios.targets=['signal', 'background']",) if loss == "multiclass" else ()
    made = build(small_inputs, *SEARCH, f"training.loss={loss}", *settings)
    (section,) = [task.spec for task in made.tasks if isinstance(task.spec, specs.SearchSection)]
    assert [said for said, _ in section.searches] == [words]


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        (('search.ensemble="top:2"', "training.members=4"), (0, 1, 0, 1)),
        (("training.members=4",), ()),
    ],
)
def test_members_of_several_settings_are_told_apart(
    small_inputs: Path, settings: tuple[str, ...], kinds: tuple[int, ...]
) -> None:
    assert precision.kinds(load(small_inputs, [*SEARCH, *settings]).analysis) == kinds


COMBINED = ('search.space={ ensemble = { combine = "choice:mean_log,mean_ratio" } }', "search.metric=ece")


def test_an_ensemble_reads_how_it_is_combined(small_inputs: Path) -> None:
    """And no ensemble where that is not searched; a combination needs two networks of each fold."""
    with pytest.raises(InputError, match=r"found 2 in 2 folds, and .* expected at least 4"):
        build(small_inputs, *SEARCH, *COMBINED)
    made = build(small_inputs, *SEARCH, *COMBINED, "search.replicas=4")
    kinds = (specs.Combine, specs.Normalise)
    found = [task.spec for task in made.tasks if isinstance(task.spec, kinds)]
    combines = [one for spec in found for one in (spec.ratios if isinstance(spec, specs.Normalise) else [spec])]
    assert {one.searched for one in combines} == {"best"}
    assert all(t.spec.combined == ("mean_log", "none") for t in made.tasks if isinstance(t.spec, specs.Trials))
    other = build(small_inputs, *SEARCH)
    assert {task.spec.searched for task in other.tasks if isinstance(task.spec, specs.Combine)} == {""}
    assert {task.spec.combined for task in other.tasks if isinstance(task.spec, specs.Trials)} == {None}


def test_each_ratio_may_have_a_search_of_its_own(small_inputs: Path) -> None:
    made = build(small_inputs, *SEARCH, "search.per_ratio=true", "ratios.reference=['signal', 'background']")
    ends = {task.name for task in made.tasks if isinstance(task.spec, specs.Best)}
    assert ends == {"signal/best", "background/best"}
    searched = {task.spec.ratio.name: task.spec.searched for task in made.tasks if task.stage.name == "train"}
    assert searched["background.jes.up"] == "background/best"


def test_tasks_of_a_search_travel_as_text(small_inputs: Path) -> None:
    made = [task for task in build(small_inputs, *SEARCH).tasks if task.stage.name in ("search", "trials", "searched")]
    assert task_json.tasks(task_json.text(made)) == made


@pytest.mark.parametrize(
    ("change", "again"),
    [("search.trials=11", True), ("search.risk=2.0", True), ("training.members=5", False)],
)
def test_what_a_search_is_made_from(small_inputs: Path, change: str, *, again: bool) -> None:
    """More members than replicas need leave the search as it is."""
    before, after = build(small_inputs, *SEARCH), build(small_inputs, *SEARCH, change)
    ends = [next(t.key for t in made.tasks if isinstance(t.spec, specs.Best)) for made in (before, after)]
    assert (ends[0] != ends[1]) == again
