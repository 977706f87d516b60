"""Where learned scores alone disagree with data, the check points to the networks."""

from __future__ import annotations

import pytest

from needle_parsl.nsbi.report.checks.goodness import LIKELY, of_scores_alone


@pytest.mark.parametrize(
    ("p_values", "said"),
    [
        ({"classifier": 0.8, "ln r of top": 1e-9, "mass": 0.3}, True),
        ({"classifier": 0.8, "ln r of top": 0.2, "mass": 0.3}, False),
        ({"classifier": 0.8, "ln r of top": 1e-9, "mass": 1e-5}, False),
        ({"mass": 1e-5}, False),
        ({"ln r of top": 1e-9}, False),
    ],
)
def test_scores_alone_point_to_the_networks(p_values: dict[str, float], said: bool) -> None:
    assert bool(of_scores_alone(p_values, LIKELY)) == said
