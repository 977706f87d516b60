"""Checks of ratios: distances against other libraries, p-values that are uniform for right ratios, and faults that are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.estimators import composing
from needle_parsl.nsbi.estimators.checks import distances, health
from needle_parsl.nsbi.estimators.checks.sparse import Sparse
from needle_parsl.nsbi.estimators.checks.twosample import two_sample
from needle_parsl.nsbi.training import networks, packs
from needle_parsl.nsbi.transforms.transform import Transform


def drawn(rng: np.random.Generator, mean: float, events: int = 3000) -> Events:
    x = rng.normal(mean, 1, (events, 2)).astype(np.float32)
    return Events(names=("a", "b"), x=x, weight=rng.uniform(0.5, 1.5, events), id=np.arange(events, dtype=np.uint64))


def test_wasserstein_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(0.3, 2, 400), rng.normal(0, 1.5, 300)
    weights = rng.uniform(0, 2, 400), rng.uniform(0, 2, 300)
    width = np.sqrt(np.cov(one, aweights=weights[0], ddof=0))
    expected = stats.wasserstein_distance(one, other, *weights) / width
    assert distances.wasserstein(one, other, weights) == pytest.approx(expected, rel=1e-9)


def test_kolmogorov_smirnov_is_that_of_scipy() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(0.1, 1, 500), rng.normal(0, 1, 700)
    expected = stats.ks_2samp(one, other, method="asymp")
    found = distances.kolmogorov_smirnov(one, other, (np.full(500, 2.0), np.ones(700)))
    distance, p_value = found
    assert distance == pytest.approx(expected.statistic)
    assert p_value == pytest.approx(expected.pvalue, rel=0.1)


def test_area_and_its_error_over_replicas() -> None:
    """P(a > b) of unit Gaussians one apart is Phi(1 / sqrt 2)."""
    rng = np.random.default_rng(3)
    found = [
        distances.area(rng.normal(1, 1, 300), rng.normal(0, 1, 200), (rng.uniform(0, 2, 300), rng.uniform(0, 2, 200)))
        for _ in range(400)
    ]
    values = np.array([one.auc for one in found])
    errors = np.array([one.error for one in found])
    assert abs(values.mean() - stats.norm.cdf(np.sqrt(0.5))) < 4 * values.std() / 20
    assert values.var() / (errors**2).mean() == pytest.approx(1, abs=4 * np.sqrt(2 / 400))
    same = distances.area(np.ones(5), np.ones(7), (np.ones(5), np.ones(7)))
    assert (same.auc, same.p_value) == pytest.approx((0.5, 0.5))


def test_nsbi4hep_closure_by_hand() -> None:
    x = np.linspace(0, 1, 5001)
    ones = np.ones(len(x))
    assert distances.nsbi4hep_closure(x, x, (ones, ones)) == 0
    tilted = 1 + 0.2 * (x - 0.5)
    edges = np.linspace(*np.percentile(x, (0.1, 99.9)), 51)
    middle = (edges[1:] + edges[:-1]) / 2
    expected = ((0.2 * (middle - 0.5) * 0.998 / 50) ** 2 / (0.998 / 50)).sum()
    assert distances.nsbi4hep_closure(x, x, (ones, tilted)) == pytest.approx(expected, rel=0.02)
    assert distances.nsbi4hep_closure(ones, ones, (ones, ones)) == 0


PLAIN = Transform.none("ab")


def exact_weights(denominator: Events, wrong: float = 0.0) -> np.ndarray:
    """r of Gaussians at 0.4 and 0, in both features."""
    x = denominator.x.astype(float)
    return denominator.weight * np.exp((0.4 * x - 0.08).sum(axis=1) + wrong * x[:, 0] * x[:, 1])


@pytest.mark.slow
def test_classifier_sees_nothing_in_a_right_ratio_and_a_correlation_that_no_column_shows() -> None:
    found = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        above, below = drawn(rng, 0.4, 2000), drawn(rng, 0.0, 2000)
        found.append(two_sample(above, below, exact_weights(below), PLAIN))
    assert stats.kstest([one.p_value for one in found], "uniform").pvalue > 1e-3
    rng = np.random.default_rng(99)
    above, below = drawn(rng, 0.4, 10_000), drawn(rng, 0.0, 10_000)
    wrong = two_sample(above, below, exact_weights(below, wrong=0.3), PLAIN)
    assert wrong.p_value < 1e-6
    assert wrong.auc > 0.53
    assert two_sample(above, below, exact_weights(below, wrong=0.3), PLAIN) == wrong  # the same every time


def test_spread_falls_with_the_root_of_the_size_until_what_is_common() -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(0, 1, 500)
    found = health.agreement(truth + rng.normal(0, 0.2, (64, 500)))
    assert [row.size for row in found.spread] == [1, 2, 4, 8, 16, 32]
    assert [row.groups for row in found.spread] == [64, 32, 16, 8, 4, 2]
    for row in found.spread:
        assert row.spread == pytest.approx(0.2 / np.sqrt(row.size), rel=0.15)
    assert found.correlation.mean == pytest.approx(1 / 1.04, abs=0.01)
    assert health.agreement(truth[None]).correlation is None


def test_support() -> None:
    rng = np.random.default_rng(5)
    above, ones = rng.normal(0, 1, 4000), np.ones(4000)
    assert Sparse.of(above, rng.normal(0, 1, 4000), ones, ones).share == 0
    # no reference above 0, and so none for half of the numerator
    assert Sparse.of(above, -np.abs(rng.normal(0, 1, 4000)), ones, ones).share == pytest.approx(0.5, abs=0.03)


def test_a_wide_region_of_few_events_in_each_bin_is_supported() -> None:
    """A thousand events of the reference, 60 of them under two thirds of the numerator: two in each bin."""
    rng = np.random.default_rng(6)
    above = np.r_[rng.uniform(2, 3, 4000), rng.uniform(0, 1, 2000)]
    below = np.r_[rng.uniform(2, 3, 60), rng.uniform(0, 1, 940)]
    found = Sparse.of(above, below, np.ones(6000), np.ones(1000))
    assert 0 < found.share < 0.3
    assert 0 < found.effective < 10
    assert found.holds(above).mean() == pytest.approx(found.share, abs=0.01)


def test_an_empty_gap_is_sparse_and_signed_weights_are_borne() -> None:
    rng = np.random.default_rng(7)
    above, below = rng.uniform(0, 3, 6000), rng.choice([0.5, 2.5], 30_000) + rng.uniform(-0.5, 0.5, 30_000)
    signs = rng.choice([1.0, 1.0, 1.0, -1.0], 30_000)
    for weight in (np.ones(30_000), signs):
        found = Sparse.of(above, below, np.ones(6000), weight)
        assert found.share == pytest.approx(1 / 3, abs=0.05)
        assert found.holds(np.array([0.5, 1.5, 2.5])).tolist() == [False, True, False]


def test_overtraining_is_seen_in_events_that_the_ratio_knows() -> None:
    rng = np.random.default_rng(6)
    shape = networks.NetworkShape(network="mlp", features=2, layers=1, nodes=4)
    weights = rng.normal(0, 0.4, 17).astype(np.float32)
    pack = packs.Pack(
        shape,
        Transform.none("ab"),
        (packs.Trained(member=0, fold=0, seed=0, weights=weights, history=np.ones((1, 2)), best_epoch=0, reason=""),),
    )
    one = composing.compose("r", pack, (drawn(rng, 0.4), drawn(rng, 0.0)), composing.How("mean_log", 1.0))
    fresh = drawn(rng, 0.4), drawn(rng, 0.0)
    same = health.overtraining(one, (drawn(rng, 0.4), drawn(rng, 0.0)), fresh)
    assert min(side.p_value for side in (same.numerator, same.denominator)) > 1e-3
    assert sum(same.numerator.test) == pytest.approx(1, abs=0.01)
    # as if the network gave its own training events half a unit more
    known = drawn(rng, 0.4)
    known = replace(known, weight=known.weight * np.exp(1.0 * one.log_ratio(known.x)))
    learned = health.overtraining(one, (known, drawn(rng, 0.0)), fresh)
    assert learned.numerator.p_value < 1e-6
    assert learned.loss.train < learned.loss.test
