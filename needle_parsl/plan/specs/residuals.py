"""What diagnostics in units of the parameter of interest need to know."""

from __future__ import annotations

from dataclasses import dataclass

from needle_parsl.plan.specs.fits import FitSpec


@dataclass(frozen=True, kw_only=True)
class ResidualsSpec:
    """Find what the measured residuals of ratios do to the fit."""

    fit: FitSpec
    """Of Asimov data."""
    poi: str
    ratios: tuple[str, ...]
    """Those of the model, varied ones with them, whose diagnostics are read."""
    against: tuple[tuple[str, tuple[str, ...]], ...]
    """By process, the samples against which its ratio is learned."""
    weighted: bool
    """Whether ensemble weights are fitted."""
    divided: bool
    """Whether ratios are divided by their mean over the reference."""
