"""Regions that are fitted to nothing: what is expected there with its error, and p-values that are uniform."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from needle_parsl.analysis import Model, Nuisance, Parameter
from needle_parsl.nsbi.statistics.analyses import validate
from needle_parsl.nsbi.statistics.blinding import hide_validation
from needle_parsl.nsbi.statistics.fits.fitting import minimise
from needle_parsl.nsbi.statistics.model.builder import Builder, Counts
from needle_parsl.nsbi.statistics.results import Validation

MODEL = Model(
    parameters={"mu": Parameter(1.0, (-5.0, 10.0))},
    processes={"s": "mu", "b": "1"},
    nuisances={"norm": Nuisance(rate={"b": (1.2, 0.8)}, interpolation="linear")},
)
BUILDER = Builder.of(MODEL, ())
FITTED = {"s": np.array([40.0, 2.0]), "b": np.array([100.0, 100.0])}
LOOKED = {"s": np.array([5.0, 10.0, 1.0]), "b": np.array([200.0, 60.0, 5.0])}
ERRORS = {"s": np.array([0.5, 0.5, 0.1]), "b": np.array([15.0, 3.0, 1.0])}


def validated(observed: np.ndarray, fitted: np.ndarray, **more: object) -> Validation:
    likelihood = BUILDER.counting([Counts("sr", FITTED, fitted)])
    return validate(likelihood, BUILDER, [Counts("vr", LOOKED, observed, ERRORS)], **more)


def test_expectation_has_the_error_of_all_parameters_and_of_the_simulation() -> None:
    fitted = np.array([150.0, 90.0])
    found = validated(np.array([190.0, 70.0, 8.0]), fitted).regions["vr"]
    likelihood = BUILDER.counting([Counts("sr", FITTED, fitted)])
    best = minimise(likelihood, likelihood.rates)
    mu, norm = best.theta
    assert found.postfit.total == pytest.approx(mu * LOOKED["s"] + (1 + 0.2 * norm) * LOOKED["b"])
    slopes = np.array([LOOKED["s"], 0.2 * LOOKED["b"]])
    variance = np.einsum("pb,pq,qb->b", slopes, best.theta_covariance, slopes)
    variance += (mu * ERRORS["s"]) ** 2 + ((1 + 0.2 * norm) * ERRORS["b"]) ** 2
    assert found.postfit.error == pytest.approx(np.sqrt(variance))
    assert found.prefit.error == pytest.approx(np.sqrt((0.2 * LOOKED["b"]) ** 2 + ERRORS["s"] ** 2 + ERRORS["b"] ** 2))


@pytest.mark.parametrize("dataset", ["observed", "asimov"])
def test_p_values_are_uniform(dataset: str) -> None:
    """Truths, data, auxiliary measurements and simulation thrown anew; before the fit the parameter of interest is nominal."""
    rng, found = np.random.default_rng(5), []
    for _ in range(100):
        norm = rng.normal()  # by its constraint, which is measured at 0
        lam = LOOKED["s"] + (1 + 0.2 * norm) * LOOKED["b"]
        lam = lam + rng.normal(0, np.hypot(ERRORS["s"], ERRORS["b"]))
        fitted = rng.poisson(FITTED["s"] + (1 + 0.2 * norm) * FITTED["b"]).astype(float)
        seen = rng.poisson(np.maximum(lam, 0)).astype(float)
        found.append(validated(seen, fitted, dataset=dataset).regions["vr"].goodness.p_value)
    assert kstest(found, "uniform").pvalue > 0.01


def test_an_excess_is_found_and_hidden_data_are_not_judged() -> None:
    found = validated(np.array([205.0, 70.0, 40.0]), np.array([140.0, 102.0]))
    assert found.tested()["vr"].p_value < 1e-3
    assert found.judged == "postfit"
    hidden = validated(None, np.array([140.0, 102.0]), dataset="asimov")
    assert (hidden.judged, hidden.tested()) == ("prefit", {})
    assert hide_validation(found).regions["vr"].postfit.processes == {}
