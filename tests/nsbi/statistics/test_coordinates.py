"""The coordinate of the fit: multipliers keep their values, and get slopes where they had none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from needle_parsl.analysis import Model, Parameter
from needle_parsl.expressions import parse
from needle_parsl.nsbi.statistics.model import Rates
from needle_parsl.nsbi.statistics.model.rates import in_root, rooted


@pytest.mark.parametrize(
    "text", ["mu - sqrt(mu)", "sqrt(mu)", "1 - mu**0.5", "mu**1.5 / 3", "2 * k * sqrt(mu) - mu**2"]
)
def test_rewritten_multiplier_has_the_same_values(text: str) -> None:
    tree = parse(text)
    assert rooted(tree, "mu")
    inner = in_root(tree, "mu")
    for mu in (0.0, 0.1, 1.0, 4.2):
        assert inner({"mu": math.sqrt(mu), "k": 0.7}) == pytest.approx(tree({"mu": mu, "k": 0.7}), abs=1e-14)
    assert math.isfinite(inner.derivative("mu")({"mu": 0.0, "k": 0.7}))


@pytest.mark.parametrize("text", ["mu", "mu**2 + 3", "sqrt(k) * mu", "mu**0.3", "sqrt(mu + 1)", "1"])
def test_other_multipliers_are_left_alone(text: str) -> None:
    assert not rooted(parse(text), "mu")


def test_parameters_go_in_and_come_out() -> None:
    table = Model(
        {"mu": Parameter(2.0, (0.5, 5.0)), "k": Parameter(1.0, (-3.0, 3.0), "free")}, {"s": "sqrt(mu) * k"}, {}
    )
    rates = Rates.build(table)
    assert rates.curved.tolist() == [True, False]
    theta = rates.at({"mu": 4.0, "k": -2.0})
    assert theta.tolist() == [2.0, -2.0]
    assert rates.outward(theta).tolist() == [4.0, -2.0]
    assert rates.at({}).tolist() == [math.sqrt(2), 1.0]
    assert rates.bounds[0] == (0.5, 5.0)
    np.testing.assert_allclose(rates.limits(), [(math.sqrt(0.5), math.sqrt(5)), (-3.0, 3.0)])
    assert rates.factors(theta)[0] == pytest.approx([-4.0])
    np.testing.assert_allclose(rates.stretch(theta), [4.0, 1.0])  # d mu / d s = 2 s
