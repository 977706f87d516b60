"""The section of a search: what is said of rungs, failures and ends of ranges."""

from __future__ import annotations

from dataclasses import replace

from needle_parsl.analysis import Search
from needle_parsl.analysis.tables.search import Scheduler
from needle_parsl.nsbi.report import search
from needle_parsl.nsbi.report.search import Searched
from needle_parsl.nsbi.search import design
from needle_parsl.nsbi.search.trials import Rung, Trial, measured


def trials(settings: list[int]) -> list[Trial]:
    return [
        Trial(
            number=k,
            settings={"nodes": nodes},
            bracket=0,
            state="complete",
            rungs=(Rung(epochs=9, pack="p", metrics={"val_loss": measured([0.5 + k, 0.6 + k])}),),
        )
        for k, nodes in enumerate(settings)
    ]


def section(found: list[Trial], chosen: int = 0) -> search.Section:
    scheduler = Scheduler(name="halving", grace_period=1, max_epochs=9)
    made = design.of(Search(space={"nodes": "randint:4,9"}, trials=27, scheduler=scheduler), None, 1)
    return search.section(made, 2, {"signal": Searched(found, (chosen,), (chosen,))})


def test_rungs_are_said() -> None:
    assert "Rungs: 9, 3, 1 trials at 1, 3, 9 epochs (3 times)." in section(trials([5, 6])).text


def test_an_end_of_a_range_is_a_warning() -> None:
    (inside,), (end,) = (section(trials([5, 8]), chosen).checks for chosen in (0, 1))
    assert inside.state == "pass"
    assert end.state == "warning"
    assert "at an end of the range of nodes" in end.sentence


def test_what_failed_or_is_not_known_is_said_and_drawn() -> None:
    first, second, third = trials([5, 6, 7])
    unknown = replace(second.rungs[0], metrics={"val_loss": measured([float("nan"), 0.5])})
    found = [
        first,
        replace(second, rungs=(unknown,)),
        replace(third, state="failed", rungs=(replace(third.rungs[0], metrics={}, reason="diverged in epoch 1"),)),
    ]
    made = section(found)
    states = {check.sentence: check.state for check in made.checks}
    assert states == {
        "In 1 of 3 trials of signal val_loss could not be computed; they count as the worst.": "warning",
        "1 of 3 trials of signal have failed, such as nodes = 7: diverged in epoch 1.": "warning",
    }
    assert [row[0] for row in made.tables[0].rows] == [0, 1]
    assert made.tables[0].rows[1][2] is None
    assert made.figures
