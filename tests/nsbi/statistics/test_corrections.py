"""The largest correction of Z_j among the fits of a belt."""

from __future__ import annotations

import math

import numpy as np
import pytest
from problems.likelihoods import build, counting

from needle_parsl.nsbi.statistics.intervals import corrections
from needle_parsl.nsbi.statistics.toys.block import Block

NEAR, FAR, LOST = (1.0, 1.0, 0.1, -0.1, 0.0), (1.0, 1.0, 2.5, -3.0, 0.3), (1.0, 1.0, 5.0, 5.0, 5.0)


def block(truth: tuple[float, ...], values: list[tuple[float, ...]]) -> Block:
    """Toys with these best values; the fit of the last one has failed."""
    n, whole = len(values), np.array(values)
    each, good = np.zeros(n), np.arange(n) < n - 1
    names = build().rates.parameters
    return Block(
        parameters=names,
        truth=np.array(truth),
        effective=math.inf,
        vetoed=0.0,
        events=np.ones(n, int),
        values=whole,
        errors=whole,
        pulls=whole,
        t=each,
        nll=each,
        converged=good,
    )


@pytest.mark.parametrize(
    ("best", "truth", "toys", "whose"),
    [
        (FAR, NEAR, [NEAR, NEAR, LOST], "data"),
        (NEAR, FAR, [NEAR, NEAR, LOST], "truth"),
        (NEAR, NEAR, [NEAR, FAR, LOST], "toy"),
    ],
)
def test_largest_correction_is_found_wherever_it_is(
    best: tuple[float, ...], truth: tuple[float, ...], toys: list[tuple[float, ...]], whose: str
) -> None:
    events = build()
    found = corrections.largest(events, np.array(best), [block(NEAR, [NEAR, NEAR]), block(truth, toys)])
    known = {name: abs(math.log(z.z)) for name, z in events.normalisations(np.array(FAR)).items()}
    assert found.of == whose
    assert tuple(found.parameters.values()) == FAR
    assert found.process == max(known, key=lambda name: known[name])
    assert found.log_z == pytest.approx(max(known.values()), rel=1e-12)
    assert found.log_z > 0.01


def test_without_responses_nothing_is_corrected() -> None:
    assert corrections.largest(counting(3), np.array([1.0]), []).log_z == 0
