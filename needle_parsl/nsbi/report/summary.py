"""The numbers by which a run is judged."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from needle_parsl.nsbi.report import headline
from needle_parsl.nsbi.report.checks import ratios, run
from needle_parsl.nsbi.report.gathering import Facts


def numbers(facts: Facts) -> dict[str, Any]:
    """Sum up a run; `report/summary.json`, `needle report --json` and `expected.json` use these names."""
    poi, fits = facts.subject.poi, facts.inference.fits
    fit = fits[facts.subject.headline]["parameters"][poi]
    found: dict[str, Any] = {
        "dataset": facts.subject.headline,
        "parameter": poi,
        "value": fit["value"],
        "error": fit["error"],
        "statistical_error": fit["statistical_error"],
        "simulation_error": fit["simulation_error"],
        "ensemble_error": fit["ensemble_error"],
        "ensemble_error_of": "ensemble weights" if facts.inference.closure is None else "networks",
        "total_error": fit["total_error"],
        **_scatter(facts),
        "minos": fit["minos"],
        "intervals": facts.inference.scans["scan"]["intervals"],
        "neyman_intervals": facts.inference.belt["intervals"] if facts.inference.belt else None,
        "converged": all(f["converged"] for f in fits.values()),
        "networks": sum(len(rows) for rows in facts.histories.values()),
        "networks_failed": len(facts.failed),
        "worst_normalisation": _worst([d["normalisation"]["value"] for d in facts.diagnostics.values()]),
        "toys": sum(len(block.t) for block in facts.inference.toys),
        "toys_failed": sum(int((~block.converged).sum()) for block in facts.inference.toys),
    }
    for name in fits:
        parameter = fits[name]["parameters"][poi]
        found[f"{name}_value"], found[f"{name}_error"] = parameter["value"], parameter["error"]
    if (
        "exact" in fits
        and found["exact_error"]
        and found.get("asimov_error")
        and None not in (found["asimov_value"], found["exact_value"])
    ):
        found["exact_shift"] = (found["asimov_value"] - found["exact_value"]) / found["exact_error"]
        found["exact_error_ratio"] = found["asimov_error"] / found["exact_error"]
    findings = run.judge(facts)
    state, words = run.verdict(findings)
    found["result"] = headline.result(facts, found)
    found["quoted_intervals"] = headline.intervals(facts)
    return {
        **found,
        "state": state,
        "verdict": words,
        "checks": run.states(findings),
        "ratios": ratios.by_ratio(facts),
        "findings": [asdict(finding) for finding in run.ranked(findings) if finding.state != "pass"],
        "warnings": list(facts.subject.warnings),
    }


def _worst(means: list[float | None]) -> float | None:
    """Give the largest distance from 1; null where one is no number."""
    known = [abs(mean - 1) for mean in means if mean is not None and np.isfinite(mean)]
    return max(known, default=0.0) if len(known) == len(means) else None


def _scatter(facts: Facts) -> dict[str, float | None]:
    """Give what replicas say of the parameter of interest; null without them."""
    found = facts.inference.bootstrap
    own = found["fits"][facts.subject.headline][facts.subject.poi] if found else {}
    return {f"bootstrap_{name}": own.get(part) for name, part in PARTS.items()}


PARTS = {"error": "total", "training": "training", "simulation": "simulation"}
"""What replicas split the error into that the finite simulation behind ratios and the noise of training make."""
