"""Merges: sums are the exact ones rounded once, so that no order of the terms changes a bit; what cannot be added is said."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needle_parsl.errors import InputError
from needle_parsl.nsbi.stage_outputs.merging import concatenated, summed

FINITE = st.floats(-1e100, 1e100)


def filled(seed: int, storage: Any = None, **axis: Any) -> hist.Hist:
    rng = np.random.default_rng(seed)
    made = hist.Hist(
        hist.axis.Regular(**{"bins": 20, "start": -2, "stop": 2, "name": "x"} | axis),
        storage=storage or hist.storage.Weight(),
    )
    weight = {} if isinstance(storage, hist.storage.Int64) else {"weight": rng.exponential(size=500)}
    return made.fill(rng.normal(size=500), **weight)


@given(st.lists(FINITE, min_size=1, max_size=30), st.randoms())
@settings(max_examples=200, deadline=None)
def test_a_sum_is_the_exact_one_rounded_once_in_any_order(terms: list[float], random: Any) -> None:
    exact = float(sum(map(Fraction, terms)))
    shuffled = random.sample(terms, len(terms))
    assert summed(terms, "x") == summed(shuffled, "x") == exact
    arrays = [np.array([term, 2.0]) for term in shuffled]
    assert summed(arrays, "x")[0] == exact


@pytest.mark.parametrize("storage", [hist.storage.Double, hist.storage.Weight, hist.storage.Int64])
def test_histograms_are_added_with_their_flow_and_variances(storage: Any) -> None:
    terms = [filled(seed, storage()) for seed in range(200)]
    total, plain = summed(terms, "h"), sum(terms[1:], terms[0])
    np.testing.assert_allclose(np.asarray(total.values(flow=True)), plain.values(flow=True), rtol=1e-12)
    if storage is hist.storage.Weight:
        np.testing.assert_allclose(np.asarray(total.variances(flow=True)), plain.variances(flow=True), rtol=1e-12)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(200)
        assert summed([terms[k] for k in order], "h") == total
    assert terms[0] == filled(0, storage())


def test_plain_addition_depends_on_the_order() -> None:
    """What this is for: with the sums of hist, the test above would fail."""
    terms = [filled(seed) for seed in range(200)]
    assert sum(terms[1:], terms[0]) != sum(terms[-2::-1], terms[-1])


def test_tables_of_numbers_lists_and_texts() -> None:
    one = {"n": 2, "sum": 0.5, "bins": [1, 2], "unit": "GeV", "more": {"x": np.arange(2)}}
    two = {"n": 3, "sum": 0.25, "bins": [3, 4], "unit": "GeV", "more": {"x": np.arange(2)}}
    found = summed([one, two], "x")
    assert found["n"] == 5
    assert isinstance(found["n"], int)
    assert (found["sum"], found["bins"], found["unit"], found["more"]["x"].tolist()) == (0.75, [4, 6], "GeV", [0, 2])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([{"a": 1}, {"b": 1}], "x: cannot be added, since the outputs do not have the same keys"),
        ([[1, 2], [1]], "same lengths"),
        (
            [{"u": "GeV"}, {"u": "MeV"}],
            "x.u: cannot be added, since the outputs do not have the same values, which are no numbers",
        ),
        ([np.ones(2), np.ones(3)], "same shapes"),
        ([filled(0), filled(0, bins=10)], "same axes"),
        ([filled(0), filled(0, hist.storage.Double())], "same storages"),
        ([True, False], "no numbers"),
    ],
)
def test_what_cannot_be_added_is_said(values: list[Any], words: str) -> None:
    with pytest.raises(InputError) as refused:
        summed(values, "x")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "terms",
    [
        [np.array([1]), np.array([1e16]), np.array([-1e16])],
        [np.array([1.0]), np.array([1j]), np.array([2j])],
        [np.array([0.1], "float32"), np.array([0.1]), np.array([0.2])],
        [np.array([2**62]), np.array([-(2**62)]), np.array([2**62])],
        [np.array([True]), np.array([3], "uint8"), np.array([255], "uint8")],
        [1, 0.5, 1e16, -1e16],
    ],
    ids=["int and float", "complex", "float32", "int64", "bool and uint8", "numbers"],
)
def test_terms_of_several_types_have_one_sum_in_any_order(terms: list[Any]) -> None:
    found = [summed(list(order), "x") for order in permutations(terms)]
    exact = sum(Fraction(np.real(np.asarray(term)).item()) for term in terms)
    for one in found:
        assert np.asarray(one).dtype == np.asarray(found[0]).dtype
        assert one == found[0]
        assert np.real(np.asarray(one)).item() == float(exact)


@pytest.mark.parametrize(
    "terms",
    [
        [np.array([2**62])] * 3,
        [1.7e308, 1.7e308],
        [float("inf"), float("-inf")],
        [np.array([np.inf]), np.array([-np.inf])],
    ],
)
def test_what_no_number_holds_is_said(terms: list[Any]) -> None:
    with pytest.raises(InputError, match="x: cannot be added: "):
        summed(terms, "x")


def test_profiles_are_refused() -> None:
    profile = hist.Hist(hist.axis.Regular(2, 0, 1), storage=hist.storage.Mean()).fill([0.5], sample=[1.0])
    with pytest.raises(InputError, match="name a function that merges them"):
        summed([profile, profile], "h")


def test_tables_stand_one_below_another() -> None:
    one, two = ak.Array([{"pt": [1.0], "n": 1}]), ak.Array([{"pt": [], "n": 2}, {"pt": [2.0, 3.0], "n": 3}])
    assert concatenated([one, two], "t").n.tolist() == [1, 2, 3]
    arrays = concatenated([{"a": np.ones(2)}, {"a": np.zeros(1)}], "t")
    assert arrays["a"].tolist() == [1, 1, 0]
    with pytest.raises(InputError, match="same columns"):
        concatenated([one, ak.Array([{"pt": [1.0]}])], "t")
    with pytest.raises(InputError, match="same arrays"):
        concatenated([{"a": np.ones(2)}, {"b": np.ones(2)}], "t")
