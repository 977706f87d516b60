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
def test_a_metric_that_is_no_number_says_when(name: str) -> None:
    said = search._unknown(name)
    assert said.startswith(f"{name} is no number")
    assert ("negative weights" in said) == (name == "wasserstein")
