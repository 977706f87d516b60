"""The numbers by which a run is judged, and in sentences what is weak about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from needle_parsl.analysis import WALL
from needle_parsl.nsbi.report.gathering import Facts, Sample

FEW = 1000
"""Effective events below which a sample is called small."""
HALF = 0.5
"""The simulation's error is worth a warning above this fraction of the statistical one."""


def numbers(facts: Facts) -> dict[str, Any]:
    """Sum up a run; `report/summary.json`, `needle report --json` and `expected.json` use these names."""
    poi, fits = facts.subject.poi, facts.fits
    fit = fits[facts.subject.headline]["parameters"][poi]
    found: dict[str, Any] = {
        "dataset": facts.subject.headline,
        "parameter": poi,
        "value": fit["value"],
        "error": fit["error"],
        "simulation_error": fit["simulation_error"],
        "intervals": facts.scans["scan"]["intervals"],
        "converged": all(f["converged"] for f in fits.values()),
        "networks": sum(len(rows) for rows in facts.histories.values()),
        "networks_failed": len(facts.failed),
        "worst_normalisation": max(
            (abs(d["normalisation"]["value"] - 1) for d in facts.diagnostics.values()), default=0.0
        ),
    }
    for name in fits:
        parameter = fits[name]["parameters"][poi]
        found[f"{name}_value"], found[f"{name}_error"] = parameter["value"], parameter["error"]
    if "exact" in fits and found["exact_error"] and found["asimov_error"]:
        found["exact_shift"] = (found["asimov_value"] - found["exact_value"]) / found["exact_error"]
        found["exact_error_ratio"] = found["asimov_error"] / found["exact_error"]
    return {**found, "weak": sentences(facts)}


def sentences(facts: Facts) -> list[str]:
    """Say what is weak: few events, failed networks, fits that did not converge, ratios that are not normalised."""
    return [
        *(line for name, fit in facts.fits.items() for line in _weak_fit(name, fit)),
        *(f"The {level} interval of '{n}' leaves the scanned range." for n, s in facts.scans.items() for level in s["open"]),
        *(f"Not trained: {line}." for line in facts.failed),
        *(line for name, numbers in facts.diagnostics.items() for line in _weak_ratio(name, numbers["normalisation"])),
        *(line for sample in facts.samples for line in _weak_sample(sample)),
    ]  # fmt: skip


def _weak_sample(sample: Sample) -> Iterator[str]:
    part, effective = min(sample.effective.items(), key=lambda item: item[1])
    if effective < FEW:
        yield (
            f"Only {effective:.0f} effective events of {sample.name} stand behind the part '{part}' "
            f"({sample.events} events in all); every number that rests on them is as uncertain as they are few."
        )
    if sample.negative:
        yield f"{sample.negative} of {sample.events} events of {sample.name} have negative weights."


def _weak_fit(name: str, fit: Mapping[str, Any]) -> Iterator[str]:
    if not fit["converged"]:
        walls = " and ".join(fit["on_wall"])
        yield f"The fit '{name}' did not converge{f': {walls} ran away to {WALL:g} sigma' if walls else ''}."
    for parameter in fit["at_bound"]:
        yield f"In the fit '{name}', {parameter} is at its bound."
    if fit["floored_events"]:
        yield f"In the fit '{name}', {fit['floored_events']} events have no positive density."
    for parameter, numbers in fit["parameters"].items():
        if (numbers["simulation_error"] or 0) > HALF * (numbers["error"] or np.inf):
            yield (
                f"In the fit '{name}', the finite number of simulated events alone is worth "
                f"±{numbers['simulation_error']:.3g} on {parameter}, against a statistical error of "
                f"{numbers['error']:.3g}; intervals do not contain it."
            )


def _weak_ratio(name: str, normalisation: Mapping[str, float]) -> Iterator[str]:
    value, error = normalisation["value"], normalisation["error"]
    if abs(value - 1) > max(3 * error, 0.01):
        yield f"The ratio {name} is not normalised: its mean over the reference is {value:.4f} ± {error:.4f}."
