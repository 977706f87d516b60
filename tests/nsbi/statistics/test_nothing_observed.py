"""A search that has observed nothing has a result: t = 2 nu mu, and the limits that follow from it."""

from __future__ import annotations

import numpy as np
import pytest

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.errors import InputError
from needle_parsl.nsbi.data import acceptance
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.recipes import Recipe
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.fits import fitting
from needle_parsl.nsbi.statistics.intervals import profile
from needle_parsl.nsbi.statistics.model.builder import Builder

N, SIGNAL = 2000, 3.0
CHI2 = 3.841458820694124
"""The quantile of chi-squared with one degree of freedom at 95 %."""


@pytest.mark.parametrize("nuisances", [{}, {"b": Nuisance(rate={"background": (1.1, 0.9)})}])
def test_the_limit_is_that_of_the_expected_events_alone(nuisances: dict[str, Nuisance]) -> None:
    generator = np.random.default_rng(1)
    x = np.concatenate([generator.normal(1, 1, N), generator.normal(0, 1, N)])
    yields = {"signal": SIGNAL, "background": 0.5}
    simulation = Dataset.of(x, {"signal": x - 0.5}, samples={"signal": N, "background": N}, yields=yields)
    model = Model({"mu": Parameter(1.0, (0.0, 5.0))}, {"signal": "mu", "background": "1"}, nuisances)
    none = Dataset.of(np.empty(0), {"signal": np.empty(0)})
    likelihood = Builder.of(model, []).likelihood(none, simulation)
    best = fitting.minimise(likelihood, likelihood.rates)
    assert best.converged
    assert best.value("mu") == pytest.approx(0.0, abs=1e-6)
    found = profile.scan(likelihood, best, "mu", None, [0.95])
    ((low, high),) = found.intervals["0.95"]
    assert low == pytest.approx(0.0, abs=1e-6)
    assert high == pytest.approx(CHI2 / 2 / SIGNAL, rel=1e-3)


def test_observed_data_alone_may_be_empty() -> None:
    none = Events(names=("x1",), x=np.empty((0, 1), np.float32), weight=np.empty(0), id=np.empty(0, np.uint64))
    acceptance.judge(
        none, ["data.h5"], Recipe(sample="observed", features=("x1",), weight=1.0, selections=("x1 < 40",), id=())
    )
    with pytest.raises(InputError, match=r"sample signal: no event is left in data\.h5 after the selection"):
        acceptance.judge(
            none, ["data.h5"], Recipe(sample="signal", features=("x1",), weight=1.0, selections=("x1 < 40",), id=())
        )
