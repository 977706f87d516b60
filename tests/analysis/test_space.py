"""Strings of a search space: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

import re

import pytest

from needle_parsl.analysis import space
from needle_parsl.analysis.space import Axis
from needle_parsl.errors import InputError


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("uniform:0,1", Axis(low=0, high=1)),
        ("loguniform:1e-5,2e-4", Axis(low=1e-5, high=2e-4, log=True)),
        ("quniform: 0.1, 0.52, 0.1", Axis(low=0.1, high=0.5, step=0.1)),
        ("randint:2,8", Axis(low=2, high=7, whole=True)),  # as Ray Tune and NumPy: without the upper end
        ("lograndint:1,1001", Axis(low=1, high=1000, log=True, whole=True)),
        ("qrandint:100,1000,4", Axis(low=100, high=1000, step=4, whole=True)),  # with it
        ("qrandint:16,70,16", Axis(low=16, high=64, step=16, whole=True)),
        ("choice:a, b", Axis(choices=("a", "b"))),
        ("choice:true,false", Axis(choices=(True, False))),
        ("grid:1,2.5,x", Axis(choices=(1, 2.5, "x"))),
    ],
)
def test_what_a_string_means(text: str, axis: Axis) -> None:
    found = space.parse(text)
    assert (found.low, found.step, found.log, found.whole, found.choices) == (
        axis.low,
        axis.step,
        axis.log,
        axis.whole,
        axis.choices,
    )
    assert found.high == pytest.approx(axis.high)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loguniforn:1,2", '"loguniforn:1,2" is no range; did you mean "loguniform"?'),
        ("3", '"3" is no range; one begins with uniform:, '),
        ("uniform:2,1", "runs from 2 to 1; expected the lower end first"),
        ("randint:2,2", "holds no number, since the upper end is left out"),
        ("randint:2,3", "holds one value, which leaves nothing to search"),
        ("choice:a", "holds one value"),
        ("qrandint:4,6,4", "holds one value"),
        ("choice:a,a", "names a value twice"),
        ("choice:", "has an empty value"),
        ("choice:a,,b", "has an empty value"),
        ("uniform:1", "needs 2 numbers, uniform:low,high"),
        ("uniform:1,b", "needs 2 numbers"),
        ("uniform:1,2,3", "needs 2 numbers"),
        ("quniform:1,2,0", "has a step of 0; expected more than 0"),
        ("quniform:1,2,-1", "has a step of -1"),
        ("loguniform:0,1", "begins at 0, which has no logarithm"),
        ("uniform:nan,1", "needs 2 numbers"),
        ("uniform:0,inf", "needs 2 numbers"),
        ("randint:1.5,3", "needs whole numbers"),
    ],
)
def test_what_is_said_of_others(text: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        space.parse(text)


def test_values_and_extremes() -> None:
    assert space.parse("qrandint:16,64,16").values() == (16, 32, 48, 64)
    assert space.parse("randint:2,5").values() == (2, 3, 4)
    assert space.parse("quniform:0,1,0.25").values() == (0, 0.25, 0.5, 0.75, 1)
    assert space.parse("uniform:0,1").values() == ()
    assert space.parse("randint:2,5").extremes() == (2, 4)
    assert space.flat({"layers": "grid:1,2", "network": {"width": "grid:3,4"}}) == {
        "layers": "grid:1,2",
        "network.width": "grid:3,4",
    }
