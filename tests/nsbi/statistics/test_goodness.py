"""Goodness of fit of unbinned data: p-values are uniform for data of the model, and shapes that it does not have are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from problems import regions
from scipy.stats import kstest

from needle_parsl.nsbi.statistics import two_sample
from needle_parsl.nsbi.statistics.analyses import ComparedEvents, describe_data
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.results import GoodnessOfFit

FEATURES = ("x", "y", "z", "u")
Fault = Callable[[np.random.Generator, np.ndarray], None]


def nothing(rng: np.random.Generator, x: np.ndarray) -> None:
    """Data are those of the model."""


def correlation(rng: np.random.Generator, x: np.ndarray) -> None:
    """Two features are correlated by 0.25; marginals stay."""
    x[:, 2] = 0.25 * x[:, 1] + np.sqrt(1 - 0.25**2) * rng.normal(size=len(x))


def tail(rng: np.random.Generator, x: np.ndarray) -> None:
    """Four events of a hundred come from a wider distribution."""
    some = rng.random(len(x)) < 0.04
    x[some, 3] = rng.normal(0, 4, some.sum())


def bump(rng: np.random.Generator, x: np.ndarray) -> None:
    """Twelve events of a hundred are within a tenth of a place in one feature."""
    some = rng.random(len(x)) < 0.12
    x[some, 1] = rng.normal(0.7, 0.1, some.sum())


def wider(data: Dataset, rng: np.random.Generator, fault: Fault = nothing) -> Dataset:
    """Give events three more features, in which all processes are alike: ratios stay as they are."""
    x = np.column_stack([data.x, rng.normal(size=(len(data.x), 3))])
    fault(rng, x)
    return replace(data, x=x.astype(np.float32))


def described(seed: int, fault: Fault = nothing, size: int = 2000, toys: int = 60, count: int = 1) -> GoodnessOfFit:
    """Fit and compare data of the first regions, with a control region."""
    rng = np.random.default_rng([seed, 1])
    events = dict(list(regions.pairs(seed, size=size).items())[:count])
    # x itself has no fault, and ratios are functions of x.
    events = {name: (wider(data, rng, fault), wider(sim, rng)) for name, (data, sim) in events.items()}
    likelihood = regions.likelihood(events, rng.poisson([82.0, 121.0]).astype(float))

    def build(simulated: dict[str, Dataset]):
        return regions.BUILDER.joint({name: (own, own) for name, own in simulated.items()}, [regions.control()])

    found = {name: ComparedEvents(*pair, FEATURES) for name, pair in events.items()}
    return describe_data(likelihood, found, build, "mu", toys=toys, seed=1000 * seed)


def p_value(found: GoodnessOfFit, name: str = "") -> float:
    (region,) = found.regions.values()
    return next((own.p_value for own in region.comparisons if own.name == name), region.p_value)


def test_p_values_of_data_of_the_model_are_uniform() -> None:
    found = [described(seed) for seed in range(8)]
    assert all(own.failed == 0 for own in found)
    assert kstest([p_value(own) for own in found], "uniform").pvalue > 1e-3
    assert kstest([p_value(own, "classifier") for own in found], "uniform").pvalue > 1e-3


@pytest.mark.parametrize("fault", [correlation, tail, bump])
def test_shapes_that_the_model_does_not_have_are_found(fault: Fault) -> None:
    found = [described(100 + seed, fault) for seed in range(3)]
    assert sum(p_value(own) < 0.01 for own in found) >= 2
    if fault is correlation:  # no distribution of one feature tells
        assert sum(min(p_value(own, name) for name in FEATURES) < 0.01 for own in found) <= 1


@pytest.mark.campaign
def test_p_values_are_uniform_over_a_hundred_data_sets() -> None:
    found = [described(seed, size=3000, toys=200) for seed in range(100)]
    for name in ("", "classifier", "ln r of s", *FEATURES):
        assert kstest([p_value(own, name) for own in found], "uniform").pvalue > 0.01


@pytest.mark.campaign
@pytest.mark.parametrize("fault", [correlation, tail, bump])
def test_power(fault: Fault) -> None:
    found = [described(1000 + seed, fault, size=3000, toys=200) for seed in range(40)]
    share = {name: np.mean([p_value(own, name) < 0.01 for own in found]) for name in ("", "classifier", *FEATURES)}
    assert share[""] > 0.7
    if fault is correlation:
        assert max(share[name] for name in FEATURES) < 0.1


def test_several_regions_have_numbers_each() -> None:
    found = described(3, toys=25, count=2)
    assert set(found.regions) == {"low", "high"}
    assert all(1 <= own.looks <= len(own.comparisons) for own in found.regions.values())
    assert [own.name for own in found.regions["low"].comparisons] == ["classifier", "ln r of s", *FEATURES]


def test_events_with_weights_have_a_reason() -> None:
    events = regions.pairs(5, size=500)
    heavy = {name: (replace(data, weight=2 * data.weight), sim) for name, (data, sim) in events.items()}
    found = describe_data(
        regions.likelihood(heavy),
        {name: ComparedEvents(*pair, ("x",)) for name, pair in heavy.items()},
        regions.simulated,
        "mu",
    )
    assert not found.regions
    assert "weights" in found.reason


def test_deviance_and_classifier_follow_chi_squared_where_they_should() -> None:
    """With a simulation of the model itself, the mean of a deviance in B bins is B, and that of T is the trace of its whitening."""
    rng = np.random.default_rng(4)
    simulation = replace(
        Dataset.of(rng.normal(size=(40_000, 2)), {}), sample=np.zeros(40_000, np.int64), samples=("b",)
    )
    weight = np.full(40_000, 1000 / 40_000)
    how, placed = two_sample.Comparison.of(simulation, weight, ("x", "y"), 1)
    expected = placed.sums(weight, how.sizes)
    drawn = [rng.choice(40_000, rng.poisson(1000)) for _ in range(200)]
    values = np.array([how.statistics(placed.sums(np.ones(len(own)), how.sizes, own), expected) for own in drawn])
    matrix = how.whitening.T @ how.whitening
    phi = placed.phi.astype(float)
    wanted = [np.trace(matrix @ (phi.T @ phi) * 1000 / 40_000), 20.0, 20.0]
    error = values.std(axis=0) / np.sqrt(200)
    assert (np.abs(values.mean(axis=0) - wanted) < 3.5 * error + 0.5).all()


def test_missing_values_have_a_bin_and_no_score() -> None:
    column = two_sample.Column.of("x", np.r_[np.linspace(0, 1, 99), np.nan], np.ones(100))
    assert column.place([np.nan, 0.0, 1.0]).tolist() == [column.bins - 1, 0, column.bins - 2]
    assert column.score([np.nan])[0] == 0
    assert column.score([0.5])[0] == pytest.approx(0, abs=0.02)


def test_some_events_have_the_sums_of_all() -> None:
    (_, simulation), *_ = regions.pairs(6, size=1000).values()
    found = two_sample.some(simulation, 300, 2)
    assert len(found.weight) == 300
    for j in range(2):
        assert found.weight[found.sample == j].sum() == pytest.approx(simulation.weight[simulation.sample == j].sum())
