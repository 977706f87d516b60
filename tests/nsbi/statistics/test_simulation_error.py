"""The error of the finite simulation in intervals: over independent simulations and data with exact ratios, they cover with it alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from problems import regions

from needle_parsl.nsbi.statistics.analyses import SimulatedData, fit_dataset
from needle_parsl.nsbi.statistics.results import FittedParameter


def fitted(seed: int, size: int, *, added: bool) -> FittedParameter:
    rng = np.random.default_rng([seed, 7])
    events = regions.pairs(5000 + seed, size=size)
    likelihood = regions.likelihood(events, rng.poisson([82.0, 121.0]).astype(float))
    likelihood = replace(likelihood, constraints=likelihood.constraints.throw(np.zeros(3), rng))
    sample = np.concatenate([own.sample for _, own in events.values()])
    simulated = SimulatedData(regions.simulated(events), sample, apart=True)
    return fit_dataset(likelihood, simulated=simulated, added=added).parameters["mu"]


def test_error_is_added_to_the_total_and_to_what_t_is_divided_by() -> None:
    reported, added = fitted(1, 1500, added=False), fitted(1, 1500, added=True)
    assert (reported.total_error, reported.ensemble_inflation) == (None, None)
    assert added.total_error == pytest.approx(np.hypot(added.error, added.simulation_error))
    assert added.ensemble_inflation == pytest.approx(1 + (added.simulation_error / added.error) ** 2)


@pytest.mark.campaign
def test_intervals_cover_with_it() -> None:
    found = [own for own in (fitted(seed, 1500, added=True) for seed in range(300)) if own.error]
    error = np.sqrt(0.683 * 0.317 / len(found))
    reported, added = (np.mean([abs(own.value - 1) < getattr(own, name) for own in found]) for name in ("error", "total_error"))  # fmt: skip
    assert reported < 0.683 - 2 * error
    assert added == pytest.approx(0.683, abs=2.5 * error)
