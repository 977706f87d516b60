"""Brackets and rungs: fixed before anything is known."""

from __future__ import annotations

import pytest

from needle_parsl.analysis import Search
from needle_parsl.analysis.tables.search import Scheduler
from needle_parsl.nsbi.search import design

SPACE = {"learning_rate": "loguniform:1e-4,1e-1"}


def search(sampler: str = "tpe", trials: int = 40, **scheduler: object) -> Search:
    return Search(space=dict(SPACE), trials=trials, sampler=sampler, scheduler=Scheduler(**scheduler))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scheduler", "epochs"),
    [
        ({"name": "none"}, (0,)),
        ({"name": "halving", "grace_period": 5, "max_epochs": 45}, (5, 15, 45)),
        ({"name": "halving", "grace_period": 5, "max_epochs": 50, "reduction_factor": 2}, (5, 10, 20, 40, 50)),
        ({"name": "halving", "max_epochs": 90}, (10, 30, 90)),
        ({"name": "halving", "max_epochs": 2}, (1, 2)),
    ],
)
def test_rungs(scheduler: dict[str, object], epochs: tuple[int, ...]) -> None:
    assert design.rungs(search(**scheduler), None) == epochs


@pytest.mark.parametrize("name", ["none", "halving", "hyperband"])
@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "qmc"])
@pytest.mark.parametrize("trials", [1, 3, 40, 1000])
def test_every_trial_begins_once_and_fewer_go_on(name: str, sampler: str, trials: int) -> None:
    made = design.of(search(sampler, trials, name=name, max_epochs=27), None, 1)
    assert sum(bracket.counts[0] for bracket in made.brackets) == trials
    for bracket in made.brackets:
        assert len(bracket.counts) == len(bracket.epochs)
        assert list(bracket.epochs) == sorted(bracket.epochs)
        assert list(bracket.counts) == sorted(bracket.counts, reverse=True)
        assert min(bracket.counts) >= 1
        if name != "none":
            assert bracket.epochs[-1] == 27  # somebody of each bracket is trained to the end
    seen = [pair for step in range(made.steps) for pair in made.running(step)]
    assert len(seen) == sum(len(bracket.counts) for bracket in made.brackets)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_there_is_a_choice_in_every_rung(sampler: str) -> None:
    made = design.of(search(sampler, 27, name="halving", max_epochs=9, grace_period=1), None, 1)
    assert {bracket.counts for bracket in made.brackets} == (
        {(9, 3, 1)} if sampler == "tpe" else {(14, 5, 2), (13, 4, 1)}
    )


def test_a_step_is_decided_while_another_one_is_trained() -> None:
    """No rung begins in the step after the one that decides it: a worker that is done early finds the packs of the step between."""
    made = design.of(search(name="halving", max_epochs=27), None, 1)
    steps = [step for step in range(made.steps) for bracket, _ in made.running(step) if bracket is made.brackets[0]]
    assert steps == [0, design.OPEN_STEPS, 2 * design.OPEN_STEPS]
    assert all(made.running(step) for step in range(made.steps))


def test_hyperband_begins_with_several_lengths() -> None:
    made = design.of(search(name="hyperband", max_epochs=27, grace_period=3), None, 1)
    assert {bracket.epochs[0] for bracket in made.brackets} == {3, 9, 27}


def test_a_grid_has_no_more_trials_than_points() -> None:
    own = Search(space={"layers": "grid:1,2,3", "nodes": "qrandint:16,32,16"}, sampler="grid", trials=100)
    assert sum(bracket.counts[0] for bracket in design.of(own, None, 1).brackets) == 6
