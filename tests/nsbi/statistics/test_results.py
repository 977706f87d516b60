"""Results keep the JSON that stands in run directories: keys, order and nulls, as stored texts have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from needle_parsl.nsbi.estimators.results import RatioDiagnostics
from needle_parsl.nsbi.statistics import results
from needle_parsl.summary import Summary

STORED = Path(__file__).parent / "results"
READERS: dict[str, Callable[[Any], Any]] = {
    "fit_asimov": results.FitResult.from_json,
    "fit_observed": results.FitResult.from_json,
    "scan": results.ProfileScan.from_json,
    "plane_strip": results.PlaneStrip.from_json,
    "plane": results.ProfilePlane.from_json,
    "impacts": results.Impacts.from_json,
    "breakdown": results.Breakdown.from_json,
    "goodness": results.GoodnessOfFit.from_json,
    "validation": results.Validation.from_json,
    "limits": results.Limits.from_json,
    "distributions": results.Distributions.from_json,
    "distributions_asimov": results.Distributions.from_json,
    "distributions_regions": results.Distributions.from_json,
    "injection_tests": results.InjectionTests.from_json,
    "injection_tests_without_toys": results.InjectionTests.from_json,
    "bootstrap": results.Replicas.from_json,
    "belt": results.read_belt,
    "belt_with_limits": results.read_belt,
    "no_belt": results.read_belt,
    "coverage": results.Coverage.from_json,
    "region": results.RegionCounts.from_json,
    "mixture": results.Mixture.from_json,
    "summary": Summary.from_json,
    "diagnostics": RatioDiagnostics.from_json,
}


def test_every_stored_text_is_read() -> None:
    assert {path.stem for path in STORED.iterdir()} == set(READERS)


@pytest.mark.parametrize("name", READERS)
def test_what_is_read_is_written_as_it_was(name: str) -> None:
    stored = json.loads((STORED / f"{name}.json").read_text())
    assert json.dumps(READERS[name](stored).to_json()) == json.dumps(stored)


def test_a_field_that_a_file_lacks_is_none() -> None:
    """A file of an earlier version costs what needs the field, and not the report."""
    fit = results.FitResult.from_json({"converged": True, "parameters": {"mu": {"value": 1.0}}})
    assert fit.parameters["mu"].error is None
    assert fit.outside is None
    assert results.Belt.from_json({"parameter": "mu", "points": [{"mu": 0.5}]}).points[0].value == 0.5
