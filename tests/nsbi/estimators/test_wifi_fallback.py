"""Where wifi weights cannot be had: the mean of logarithms stands in, says so, and everything behind it works, alone or beside others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from problems.likelihoods import SHAPES, TABLE, simulated
from problems.wifi import HOW, PACK, events

from needle_parsl.analysis import Diagnostics
from needle_parsl.errors import TaskError
from needle_parsl.nsbi.estimators import composing, diagnostics, files, joint
from needle_parsl.nsbi.estimators.estimator import Estimator
from needle_parsl.nsbi.estimators.joint import Role
from needle_parsl.nsbi.report.checks import run
from needle_parsl.nsbi.report.checks.ratios import CHECKS
from needle_parsl.nsbi.statistics import dataset, pseudomodel
from needle_parsl.nsbi.statistics.fits import ensemble_shifts
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.builder import Builder

RNG = np.random.default_rng(21)
ABOVE, BELOW = events(RNG, 0.6, 0), events(RNG, 0.0, 9000)
FEW = ABOVE.take(slice(0, 1))
"""A class that cannot be halved."""


def fallen() -> Estimator:
    with pytest.warns(UserWarning, match="ratio few: combined by mean_log instead of wifi: too few events to hold out"):
        return composing.compose("few", PACK, (FEW, BELOW), HOW)


def test_fallback_is_the_mean_of_logarithms_and_says_why(tmp_path: Path) -> None:
    made, plain = fallen(), composing.compose("few", PACK, (FEW, BELOW), replace(HOW, combine="mean_log"))
    assert (made.combine, made.fitted) == ("mean_log", None)
    np.testing.assert_array_equal(made.log_ratio(BELOW.x), plain.log_ratio(BELOW.x))
    np.testing.assert_array_equal(made.log_ratio_error(BELOW.x), plain.log_ratio_error(BELOW.x))
    files.write(tmp_path / "e.h5", made)
    assert files.read(tmp_path / "e.h5").fallback == made.fallback != ""
    assert plain.fallback == ""


def test_diagnostics_and_the_light_show_it() -> None:
    found = diagnostics.diagnose(fallen(), (ABOVE, BELOW), (ABOVE, BELOW), None)
    assert found.wifi is None
    (colour, sentence) = next(CHECKS["weights"].look("few", found, Diagnostics(), 1))
    assert colour == "fail"
    assert "combined by mean_log instead of wifi" in sentence
    assert "too few events" in sentence
    good = diagnostics.diagnose(composing.compose("a", PACK, (ABOVE, BELOW), HOW), (ABOVE, BELOW), (ABOVE, BELOW), None)
    assert good.fallback is None
    assert good.wifi.ridge == 0
    assert good.wifi.held_out.weights < good.wifi.held_out.equal
    assert not list(CHECKS["weights"].look("a", good, Diagnostics(), 1))


@pytest.mark.parametrize("others", [True, False])
def test_what_stands_behind_it_works(others: bool, tmp_path: Path) -> None:
    """Covariance, directions and pseudo-model hold the ratios that have weights; with none there are no directions."""
    ratios = {"few": fallen()} | ({"a": composing.compose("a", PACK, (ABOVE, BELOW), HOW)} if others else {})
    weighted = {name: one for name, one in ratios.items() if one.fitted is not None}
    roles = [Role("a", 0, ABOVE)], [Role("a", 1, BELOW)]
    covariance = joint.covariance(weighted, iter(roles if others else ()))
    path = tmp_path / "asimov.h5"
    data = dataset.Dataset.of(BELOW.x, {name: one.log_ratio(BELOW.x) for name, one in ratios.items()})
    dataset.write(path, data)
    ensemble_shifts.write(path, BELOW.x, ratios, covariance)
    moves = ensemble_shifts.read(path)
    if others:
        assert moves is not None
        shift = np.full(len(covariance.values), 0.1)
        assert moves.moved(data, shift).ratios["few"] is data.ratios["few"]
        assert (moves.moved(data, shift).ratios["a"] != data.ratios["a"]).any()
    else:
        assert moves is None
    model = pseudomodel.PseudoModel(
        name="m",
        features=("x",),
        units={},
        processes=("few",),
        ratios=ratios,
        shapes=(),
        interpolations={},
        covariance=covariance,
    )
    pseudomodel.write(tmp_path / "all.h5", model)
    back = pseudomodel.read(tmp_path / "all.h5")
    np.testing.assert_allclose(back.log_ratio(BELOW.x)["few"], data.ratios["few"])
    assert back.covariance is not None
    assert back.covariance.ratios == (("a",) if others else ())


def test_weights_of_earlier_files_can_be_read(tmp_path: Path) -> None:
    made = composing.compose("a", PACK, (ABOVE, BELOW), HOW)
    files.write(tmp_path / "e.h5", made)
    with h5py.File(tmp_path / "e.h5", "a") as file:
        del file.attrs["fallback"]
        for name in ("ridge", "freedom", "held_out"):
            del file["wifi"].attrs[name]
    back = files.read(tmp_path / "e.h5")
    assert (back.fallback, back.wifi.ridge, back.wifi.freedom) == ("", 0.0, len(made.wifi.spread))


@pytest.mark.parametrize("combine", ["wifi", "mean_ratio", "mean_log"])
def test_classes_without_weight_are_named(combine: str) -> None:
    lost = replace(BELOW, weight=-BELOW.weight)
    with pytest.raises(TaskError, match=r"ratio a: the 3000 events of its denominator .* add up to -.*; expected more"):
        composing.compose("a", PACK, (ABOVE, lost), replace(HOW, combine=combine))
    with pytest.raises(TaskError, match=r"ratio a: the 0 events of its numerator .* add up to 0; expected more"):
        composing.compose("a", PACK, (ABOVE.take(slice(0, 0)), BELOW), replace(HOW, combine=combine))


@pytest.mark.parametrize("combine", ["wifi", "mean_ratio"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_events_without_a_number_are_counted(combine: str) -> None:
    x = BELOW.x.copy()
    x[:7] = np.nan
    with pytest.raises(TaskError, match=r"ratio a: .* number for 7 of 3000 events"):
        composing.compose("a", PACK, (ABOVE, replace(BELOW, x=x)), replace(HOW, combine=combine))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_ratio_without_a_number_is_named_before_anything_is_fitted() -> None:
    made, x = composing.compose("a", PACK, (ABOVE, BELOW), HOW), BELOW.x.copy()
    x[[3, 8]] = np.nan
    spoilt = replace(BELOW, x=x)
    cases = [
        (made, spoilt, "ln r is not finite for 2"),
        (replace(made, log_norm=-800.0), BELOW, "r overflows, ln r > 700, for 3000"),
    ]
    for one, events_, what in cases:
        with pytest.raises(TaskError, match=rf"ratio a: {what} of 3000 observed events, so that nothing can be fitted"):
            dataset.observed(events_, {"a": one})
        with pytest.raises(TaskError, match=rf"ratio a: {what} of 3000 simulated events"):
            dataset.simulated({"b": events_}, {"b": 10.0}, {"a": one})


def test_fit_without_a_number_has_a_record() -> None:
    """Every other number of it is there, and the report says what has happened."""
    data = simulated(60)
    likelihood = Builder.of(TABLE, SHAPES).likelihood(
        replace(data, ratios=data.ratios | {"s": np.full(60, np.nan)}), data
    )
    record = minimise(likelihood, likelihood.rates).record(0, {})
    assert record.nll is None
    assert not record.converged
    json.dumps(record.to_json(), allow_nan=False)
    facts: Any = SimpleNamespace(
        inference=SimpleNamespace(fits={"observed": record}, scans={}), subject=SimpleNamespace(poi="mu")
    )
    found = list(run.CHECKS["fits"][0](facts))
    assert ("fail", "The fit 'observed' did not converge: -ln L is not a finite number, wherever it starts.") in found
