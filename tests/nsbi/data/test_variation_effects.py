"""How much a variation differs from its nominal sample: known distances of Gaussians, and bounds that hold in spite of noise."""

from __future__ import annotations

import numpy as np
import pytest

from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.variation_effects import LARGEST, Shares, compared

Array = np.ndarray


def events(x: Array, weight: float | Array = 1.0) -> Events:
    columns = x if x.ndim == 2 else x[:, None]
    return Events(
        x=columns.astype(np.float32),
        weight=np.full(len(x), 1.0) * weight,
        id=np.arange(len(x), dtype=np.uint64),
        names=tuple(f"x{k}" for k in range(columns.shape[1])),
    )


def difference(nominal: Events, varied: Events, *, independent: bool) -> dict[str, float | str]:
    first = Shares.of(nominal, complete=True)
    assert first
    second = Shares.of(varied, complete=True, edges=first.edges)
    assert second
    return compared(first, second, independent=independent)


def test_a_shift_of_the_same_events_has_its_distance() -> None:
    """Of Gaussians a shift d has the distance exp(d^2) - 1; 20 bins see nearly all of it."""
    x = np.random.default_rng(1).normal(size=(200_000, 2))
    found = difference(events(x), events(x + np.array([0.0, 0.1]), 1.02), independent=False)
    assert found["feature"] == "x1"
    assert found["shape"] == pytest.approx(np.expm1(0.01), rel=0.1)
    assert found["relative"] == pytest.approx(1.02)
    assert found["error"] == 0


def test_the_bound_holds_between_samples_of_their_own() -> None:
    rng, true, held, sizes = np.random.default_rng(2), np.expm1(0.03**2), [], []
    for _ in range(100):
        found = difference(events(rng.normal(size=20_000)), events(rng.normal(0.03, 1.0, 20_000)), independent=True)
        held.append(float(found["shape"]) > 0.95 * true)  # what 20 bins see of it
        sizes.append(float(found["shape"]))
    assert np.mean(held) > 0.9
    assert np.mean(sizes) < 4 * true


def test_a_weight_alone_changes_the_yield() -> None:
    x = np.random.default_rng(3).normal(size=5000)
    found = difference(events(x), events(x, 0.9), independent=False)
    assert found["shape"] == pytest.approx(0.0, abs=1e-20)
    assert found["relative"] == pytest.approx(0.9)


def test_constant_features_and_missing_weights() -> None:
    ones = np.ones(100)
    assert difference(events(ones), events(ones), independent=False)["shape"] == 0
    assert difference(events(ones), events(2 * ones), independent=False)["shape"] in (0.0, LARGEST)
    assert Shares.of(events(ones, 0.0), complete=True) is None
    assert Shares.of(events(np.zeros((0, 1))), complete=True) is None
    part = Shares.of(events(ones), complete=False)
    assert part
    assert np.isnan(part.total)
