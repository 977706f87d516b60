"""The headline: the result as it is quoted, with its errors apart, and its intervals by the method that was asked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.report import rounding
from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.nsbi.statistics.results import Scatter


def result(facts: Facts, poi: str) -> str:
    """Write the result: `mu = 1.04 +0.28 -0.26 (± 0.25 stat., ± 0.10 syst.) ± 0.07 (MC stat.)`, all on one scale.

    Args:
        facts: What the report is about.
        poi: The parameter of interest.
    """
    fitted = facts.fit.parameters[poi]
    value, error = float(np.array(fitted.value, np.float64)), fitted.error  # a null is NaN
    if not np.isfinite(value):
        return f"{poi}: not shown, since it is on a bound" if poi in facts.subject.offset else f"{poi}: no fit"
    if not facts.fit.converged:
        return f"{poi} = {value:.3g}, the last point of a fit that did not converge"
    sides = _sides(value, fitted.minos, error)
    if not sides:
        return f"{poi} = {_alone(value, facts, poi)}"
    both = sides if isinstance(sides, tuple) else (sides, sides)
    ten = rounding.power(max(abs(x) for x in (value, *both) if np.isfinite(x)))
    unit = 10.0**ten
    text = rounding.quoted(value / unit, [(both[0] / unit, both[1] / unit)])
    parts = [f"± {rounding.plain(size / unit)} {name}" for size, name in _parts(error, fitted.statistical_error, facts)]
    beside = [f"± {rounding.plain(size / unit)} ({name})" for size, name in _beside(facts, poi) if size]
    whole = " ".join([text, *([f"({', '.join(parts)})"] if parts else []), *beside])
    return f"{poi} = ({whole})e{ten:+03d}" if ten else f"{poi} = {whole}"


def _beside(facts: Facts, poi: str) -> list[tuple[float | None, str]]:
    """List the errors that stand beside the interval."""
    fitted = facts.fit.parameters[poi]
    return [
        (fitted.simulation_error, "MC stat."),
        (fitted.ensemble_error, ensemble_error_of(facts)),
        (scatter(facts, poi).total, "training"),
    ]


def ensemble_error_of(facts: Facts) -> str:
    """Say what the ensemble error is of."""
    return "ensemble weights" if facts.inference.closure is None else "networks"


def scatter(facts: Facts, poi: str) -> Scatter:
    """Give what replicas say of a parameter of interest; nothing without them."""
    found = facts.inference.bootstrap
    return found.fits[facts.subject.headline][poi] if found else Scatter()


def _sides(value: float, minos: tuple[float, float] | None, error: float | None) -> tuple[float, float] | float | None:
    """Give the errors up and down by MINOS, else the symmetric one; None at a bound, where neither has a meaning."""
    if minos:
        up, down = minos[1] - value, value - minos[0]
        symmetric = abs(up - down) < 0.05 * (up + down) and error
        return float(error) if symmetric and error else (up, down)
    return error


def _alone(value: float, facts: Facts, poi: str) -> str:
    """Write a value that has no error, as at a bound, to two digits of the width of its narrowest interval."""
    found: list[tuple[float | None, float | None]] = [
        p for own in facts.scans_of(poi)["scan"].intervals.values() for p in own
    ]
    widths = [high - low for low, high in found if low is not None and high is not None and high > low]
    place = ", at its bound" if poi in facts.fit.at_bound else ""
    return (rounding.fixed(value, rounding.decimals(min(widths))) if widths else f"{value:.3g}") + place


def _parts(error: float | None, statistical: float | None, facts: Facts) -> list[tuple[float, str]]:
    """Give the statistical and the systematic part, where there are nuisance parameters."""
    if not error or not statistical or len(facts.fit.parameters) < 2 or statistical >= error * (1 - 1e-6):
        return []
    systematic = error * float(np.sqrt(1 - (statistical / error) ** 2))
    return [(statistical, "stat."), (systematic, "syst.")]


def intervals(facts: Facts, poi: str) -> dict[str, dict[str, str]]:
    """Write the intervals by level and method, the one that was asked for first; of a fit that did not converge there is none."""
    belt, error = facts.inference.belt, facts.fit.parameters[poi].error
    found: dict[str, dict[str, str]] = {}
    for level, own in facts.scans_of(poi)["scan"].intervals.items():
        methods = {"Neyman": belt.intervals[level]} if belt and belt.parameter == poi else {}
        methods["profile"] = own
        good = {name: rounding.pieces(pieces, error) for name, pieces in methods.items()}
        if not own and poi in facts.subject.offset:
            good["profile"] = "not shown, since a bound is near"
        found[level] = good if facts.fit.converged else {"profile": "none, since the fit did not converge"}
    return found


def correlations(facts: Facts) -> dict[str, dict[str, float | None]]:
    """Give the correlations of the parameters of interest in the headline fit; None where one has no error. Nothing with one parameter alone."""
    names, covariance = list(facts.fit.parameters), np.array(facts.fit.covariance)
    if not facts.subject.further:
        return {}
    return {
        a: {b: _correlation(covariance, names.index(a), names.index(b)) for b in facts.subject.pois}
        for a in facts.subject.pois
    }


def _correlation(covariance: npt.NDArray[np.float64], a: int, b: int) -> float | None:
    scale = covariance[a, a] * covariance[b, b]
    return float(covariance[a, b] / np.sqrt(scale)) if scale > 0 else None
