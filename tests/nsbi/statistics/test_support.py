"""Data where nothing was simulated."""

from __future__ import annotations

import numpy as np

from needle_parsl.nsbi.statistics.fits.distributions import outside


def test_data_like_the_simulation_is_silent() -> None:
    """1,000 pairs of samples at a probability of 1e-3 each: 6 and more false alarms have a chance of 6e-4."""
    rng = np.random.default_rng(1)
    samples = [(rng.normal(size=(300, 3)), rng.normal(size=(200, 3))) for _ in range(1000)]
    assert sum(bool(outside(data, simulation, "abc")) for data, simulation in samples) < 6


def test_data_beyond_the_simulation_is_named_with_its_range() -> None:
    rng = np.random.default_rng(2)
    simulation = rng.uniform(0, 1, (10_000, 2)).astype(np.float32)
    data = rng.uniform(0, 1, (500, 2)).astype(np.float32)
    data[:20, 1] = 3.0
    (line,) = outside(data, simulation, ("pt", "eta"))
    assert line.startswith("20 of 500 observed events have eta outside")


def test_two_events_far_away_are_seen() -> None:
    data = np.zeros((50, 1), np.float32)
    data[:2] = 9.0
    assert outside(data, np.linspace(-1, 1, 100_001, dtype=np.float32)[:, None], ("x",)) != []
