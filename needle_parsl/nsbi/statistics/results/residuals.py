"""`fits/residuals.json`: what the measured residuals of ratios do to the parameter of interest, and what their largest values hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from needle_parsl.json_records import JsonRecord

ResidualKind = Literal["normalisation", "closure", "calibration"]


@dataclass(frozen=True, kw_only=True)
class ResidualShift(JsonRecord):
    """What one residual of a ratio does to the fit."""

    ratio: str
    kind: ResidualKind
    column: str
    """The feature, `ln r`, or nothing for the normalisation."""
    at: Mapping[str, float]
    """True parameters of the data for which that is most; the others are nominal."""
    shift: float | None
    """Fitted minus true parameter of interest, in standard errors there; None where the fit has none."""
    error: float | None
    """Statistical, of the shift, likewise."""


@dataclass(frozen=True, kw_only=True)
class LargestRatios(JsonRecord):
    """The events of a sample in which r, or 1/r, is largest."""

    events: float
    """Share of the events beyond 30."""
    mean: float
    """Share of the mean that they hold."""
    upper: float
    """Share of the mean that the upper 0.1 % of the events hold."""


@dataclass(frozen=True, kw_only=True)
class RatioTails(JsonRecord):
    """The largest values of a ratio, in test events."""

    reference: LargestRatios
    """r in the reference, E_ref[r]."""
    numerator: LargestRatios | None = None
    """1/r in the numerator, E_num[1/r]; None where the events of the numerator are not among those that are fitted."""


@dataclass(frozen=True, kw_only=True)
class Residuals(JsonRecord):
    """Diagnostics in units of the parameter of interest."""

    parameter: str
    shifts: tuple[ResidualShift, ...] = ()
    tails: Mapping[str, RatioTails] = field(default_factory=dict)
    """By ratio, as far as its reference is among the events that are fitted."""
    weighted: bool = False
    """Whether members are combined by weights that are fitted to both means."""
    divided: bool = False
    """Whether ratios are divided by their mean over the reference."""
