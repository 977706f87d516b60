"""Randomness by hash: uniform, independent, and the same everywhere. Limits are those of the statistics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from needle_parsl import salts
from needle_parsl.nsbi.data import hashing

N = 200_000
IDS = {
    "consecutive": np.arange(N, dtype=np.uint64),
    "run and event": (np.uint64(362_000) << np.uint64(32)) | np.arange(0, 2 * N, 2, dtype=np.uint64),
    "random": np.random.default_rng(1).integers(0, 2**63, N, dtype=np.uint64),
}


@pytest.mark.parametrize("kind", IDS)
def test_uniform(kind: str) -> None:
    assert stats.kstest(hashing.uniform(IDS[kind], salts.key("a")), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("kind", IDS)
def test_poisson_has_its_probabilities(kind: str) -> None:
    draws = hashing.poisson(IDS[kind], salts.key("bootstrap", 3)).astype(int)
    expected = N * stats.poisson.pmf(np.arange(7), 1)
    counts = np.bincount(draws, minlength=7)[:7]
    assert stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3
    assert draws.max() < 12


def test_replicas_and_neighbours_are_independent() -> None:
    a, b = (hashing.poisson(IDS["consecutive"], salts.key("bootstrap", i)) for i in range(2))
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(N)
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 4 / np.sqrt(N)


def test_split_and_bootstrap_are_independent() -> None:
    inside = hashing.uniform(IDS["consecutive"], salts.key(1, "split")) < 0.5
    weights = hashing.poisson(IDS["consecutive"], salts.key(1, "bootstrap", 0))
    assert abs(weights[inside].mean() - weights[~inside].mean()) < 4 * 2 / np.sqrt(N)


@pytest.mark.parametrize("folds", [2, 5, 7])
def test_folds_are_equal_up_to_chance(folds: int) -> None:
    counts = np.bincount(hashing.fold(IDS["run and event"], folds, salts.key("fold")), minlength=folds)
    assert len(counts) == folds
    assert stats.chisquare(counts).pvalue > 1e-3


def test_values_never_change() -> None:
    """Splits of finished analyses rest on these numbers."""
    ids = np.array([0, 1, 2**63], dtype=np.uint64)
    assert hashing.mix(ids, 0).tolist() == [0, 8841707400507832957, 2015616772291713742]
    assert salts.key("a", 1) == salts.key("a", 1) != salts.key("a1")
    np.testing.assert_array_equal(ids, np.array([0, 1, 2**63], dtype=np.uint64))


def test_identify() -> None:
    run, event = np.array([1, 1, 2]), np.array([5, 6, 5], dtype=np.int32)
    assert hashing.identify([event]).tolist() == [5, 6, 5]
    assert len(set(hashing.identify([run, event]).tolist())) == 3
    assert hashing.identify([np.array([1.0, 2.0])]).tolist() == [1, 2]
    for bad in (np.array([1.5]), np.array(["a"]), np.array([np.nan])):
        with pytest.raises(ValueError, match="whole numbers"):
            hashing.identify([bad])
