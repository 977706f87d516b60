"""A run with wifi weights: their joint covariance ends in the errors of its fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.stats import chi2

from needle_parsl.nsbi.estimators import files, joint
from needle_parsl.nsbi.statistics import dataset
from needle_parsl.nsbi.statistics.fits import ensemble_shifts


def test_fits_know_the_error_of_the_weights(small_inputs: Path, needle: Callable[..., Any], tmp_path: Path) -> None:
    settings = [
        "training.members=2",
        "training.folds=1",
        "ensemble.combine='wifi'",
        "fit.minos=false",
        "fit.limit=0.95",
        "fit.impacts=[]",
        "toys.at=[{mu=0.5}, {mu=1.0}]",
        "toys.count=40",
        "toys.pool=0.1",
    ]
    ended = needle("run", small_inputs, "--until", "coverage", *(word for s in settings for word in ("--set", s)))
    assert ended.code == 0, ended.err
    root = tmp_path / "runs" / "small"
    covariance = joint.read(root / "estimators" / "covariance.h5")
    assert set(covariance.ratios) == {"signal", "background.jes.up", "background.jes.down"}
    np.testing.assert_allclose(covariance.values, covariance.values.T)
    assert np.linalg.eigvalsh(covariance.values).min() > -1e-12
    for name in covariance.ratios:  # the same events as in the fit of one ratio alone
        own = files.read(root / "estimators" / name / "estimator.h5").wifi.spread
        errors = np.sqrt(np.diag(own))
        np.testing.assert_allclose(
            covariance.between(name, name) / np.outer(errors, errors), own / np.outer(errors, errors), atol=1e-6
        )
    for name in ("observed", "asimov"):
        numbers = json.loads((root / "fits" / f"{name}.json").read_text())["parameters"]["mu"]
        assert 0 < numbers["ensemble_error"] < 3 * numbers["error"]
        assert numbers["total_error"] == np.hypot(numbers["error"], numbers["ensemble_error"])
    for name, scan in (("observed", "scan"), ("asimov", "scan_asimov")):
        numbers = json.loads((root / "fits" / f"{name}.json").read_text())["parameters"]["mu"]
        scanned = json.loads((root / "fits" / f"{scan}.json").read_text())
        k = (numbers["total_error"] / numbers["error"]) ** 2
        assert (
            scanned["inflation"] == numbers["ensemble_inflation"] == pytest.approx(k, rel=0.05)
        )  # MINUIT's matrix is not exact
        width, fixed = (
            high - low
            for ((low, high),) in (scanned["intervals"]["0.68"], scanned["intervals_at_fixed_weights"]["0.68"])
        )
        assert width / fixed == pytest.approx(np.sqrt(k), rel=0.1)  # t is no parabola
    assert json.loads((root / "fits" / "scan_statistical.json").read_text())["inflation"] == 1
    found = json.loads((root / "fits" / "limits.json").read_text())
    assert found["inflation"]["observed"] > 1
    assert found["inflation"]["expected"] > 1
    points = json.loads((root / "intervals" / "coverage.json").read_text())["points"]
    by = {(p["mu"], p["method"], p["level"]): p for p in points}
    assert len(by) == len(points) == 8
    for mu in (0.5, 1.0):
        with_error, without = (by[mu, method, 0.68] for method in ("profile_ensemble", "profile"))
        assert with_error["inflation"] > 1
        assert with_error["coverage"] >= without["coverage"]
        with h5py.File(root / "toys" / "coverage" / f"mu={mu:g}.0000.h5") as file:
            t = file["t"][...][file["converged"][...]]
        assert with_error["coverage"] == np.mean(t / with_error["inflation"] <= chi2.ppf(0.68, 1))
    # the Asimov fit of these weak networks ends near mu = 0.5, where k is nearly that of its scan
    k = json.loads((root / "fits" / "asimov.json").read_text())["parameters"]["mu"]["ensemble_inflation"]
    assert by[0.5, "profile_ensemble", 0.68]["inflation"] == pytest.approx(k, rel=0.25)
    path = root / "ratios" / "asimov.h5"
    data, moves = dataset.read(path), ensemble_shifts.read(path)
    assert moves is not None
    shift = np.zeros(len(covariance.values))
    assert moves.moved(data, shift).ratios == data.ratios
    shift[covariance.place("signal").start] = 0.1
    moved = moves.moved(data, shift).ratios
    np.testing.assert_allclose(
        moved["signal"] - data.ratios["signal"], 0.1 * moves.values["signal"][:, 0], rtol=1e-4, atol=1e-9
    )
    assert moved["background.jes.up"] is data.ratios["background.jes.up"]
