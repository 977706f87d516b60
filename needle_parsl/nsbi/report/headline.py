"""The headline: the result as it is quoted, with its errors apart, and its intervals by the method that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from needle_parsl.nsbi.report import rounding
from needle_parsl.nsbi.report.gathering import Facts

EXTRA = ("simulation_error", "ensemble_error", "bootstrap_error")
"""Errors that stand beside the interval."""


def result(facts: Facts, numbers: Mapping[str, Any]) -> str:
    """Write the result: `mu = 1.04 +0.28 -0.26 (± 0.25 stat., ± 0.10 syst.) ± 0.07 (MC stat.)`, all on one scale.

    Args:
        facts: What the report is about.
        numbers: The summary so far.
    """
    fit = facts.inference.fits[facts.subject.headline]
    value, error, poi = numbers["value"], numbers["error"], facts.subject.poi
    if value is None or not np.isfinite(value):
        return f"{poi}: no fit"
    if not fit["converged"]:
        return f"{poi} = {value:.3g}, the last point of a fit that did not converge"
    sides = _sides(value, numbers["minos"], error)
    if not sides:
        return f"{poi} = {_alone(value, facts)}"
    both = sides if isinstance(sides, tuple) else (sides, sides)
    ten = rounding.power(max(abs(x) for x in (value, *both) if np.isfinite(x)))
    unit = 10.0**ten
    text = rounding.quoted(value / unit, [(both[0] / unit, both[1] / unit)])
    parts = [
        f"± {rounding.plain(size / unit)} {name}" for size, name in _parts(error, numbers["statistical_error"], facts)
    ]
    names = dict(zip(EXTRA, ("MC stat.", numbers["ensemble_error_of"], "training"), strict=True))
    beside = [f"± {rounding.plain(numbers[key] / unit)} ({names[key]})" for key in EXTRA if numbers.get(key)]
    whole = " ".join([text, *([f"({', '.join(parts)})"] if parts else []), *beside])
    return f"{poi} = ({whole})e{ten:+03d}" if ten else f"{poi} = {whole}"


def _sides(value: float, minos: Any, error: float | None) -> tuple[float, float] | float | None:
    """Give the errors up and down by MINOS, else the symmetric one; None at a bound, where neither has a meaning."""
    if minos:
        up, down = minos[1] - value, value - minos[0]
        symmetric = abs(up - down) < 0.05 * (up + down) and error
        return float(error) if symmetric and error else (up, down)
    return error


def _alone(value: float, facts: Facts) -> str:
    """Write a value that has no error, as at a bound, to two digits of the width of its narrowest interval."""
    found = [piece for own in facts.inference.scans["scan"]["intervals"].values() for piece in own]
    widths = [high - low for low, high in found if low is not None and high is not None and high > low]
    place = ", at its bound" if facts.subject.poi in facts.inference.fits[facts.subject.headline]["at_bound"] else ""
    return (rounding.fixed(value, rounding.decimals(min(widths))) if widths else f"{value:.3g}") + place


def _parts(error: float | None, statistical: float | None, facts: Facts) -> list[tuple[float, str]]:
    """Give the statistical and the systematic part, where there are nuisance parameters."""
    parameters = facts.inference.fits[facts.subject.headline]["parameters"]
    if not error or not statistical or len(parameters) < 2 or statistical >= error * (1 - 1e-6):
        return []
    systematic = error * float(np.sqrt(1 - (statistical / error) ** 2))
    return [(statistical, "stat."), (systematic, "syst.")]


def intervals(facts: Facts) -> dict[str, dict[str, str]]:
    """Write the intervals by level and method, the one that was asked for first; of a fit that did not converge there is none."""
    belt, scan, fit = facts.inference.belt, facts.inference.scans["scan"], facts.inference.fits[facts.subject.headline]
    error = fit["parameters"][facts.subject.poi]["error"]
    found: dict[str, dict[str, str]] = {}
    for level, own in scan["intervals"].items():
        methods = {"Neyman": belt["intervals"][level]} if belt else {}
        methods["profile"] = own
        good = {name: rounding.pieces(pieces, error) for name, pieces in methods.items()}
        found[level] = good if fit["converged"] else {"profile": "none, since the fit did not converge"}
    return found
