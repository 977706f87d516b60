"""A hidden offset: how it is drawn, and that nothing is left from which the distance to a bound follows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from problems.likelihoods import counting
from scipy.stats import kstest

from needle_parsl.errors import InputError
from needle_parsl.nsbi.statistics.analyses import break_down, find_impacts, fit_dataset, scan_dataset
from needle_parsl.nsbi.statistics.blinding import DENSITY, RANGE, SPAN, HiddenOffset, hide_fit, hide_scan


def drawn(
    phrase: str = "a", name: str = "mu", error: float = 0.2, bounds: tuple[float, float] = (-9.0, 9.0)
) -> HiddenOffset:
    return HiddenOffset.draw(phrase, name, error, bounds)


def test_offsets_are_uniform_reproducible_and_their_own() -> None:
    offsets = [drawn(str(number)).value for number in range(1000)]
    assert kstest(np.array(offsets) / 0.25, "uniform", (-RANGE, 2 * RANGE)).pvalue > 1e-3
    assert drawn() == drawn()
    assert drawn().value == drawn(error=0.25).value == drawn(error=0.13).value  # the same power of two
    assert len({drawn().value, drawn("b").value, drawn(name="k").value, drawn(error=0.26).value}) == 4
    assert drawn(error=0.26).value != pytest.approx(2 * drawn().value)  # or two runs would tell the offset
    with pytest.raises(InputError, match="no error"):
        drawn(error=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("best", "errors"), [(0.0, 0), (0.15, 0), (0.25, 1), (0.81, 4), (5.0, 4), (8.5, 2)])
def test_the_window_tells_whole_errors_alone(best: float, errors: int) -> None:
    found = drawn(bounds=(0.0, 9.0)).window(best)
    if errors == 0:
        assert found is None
    else:
        assert found is not None
        assert (found.stop - best, best - found.start) == pytest.approx((0.2 * errors,) * 2)
        assert found.points == 2 * DENSITY * errors + 1


def test_a_fit_and_its_scan_are_shifted_alike() -> None:
    likelihood = counting(85.0, sigma=0.1, bounds=(0.0, 9.0))
    plain, own = fit_dataset(likelihood, minos=["mu"]), drawn(error=0.5, bounds=(0.0, 9.0))
    hidden = hide_fit(plain, {"mu": own}).parameters
    mu, minos = plain.parameters["mu"].value, plain.parameters["mu"].minos
    assert minos
    assert hidden["mu"].value == mu + own.value
    assert hidden["mu"].minos == tuple(end + own.value for end in minos)
    assert hidden["mu"].error == plain.parameters["mu"].error
    assert hidden["bkg"] == plain.parameters["bkg"]
    scan = scan_dataset(likelihood, likelihood.rates, "mu", hidden=own)
    true = scan_dataset(likelihood, likelihood.rates, "mu")
    errors = min(SPAN, math.floor(mu / 0.5))
    steps = np.array([point.value for point in scan.points]) - scan.best
    assert steps == pytest.approx(np.linspace(-0.5 * errors, 0.5 * errors, 2 * DENSITY * errors + 1))
    assert scan.best == pytest.approx(mu + own.value, abs=1e-4)
    low, high = true.intervals["0.68"][0]
    assert scan.intervals["0.68"][0] == pytest.approx((low + own.value, high + own.value), abs=2e-3)


def test_ends_on_a_bound_are_not_shown() -> None:
    likelihood = counting(57.0)
    own = drawn(error=0.4, bounds=(0.0, 5.0))
    plain = scan_dataset(likelihood, likelihood.rates, "mu")
    assert plain.intervals["0.95"][0][0] == 0.0
    scan = scan_dataset(likelihood, likelihood.rates, "mu", hidden=own)
    assert scan.intervals["0.95"] == ()
    assert not scan.points
    none = counting(20.0)
    at_bound = hide_fit(fit_dataset(none, minos=["mu"]), {"mu": own})
    assert at_bound.parameters["mu"].value is None
    assert at_bound.at_bound == ()
    assert hide_scan(scan_dataset(none, none.rates, "mu"), own).best is None
    assert at_bound.to_json()["parameters"]["mu"]["value"] is None


def test_shifts_that_end_on_a_bound_are_not_shown() -> None:
    likelihood, own = counting(54.0, sigma=0.1), drawn(error=0.4, bounds=(0.0, 5.0))
    plain, hidden = (find_impacts(likelihood, "mu", ["refit"], hidden=offset) for offset in (None, own))
    (low, high), (none, same) = plain.nuisances[0].impacts["refit"], hidden.nuisances[0].impacts["refit"]
    value = fit_dataset(likelihood).parameters["mu"].value
    assert min(low or 0.0, high or 0.0) == pytest.approx(-value, abs=1e-3)  # the distance to 0
    assert None in (none, same)
    moved = break_down(likelihood, "mu", {"norm": ("bkg",)}, hidden=own).components[1].moved
    assert moved
    assert None in moved
