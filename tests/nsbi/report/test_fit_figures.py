"""Figures of fits: parameters at a bound stand on top, in red, and nothing leaves the axes or the page."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from report_facts import PartialFacts

from needle_parsl.nsbi.report.figures.fits import RED, distributions, impacts
from needle_parsl.nsbi.statistics.results import Distribution, Distributions, FitResult, Goodness, Impacts, Prediction


def entry(name: str, pull: float) -> dict[str, Any]:
    return {"name": name, "pull": pull, "pull_error": 0.5, "impacts": {"refit": [-0.1, 0.1]}}


def facts(**ends: list[str]) -> Any:
    nuisances = [entry("jes", 0.3), entry("b_tag", 4.99), entry("norm", -0.1)]
    found = Impacts.from_json({"methods": ["refit"], "parameter": "mu", "nuisances": nuisances})
    fit = FitResult.from_json({"on_wall": [], "at_bound": [], **ends})
    inference = SimpleNamespace(impacts=found, further_impacts=(), fits={"observed": fit})
    return PartialFacts(inference=inference, subject=SimpleNamespace(headline="observed"))


def test_parameters_at_a_bound_are_on_top_in_red() -> None:
    pytest.importorskip("matplotlib")
    figure = impacts(facts(on_wall=["b_tag"], at_bound=["norm"]))
    left = figure.axes[0]
    shown = {label.get_text(): label.get_color() for label in left.get_yticklabels()}
    heights = dict(zip(shown, left.get_yticks(), strict=True))
    assert [name for name, colour in shown.items() if colour == RED] == ["b_tag", "norm"]
    assert min(heights["b_tag"], heights["norm"]) > heights["jes"]
    assert "+5.0" in [text.get_text() for text in left.texts]  # beyond the axis: at its end, with the number
    assert all(abs(line.get_xdata()[0]) <= 2.6 for line in left.lines if len(line.get_xdata()) == 1)


def test_without_bounds_the_order_is_that_of_impacts() -> None:
    pytest.importorskip("matplotlib")
    labels = impacts(facts()).axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == ["jes", "b_tag", "norm"]


@pytest.mark.parametrize("regions", [1, 2, 5])
def test_the_legend_of_distributions_is_on_the_page(regions: int) -> None:
    pytest.importorskip("matplotlib")
    part = Prediction({"signal": [1.0, 2.0], "background": [9.0, 8.0]}, [10.0, 10.0], [1.0, 1.0])
    one = Distribution(part, part, None, [9, 12], Goodness(1.4, 2, 0.5))
    found = Distributions({}, {f"r{number}": one for number in range(regions)})
    figure = distributions(SimpleNamespace(inference=SimpleNamespace(distributions=found)))
    figure.canvas.draw()
    ((left, low), (right, high)) = figure.legends[0].get_window_extent().get_points()
    assert min(left, low) >= 0
    assert right <= figure.bbox.width
    assert high <= figure.bbox.height
