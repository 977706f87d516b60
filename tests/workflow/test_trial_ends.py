"""The end of a search whose last rung has failed, and what is said of metrics that are no number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from needle_parsl.analysis import Search, catalogue
from needle_parsl.analysis.tables.search import Scheduler
from needle_parsl.nsbi.search import design
from needle_parsl.nsbi.search.trials import Rung, Trial, measured
from needle_parsl.plan import specs
from needle_parsl.tasks import search

HALVING = Scheduler(name="halving", grace_period=1, max_epochs=9)


@pytest.mark.parametrize(("name", "rungs", "lengths"), [
    ("halving", 1, (1,)), ("halving", 2, (1, 3)), ("halving", 3, (1, 3, 9)), ("none", 1, ()),
])  # fmt: skip
def test_an_ensemble_is_trained_as_far_as_its_first_networks(name: str, rungs: int, lengths: tuple[int, ...]) -> None:
    """Where all trials that went on have failed, the best of those that ended early is taken, with its length."""
    space = {"nodes": "randint:4,8"}
    made = design.of(Search(space=space, trials=9, scheduler=replace(HALVING, name=name)), None, 1)
    ends = made.brackets[0].epochs
    known = {"val_loss": measured([0.5, 0.6])}
    reached = tuple(Rung(epochs=ends[k], pack=f"{k}", metrics=known) for k in range(rungs))
    trial = Trial(number=0, settings={"nodes": 4}, bracket=0, state="ended", rungs=reached)
    found = search._chosen(specs.Best(search=made, before="", measured=(), subjects=("signal",)), trial)
    assert (found.lengths, found.pack) == (lengths, f"{rungs - 1}")


@pytest.mark.parametrize("name", catalogue.SEARCH_METRICS)
def test_an_end_without_a_trial_says_why(name: str) -> None:
    made = design.of(Search(space={"nodes": "randint:4,8"}, trials=3, metric=name), None, 1)
    values = {name: measured([float("nan"), 0.5])}
    unknown = [
        Trial(number=k, settings={}, bracket=0, rungs=(Rung(epochs=0, pack="p", metrics=values),)) for k in range(2)
    ]
    rungs = (Rung(epochs=0, pack="p", metrics={}, reason="diverged in epoch 3"),)
    failed = Trial(number=2, settings={}, bracket=0, state="failed", rungs=rungs)
    said = search._none_left(made, [*unknown, failed], 0)
    assert said.startswith("of 3 trials none can be taken, and the ensemble needs 1: ")
    assert f"2 trials: {name} could not be computed, since " in said
    assert "1 trials: diverged in epoch N" in said
    assert ("negative weights" in said) == (name == "wasserstein")
