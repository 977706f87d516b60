"""Which trials go on: by the objective, with its error, and without looking at the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from needle_parsl.analysis import Search
from needle_parsl.analysis.tables.search import Scheduler
from needle_parsl.nsbi.search import design, sampling, steps, storage
from needle_parsl.nsbi.search.design import Design
from needle_parsl.nsbi.search.trials import Rung, Trial, front, measured, objectives, ranked

SPACE = {"learning_rate": "loguniform:1e-5,1e-1", "layers": "randint:1,7", "optimizer": "choice:adam,sgd"}
Value = Callable[[Trial], Sequence[float]]


def designed(seed: int = 1, **settings: object) -> Design:
    made = {"space": dict(SPACE), "trials": 24, "risk": 1.0, **settings}
    return design.of(Search(**made), None, seed)  # type: ignore[arg-type]


HALVING = Scheduler(name="halving", grace_period=1, max_epochs=9)


def distance(trial: Trial) -> float:
    """A planted optimum: a learning rate of 3e-3, four layers, adam."""
    own = trial.settings
    rate = np.log10(float(own["learning_rate"]) / 3e-3)
    return float(rate**2 + 0.3 * (float(own["layers"]) - 4) ** 2 + (own["optimizer"] == "sgd"))


def run(made: Design, value: Value, fails: Callable[[Trial], str] = lambda _: "") -> list[Trial]:
    """Do a search, with a function in the place of trainings."""
    trials: list[Trial] = []
    open_: dict[int, list[Trial]] = {}
    for step in range(made.steps + design.OPEN_STEPS):
        for trial in open_.pop(step - design.OPEN_STEPS, []):
            bracket = made.brackets[trial.bracket]
            reason = fails(trial)
            found = {} if reason else {name: measured(value(trial)) for name in made.metrics}
            rung = Rung(epochs=bracket.epochs[len(trial.rungs)], pack=f"{step}", metrics=found, reason=reason)
            trials = steps.after(trials, {trial.number: rung})
        trials, going = steps.advance(made, trials, step)
        open_[step] = going
    return steps.ended(made, trials)


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "qmc", "grid"])
def test_all_trials_are_done_and_the_same_every_time(sampler: str) -> None:
    space = {"layers": "randint:1,7", "optimizer": "choice:adam,sgd"} if sampler == "grid" else dict(SPACE)
    value = (lambda t: [float(t.settings["layers"])]) if sampler == "grid" else (lambda t: [distance(t)])
    made = designed(sampler=sampler, space=space, scheduler=HALVING)
    found, again = run(made, value), run(made, value)
    assert found == again
    assert len(found) == (12 if sampler == "grid" else 24)
    assert len({str(trial.settings) for trial in found}) > 0.9 * len(found)
    assert all(trial.state in ("ended", "complete") for trial in found)
    other = run(designed(2, sampler=sampler, space=space, scheduler=HALVING), value)
    assert (found == other) == (sampler == "grid")


@pytest.mark.parametrize("scheduler", [Scheduler(), HALVING])
def test_a_sampler_is_told_of_the_settings_that_were_tried(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evolution is asked again for all it was asked for, knows more by now, and would ask for others."""
    space, told = {"a": "uniform:0,1", "b": "loguniform:1e-3,1", "layers": "randint:1,7"}, []

    def asked(study: optuna.Study, trial: optuna.Trial, *arguments: object, **options: object) -> object:
        told.append((trial.number, dict(trial.params)))
        return tell(study, trial, *arguments, **options)

    tell = optuna.Study.tell
    monkeypatch.setattr(optuna.Study, "tell", asked)
    made = designed(sampler="cmaes", space=space, scheduler=scheduler)
    found = run(made, lambda trial: [(float(trial.settings["a"]) - 0.3) ** 2])
    assert len(told) >= len(found)
    for number, settings in told:
        assert settings == found[number].settings


def test_a_grid_of_many_is_begun_at_once() -> None:
    """A thousand million combinations."""
    space = {f"a{k}": "randint:0,1000" for k in range(3)}
    found = run(designed(sampler="grid", space=space, trials=6), lambda trial: [float(trial.settings["a2"])])
    assert [trial.settings["a2"] for trial in found] == list(range(6))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("name", ["none", "halving", "hyperband"])
def test_as_many_are_complete_as_was_said(sampler: str, name: str) -> None:
    search = Search(space=dict(SPACE), trials=23, sampler=sampler, scheduler=replace(HALVING, name=name))
    found = run(design.of(search, None, 1), lambda trial: [distance(trial)])
    assert sum(trial.state == "complete" for trial in found) == design.complete(search, None)


@pytest.mark.parametrize("name", ["none", "halving", "hyperband"])
def test_the_best_of_a_rung_go_on(name: str) -> None:
    made = designed(scheduler=replace(HALVING, name=name), trials=40)
    found = run(made, lambda trial: [distance(trial)])
    for number, bracket in enumerate(made.brackets):
        own = [trial for trial in found if trial.bracket == number]
        for rung, count in enumerate(bracket.counts):
            there = [trial for trial in own if len(trial.rungs) > rung]
            assert len(there) == count
            gone = [trial for trial in own if len(trial.rungs) == rung]
            assert max(map(distance, there)) <= min(map(distance, gone), default=np.inf)
    best = steps.winners(made, found)[0]
    assert best.state == "complete"
    assert distance(best) == min(distance(trial) for trial in found if trial.state == "complete")


def test_a_seen_optimum_is_found_sooner_than_by_chance() -> None:
    """Regret of the winner in 10 pairs of seeds."""
    wins = 0
    for seed in range(10):
        regrets = [
            distance(steps.winners(made, run(made, lambda trial: [distance(trial)]))[0])
            for made in (designed(seed, sampler=sampler, trials=40) for sampler in ("tpe", "random"))
        ]
        wins += regrets[0] < regrets[1]
    assert wins >= 8


def test_replicas_and_their_error_find_what_is_better_in_truth() -> None:
    """What trains badly scatters most: with as many networks, three replicas and their error find the better settings."""
    wins = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)

        def noisy(trial: Trial, count: int, rng: np.random.Generator = rng) -> list[float]:
            return list(distance(trial) + rng.normal(0, 0.1 + distance(trial), count))

        three = designed(seed, trials=20, risk=1.0)
        one = designed(seed, trials=60, risk=0.0)
        with_replicas = steps.winners(three, run(three, lambda trial: noisy(trial, 3)))[0]
        without = steps.winners(one, run(one, lambda trial: noisy(trial, 1)))[0]
        wins += distance(with_replicas) < distance(without)
    assert wins >= 8


def test_trials_that_fail_are_left_behind() -> None:
    made = designed(scheduler=HALVING)
    found = run(made, lambda trial: [distance(trial)], lambda trial: "diverged" if trial.number % 3 == 0 else "")
    failed = [trial for trial in found if trial.state == "failed"]
    assert {trial.number for trial in failed} == {trial.number for trial in found if trial.number % 3 == 0}
    assert all(len(trial.rungs) == 1 for trial in failed)
    assert steps.winners(made, found)[0].number % 3
    none = run(made, lambda _: [0.0], lambda _: "diverged")
    assert steps.winners(made, none) == []


def test_objective_is_the_mean_and_its_error() -> None:
    rung = Rung(epochs=1, pack="", metrics={"val_loss": measured([1.0, 2.0, 3.0]), "auc": measured([0.5, 0.7])})
    assert objectives(rung, ("val_loss", "auc"), 2.0) == pytest.approx((2 + 2 / np.sqrt(3), -0.6 + 2 * 0.1))


def test_what_replicas_have_in_common_is_no_error() -> None:
    """Folds that differ by 0.05 for every network hide nothing of settings that scatter by 0.001."""
    rng = np.random.default_rng(1)
    folds = np.array([0.29, 0.27, 0.23])
    scatter = {number: 1e-3 if number else 5e-3 for number in range(20)}
    trials = [Trial(number=number, settings={}, bracket=0) for number in scatter]
    values = {number: folds + 0.01 * number + rng.normal(0, sigma, 3) for number, sigma in scatter.items()}
    rungs = {n: Rung(epochs=3, pack="", metrics={"val_loss": measured(list(v))}) for n, v in values.items()}
    plain = [rung.metrics["val_loss"].error for rung in rungs.values()]
    assert min(plain) > 0.015
    found = [own.rungs[0].metrics["val_loss"] for own in steps.after(trials, rungs)]
    assert [one.value for one in found] == pytest.approx([v.mean() for v in values.values()])
    errors = np.array([one.error for one in found])
    expected = 1e-3 / np.sqrt(3)
    # A standard deviation of three values has chi-squared of two degrees of freedom, less what the common part takes.
    assert np.sqrt((errors[1:] ** 2).mean()) == pytest.approx(expected, rel=3 / np.sqrt(2 * 2 * 19))
    two = steps.after(trials[:2], {n: rungs[n] for n in (0, 1)})
    assert [own.rungs[0].metrics["val_loss"].error for own in two] == plain[:2]  # of two trials nobody knows it


def test_what_cannot_be_computed_is_the_worst() -> None:
    made = designed(scheduler=HALVING, trials=9)
    found = run(made, lambda one: [float("nan"), 0.0] if one.number < 4 else [distance(one)])
    assert all(own.state != "failed" for own in found)
    winner = steps.winners(made, found)[0]
    assert winner.number >= 4
    lacking = [own.rungs[0].metrics["val_loss"] for own in found[:4]]
    assert all(one.value is None and one.replicas == (None, 0.0) for one in lacking)
    nothing = run(made, lambda _: [float("nan")])
    assert steps.winners(made, nothing) == []
    assert front(nothing, ("val_loss",), 1.0) == []


def trial(number: int, *values: float) -> Trial:
    names = ("val_loss", "ece")
    rung = Rung(epochs=1, pack="", metrics={n: measured([v]) for n, v in zip(names, values, strict=True)})
    return Trial(number=number, settings={}, bracket=0, state="complete", rungs=(rung,))


def test_front_and_what_is_picked_of_it() -> None:
    points = [trial(0, 1, 9), trial(1, 2, 2), trial(2, 9, 1), trial(3, 3, 3), trial(4, 2, 9)]
    assert [one.number for one in front(points, ("val_loss", "ece"), 1.0)] == [0, 1, 2]
    assert [one.number for one in ranked(points, ("val_loss", "ece"), 1.0)][:2] == [1, 0]
    assert ranked(points, ("val_loss", "ece"), 1.0, "ece")[0].number == 2
    assert {one.number for one in ranked(points, ("val_loss", "ece"), 1.0)[3:]} == {3, 4}


def test_packs_end_together() -> None:
    works = [steps.Work(trial=k, settings={}, epochs=1, lengths=(), begun="") for k in range(9)]
    costs = [9.0, 1, 1, 1, 4, 5, 2, 2, 2]
    packs = steps.packed(works, costs, 3)
    assert sorted(work.trial for pack in packs for work in pack) == list(range(9))
    loads = [sum(costs[work.trial] for work in pack) for pack in packs]
    assert max(loads) - min(loads) <= 1


def test_trials_of_one_stack_stay_together() -> None:
    """Learning rates of three sizes of networks, for packs of eight trials."""
    works = [
        steps.Work(trial=k, settings={"learning_rate": 1e-3 * (k + 1), "nodes": k % 3}, epochs=1, lengths=(), begun="")
        for k in range(24)
    ]
    packs = steps.packed(works, [1.0] * 24, 3, stacked=True)
    assert sorted(work.trial for pack in packs for work in pack) == list(range(24))
    assert [len({steps.stack(work) for work in pack}) for pack in packs] == [1, 1, 1]
    spread = steps.packed(works[:6], [1.0] * 6, 6, stacked=True)
    assert [len(pack) for pack in spread] == [1] * 6  # no worker waits for a stack


@pytest.mark.parametrize("schema", [storage.SCHEMA, 0])
def test_study_opens_in_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: int) -> None:
    """Also where its tables are of a version that is not known here, and Optuna fills them."""
    monkeypatch.setattr(storage, "SCHEMA", schema)
    made = designed(scheduler=HALVING, metric=("val_loss", "auc"))
    found = run(made, lambda trial: [distance(trial), distance(trial) + 0.1], lambda t: "lost" if t.number == 3 else "")
    path = tmp_path / "study.db"
    some = [replace(own, state="running") if own.number > 8 else own for own in found]
    path.write_bytes(b"somebody's own file")
    for trials in (some, found, found):
        storage.write(path, made, trials)
    other = designed(7, scheduler=HALVING, metric=("val_loss", "auc"))
    storage.write(tmp_path / "other.db", other, run(other, lambda _: [1.0, 1.0]))
    (tmp_path / "other.db").replace(path)  # what is there is of another search
    storage.write(path, made, found)
    study = optuna.load_study(study_name=storage.NAME, storage=f"sqlite:///{tmp_path}/study.db")
    assert [one.params for one in study.trials] == [dict(one.settings) for one in found]
    assert study.metric_names == ["val_loss", "auc"]
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert study.trials[3].state.name == "FAIL"
    assert study.trials[5].values == pytest.approx([found[5].rungs[-1].metrics[n].value for n in made.metrics])
    assert study.trials[5].user_attrs["val_loss"]["replicas"] == list(found[5].rungs[-1].metrics["val_loss"].replicas)


def test_settings_stay_in_their_ranges() -> None:
    for sampler in ("tpe", "random", "qmc", "cmaes"):
        made = designed(sampler=sampler)
        for own in sampling.suggest(dict(made.space), sampler, 1, [], 40, (("val_loss",), 1.0)):
            assert 1e-5 <= own["learning_rate"] <= 1e-1
            assert own["layers"] in range(1, 7)
            assert own["optimizer"] in ("adam", "sgd")
