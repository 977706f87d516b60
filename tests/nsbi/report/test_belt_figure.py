"""The figure of a confidence belt, drawn from what the construction gives."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from problems.toys import belt, block

from needle_parsl.nsbi.report.figures import likelihoods


def drawn(observed: list[float]) -> Any:
    """The axes of a belt with this t of the data."""
    made = belt(np.arange(5.0), [block(np.linspace(0, 4, 100))] * 5, np.array(observed))
    facts: Any = SimpleNamespace(
        inference=SimpleNamespace(belt=made), subject=SimpleNamespace(headline="observed", poi="mu")
    )
    (axes,) = likelihoods.belt(facts).axes
    return axes


@pytest.mark.parametrize(
    ("observed", "places", "lines"),
    [
        ([9.0, 0.5, np.nan, 0.2, 9.0], [0, 1, 3, 4], 2),
        ([np.nan, 0.5, 1.0, 2.0, np.nan], [1, 2, 3], 2),
        ([np.nan, 0.5, np.nan, np.nan, np.nan], [1], 1),
    ],
)
def test_belt_is_drawn_where_t_of_the_data_is_known(observed: list[float], places: list[int], lines: int) -> None:
    """No curve goes through a value whose fit did not converge, nor beyond the last one that did; one label, either way."""
    axes = drawn(observed)
    black = [line for line in axes.lines if line.get_color() == "black"]
    assert len(black) == lines
    for line in black:
        x, y = line.get_data()
        assert (x[0], x[-1]) == (places[0], places[-1])
        assert np.isfinite(y).all()
    np.testing.assert_array_equal(black[-1].get_xdata(), places)
    assert [text.get_text() for text in axes.get_legend().get_texts()].count("t, observed") == 1
