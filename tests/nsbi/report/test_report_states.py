"""Checks of samples and fits: each planted fault is found by the right check, and the good facts raise nothing."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from report_facts import PartialFacts

from needle_parsl.analysis import Diagnostics
from needle_parsl.nsbi.estimators.results import RatioDiagnostics
from needle_parsl.nsbi.report.checks import fits, run
from needle_parsl.nsbi.report.checks import ratios as ratio_checks
from needle_parsl.nsbi.report.checks import samples as sample_checks
from needle_parsl.nsbi.report.checks.states import resolved, worst
from needle_parsl.nsbi.report.gathering import SampleRow
from needle_parsl.nsbi.statistics.results import (
    FitResult,
    FittedParameter,
    GroupNormalisation,
    InjectionTests,
    ProfileScan,
    RatioScale,
)
from needle_parsl.summary import Finding

RNG = np.random.default_rng(3)
SIZE = 2000


def parameter(value: float, nominal: float, error: float | None, simulation: float | None = 0.02) -> FittedParameter:
    return FittedParameter(
        value=value, nominal=nominal, error=error, simulation_error=simulation, minos=None, ensemble_error=None, total_error=None,
        ensemble_inflation=None, statistical_error=None,
    )  # fmt: skip


def fit() -> FitResult:
    return FitResult(
        converged=True, nll=1.0, on_wall=(), at_bound=(), on_kink=(), degenerate={}, minos_failed=(), floored_events=0, minima=1,
        next_minimum=None, parameters={"mu": parameter(1.01, 1.0, 0.2), "jes": parameter(0.02, 0.0, 0.6)}, covariance=(), normalisation={},
    )  # fmt: skip


def sample(name: str, weights: float, **more: Any) -> SampleRow:
    effective = {"train": 5000.0, "combine": 3000.0, "test": 4000.0 + weights}
    return SampleRow(
        name=name,
        events=12_000,
        sum_of_weights=weights,
        negative=more.pop("negative", 0),
        effective=more.pop("effective", effective),
        **more,
    )


def good() -> Any:
    """The facts of a run without a fault, as far as these checks need them."""
    up = RNG.normal(0, 0.2, SIZE)
    ratios = {
        "signal": RNG.normal(0, 1, SIZE),
        "background.jes.up": up,
        "background.jes.down": -up + RNG.normal(0, 0.05, SIZE),
    }
    yields = {"signal": 80.0, "background": 400.0, "background.jes.up": 412.0, "background.jes.down": 389.0}
    names = ("signal", "background", "background.jes.up", "background.jes.down")
    dataset = SimpleNamespace(
        ratios=ratios, yields=yields, samples=("signal", "background"), sample=np.arange(SIZE) % 2
    )
    scan = {"parameter": "mu", "open": [], "intervals": {"0.68": [[0.8, 1.2]]}, "best": 1.01}
    scans = {"scan": ProfileScan.from_json(scan)}
    subject = SimpleNamespace(poi="mu", headline="asimov", lost={}, thresholds=Diagnostics())
    samples = [sample(name, yields[name]) for name in names]
    inference = SimpleNamespace(fits={"asimov": fit()}, scans=scans, closure=None, belt=None, no_belt="", region=None)
    return PartialFacts(
        subject=subject, samples=samples, dataset=dataset, inference=inference, observed=None, binned=False
    )


CHECKS = {
    "fits": fits.fits, "minima": fits.minima, "asimov": fits.returned,
    "events": sample_checks.events, "variation samples": sample_checks.variations, "leaks": sample_checks.leaks,
    "outputs": sample_checks.outputs, "belt": run.CHECKS["belt"][0],
}  # fmt: skip


def states(facts: Any) -> dict[str, str]:
    return {name: worst(said[0] for said in look(facts)) for name, look in CHECKS.items()}


def asimov(facts: Any, **more: Any) -> None:
    facts.inference.fits["asimov"] = replace(facts.inference.fits["asimov"], **more)


def moved(facts: Any, up: float, down: float) -> None:
    facts.dataset.yields |= {"background.jes.up": 400.0 * up, "background.jes.down": 400.0 * down}


def planted(facts: Any, fault: str) -> None:  # noqa: C901, PLR0912  one fault after the other
    """Put a fault into good facts."""
    samples, inference, ratios = facts.samples, facts.inference, facts.dataset.ratios
    match fault:
        case "no convergence":
            asimov(facts, converged=False)
        case "on a wall":
            asimov(facts, on_wall=("jes",))
        case "no belt":
            inference.no_belt = "the fit of the data did not converge"
        case "MINOS failed":
            asimov(facts, minos_failed=("mu",))
        case "rival minimum":
            asimov(facts, minima=2, next_minimum=1.3)
        case "scan found a deeper one":
            inference.scans["scan"] = replace(facts.scan, best=1.6)
        case "Asimov fit off":
            asimov(facts, parameters={"mu": parameter(1.47, 1.0, 0.09), "jes": parameter(0.0, 0.0, 0.6)})
            inference.scans["scan"] = replace(facts.scan, best=1.47)
        case "Asimov nuisance off":
            asimov(facts, parameters={"mu": parameter(1.0, 1.0, 0.2), "jes": parameter(-1.2, 0.0, 0.6)})
        case "finite simulation hides":
            asimov(facts, parameters={"mu": parameter(1.01, 1.0, 0.2, 0.15), "jes": parameter(0.0, 0.0, 0.6)})
        case "other cross section":
            moved(facts, 7.5, 7.5)
        case "halved yield":
            moved(facts, 0.5, 1.02)
        case "same side":
            moved(facts, 1.04, 1.03)
        case "swapped":
            moved(facts, 0.97, 1.03)
        case "one side only":
            moved(facts, 1.05, 1.0)
        case "same shape":
            ratios["background.jes.down"] = ratios["background.jes.up"] + RNG.normal(0, 0.02, SIZE)
        case "identical":
            samples[2] = replace(samples[1], name="background.jes.up")
        case "leak of 1 %":
            samples[1] = replace(samples[1], leaked=0.01)
        case "discrete content":
            samples[1] = replace(samples[1], leaked=0.9, repeated=0.8)
        case "probability":
            ratios["signal"] = RNG.random(SIZE)
        case "normalised probability":
            group = GroupNormalisation({"signal": RatioScale(5.0, -2.5, 0.0, 0.0)}, (0.2, 0.2))
            inference.closure = InjectionTests(yields={}, normalisation={"@processes": group})
            ratios["signal"] = 5.0 * RNG.random(SIZE) - 2.5
        case "wrong sign":
            samples[0] = replace(samples[0], negative=6000)
        case "few events":
            samples[0] = replace(samples[0], effective={"train": 60.0, "combine": 30.0, "test": 40.0})


FAULTS = {
    "no convergence": ("fits", "fail"), "on a wall": ("fits", "fail"), "MINOS failed": ("fits", "warning"),
    "no belt": ("belt", "fail"),
    "rival minimum": ("minima", "warning"), "scan found a deeper one": ("minima", "fail"), "Asimov fit off": ("asimov", "fail"),
    "Asimov nuisance off": ("asimov", "fail"), "finite simulation hides": ("asimov", "no power"),
    "other cross section": ("variation samples", "fail"), "halved yield": ("variation samples", "warning"),
    "same side": ("variation samples", "warning"), "swapped": ("variation samples", "warning"),
    "one side only": ("variation samples", "warning"), "same shape": ("variation samples", "warning"),
    "identical": ("variation samples", "fail"), "leak of 1 %": ("leaks", "fail"), "discrete content": ("leaks", "no power"),
    "probability": ("outputs", "fail"), "normalised probability": ("outputs", "fail"), "wrong sign": ("events", "fail"), "few events": ("events", "fail"),
}  # fmt: skip


def test_good_facts_pass() -> None:
    assert set(states(good()).values()) == {"pass"}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found_by_its_check_alone(fault: str) -> None:
    facts = good()
    planted(facts, fault)
    check, state = FAULTS[fault]
    found = states(facts)
    assert found.pop(check) == state
    assert set(found.values()) == {"pass"}


def numbers(effective: float, chi2: float = 12.0, p_value: float = 0.4) -> RatioDiagnostics:
    """What the diagnostics of a good ratio say, on so many effective events."""
    tested = {"chi2": chi2, "ndf": 12, "p_value": p_value}
    side = {"p_value": 0.4, "distance": 0.01}
    return RatioDiagnostics.from_json({
        "closure": {"x1": tested, "ln r": tested}, "normalisation": {"value": 1.001, "error": 0.3 / effective**0.5},
        "effective_events": {"numerator": effective, "denominator": effective, "reweighted_denominator": effective},
        "calibration": {"chi2": 9.0, "ndf": 10, "p_value": 0.5, "ece": 0.01}, "training": [], "fallback": None, "support": 0.0,
        "two_sample": {"auc": 0.5, "error": 0.4 / effective**0.5, "p_value": 0.5}, "distances": {"x1": {"wasserstein": 0.01}},
        "overtraining": {"numerator": side, "denominator": side, "loss": {"train": 0.6, "test": 0.6}},
    })  # fmt: skip


def of_ratio(found: RatioDiagnostics) -> dict[str, str]:
    return {
        name: worst(said[0] for said in check.look("signal", found, Diagnostics(), ratio_checks.Run()))
        for name, check in ratio_checks.CHECKS.items()
    }


def test_checks_of_few_events_have_no_power() -> None:
    few, many = of_ratio(numbers(40.0)), of_ratio(numbers(20_000.0))
    assert {name for name, state in few.items() if state == "no power"} == {
        "closure",
        "calibration",
        "classifier",
        "overtraining",
    }
    assert set(many.values()) == {"pass"}


def test_closure_of_the_same_events_has_no_power() -> None:
    assert of_ratio(numbers(20_000.0, chi2=0.0, p_value=1.0))["closure"] == "no power"


def test_a_fault_is_seen_even_by_few_events() -> None:
    assert of_ratio(numbers(40.0, chi2=300.0, p_value=1e-30))["closure"] == "fail"


def test_the_worst_comes_first_and_the_heading_says_what_it_means() -> None:
    findings = [
        Finding("events", "warning", "few events"), Finding("toys", "no power", "few toys"), Finding("fits", "pass", "good"),
        Finding("truth", "fail", "small", 0.6), Finding("asimov", "fail", "large", 5.0), Finding("closure", "pass", "good"),
    ]  # fmt: skip
    assert [finding.check for finding in run.ranked(findings)][:4] == ["asimov", "truth", "events", "toys"]
    assert run.verdict(findings) == ("fail", "do not quote: 2 of 6 checks failed; 1 have no power")
    assert run.verdict(findings[1:3])[0] == "no power"
    assert run.verdict(findings[2:3]) == ("pass", "the check passes")
    assert run.verdict([]) == ("pass", "no checks")


def test_a_pass_whose_error_is_larger_than_its_threshold_is_none() -> None:
    limits = {"warning": 0.1, "fail": 0.3}
    assert resolved("pass", 0.2, limits, "a.", "more events")[0] == "no power"
    assert resolved("pass", 0.05, limits, "a.", "more events")[0] == "pass"
    assert resolved("fail", 0.2, limits, "a.", "more events")[0] == "fail"
