"""Events that are in two regions count twice: refused, with the key and how many."""

from __future__ import annotations

import numpy as np
import pytest

from needle_parsl.errors import InputError
from needle_parsl.tasks.regions import insist_on_disjoint

FIRST, SECOND, THIRD = (np.array(ids, np.uint64) for ids in ([1, 2, 3], [4, 2**63 + 1], [5, 2, 2**63 + 1]))


def test_disjoint_regions_pass() -> None:
    insist_on_disjoint("signal", [("main", FIRST), ("high", SECOND), ("empty", THIRD[:0])])


def test_an_event_in_two_regions_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"^model\.regions\.low\.selection: 1 events of signal are in this region and in main"
    ):
        insist_on_disjoint("signal", [("main", FIRST), ("high", SECOND), ("low", THIRD)])


def test_any_pair_of_regions_is_compared() -> None:
    with pytest.raises(InputError, match=r"low.selection: 1 events of signal are in this region and in high"):
        insist_on_disjoint("signal", [("high", SECOND), ("low", THIRD)])
