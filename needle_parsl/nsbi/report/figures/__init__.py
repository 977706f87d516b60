"""The figures of the report. Each takes the gathered facts and draws on axes of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from needle_parsl.nsbi.report.figures import (
    breakdown,
    closure,
    fits,
    goodness,
    health,
    likelihoods,
    precision,
    ratios,
    replicas,
    residuals,
    toys,
    transforms,
)
from needle_parsl.nsbi.report.gathering import Facts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FigureEntry:
    """A figure's place in the report."""

    section: str
    caption: str
    draw: Callable[[Facts], Figure]
    shown: Callable[[Facts], bool] = lambda _: True
    """Whether there is anything to draw."""


FIGURES = {
    "interest": FigureEntry(
        "summary", "Correlations of the parameters of interest in the headline fit.", fits.interest, lambda f: bool(f.subject.further),
    ),
    "likelihood": FigureEntry(
        "likelihood", "Profile likelihood ratio, with the confidence intervals of the headline scan; thresholds from chi-squared, scaled for "
        "the uncertainty of ensemble weights.", likelihoods.likelihood
    ),
    "plane": FigureEntry(
        "likelihood", "Profile likelihood ratio of two parameters; contours at chi-squared quantiles of two degrees of freedom.",
        likelihoods.plane, lambda f: f.inference.plane is not None,
    ),
    "impacts": FigureEntry(
        "fits", "Pulls of the nuisance parameters, and how far each moves each parameter of interest; the largest on top, above "
        "them, in red, those that are at a bound.",
        fits.impacts, lambda f: bool(f.inference.impacts),
    ),
    "breakdown": FigureEntry(
        "fits", "Components of the error of each parameter of interest, by shifts of what was observed (bars) and by subtraction in quadrature "
        "(marks); for the statistical component the latter is the error with everything else held.",
        breakdown.breakdown, lambda f: bool(breakdown.known(f)),
    ),
    "correlations": FigureEntry(
        "fits", "Correlations of the parameters in the headline fit.", fits.correlations,
        fits.correlated,
    ),
    "bootstrap": FigureEntry(
        "fits", "Replicas of everything: best values with simulated events resampled, and with other seeds alone; and the scatter of "
        "ln r between them, scaled to this run's ensembles, by its sources.",
        replicas.bootstrap, lambda f: f.inference.bootstrap is not None,
    ),
    "distributions": FigureEntry(
        "fits", "Regions, features and log ratios: the processes after the headline fit, their sum before it (dashed), and data "
        "where it may be shown. Below: data and the sum before the fit over the sum after it; grey, its error from the parameters.",
        fits.distributions,
    ),
    "goodness": FigureEntry(
        "goodness", "Statistics that compare the events with the model after the fit: of toys, and of the data.",
        goodness.goodness, lambda f: bool(goodness.known(f)),
    ),
    "validation": FigureEntry(
        "validation", "Regions that are fitted to nothing: what is expected after the fit, its error from parameters and finite simulation, and data where "
        "they may be shown.", fits.validation, lambda f: bool(f.inference.validation),
    ),
    "belt": FigureEntry(
        "interval", "Test statistic of the data, and the critical values of the Neyman construction: of toys, and the curve, with its "
        "error, that intervals are read from. Shaded: the intervals.",
        likelihoods.belt, lambda f: f.inference.belt is not None,
    ),
    "region": FigureEntry(
        "interval", "p-values from toys, and the region of the Neyman construction (lines); dotted: t at chi-squared quantiles of two degrees of "
        "freedom; points: where toys were thrown, filled where accepted at the largest level.",
        likelihoods.region, lambda f: f.inference.region is not None,
    ),
    "limits": FigureEntry(
        "interval", "CLs from toys, and what toys without a signal lead to expect; upper limits are where it crosses a line.",
        likelihoods.limits, likelihoods.limited,
    ),
    "statistic": FigureEntry(
        "toys", "Test statistic at the truth over toys. Where it follows chi-squared, profile intervals cover.",
        toys.statistic, lambda f: bool(f.inference.toys),
    ),
    "pulls": FigureEntry("toys", "Pulls over toys: best value minus truth, over its error.", toys.pulls, lambda f: bool(f.inference.toys)),
    "mixture": FigureEntry(
        "ratios", "Mean of the learned mixture of all processes over the reference's test events, along the parameter of interest; "
        "neighbouring points have nearly the same events. Should equal 1.", health.mixture, lambda f: bool(f.inference.mixture and f.inference.mixture.points),
    ),
    **{name: FigureEntry(*entry) for name, entry in closure.FIGURES.items()},
    "closure": FigureEntry(
        "ratios", "Reweighting closure on test events, the columns that agree worst: numerator, and reference weighted with r.",
        lambda f: ratios.closure(f.diagnostics), lambda f: bool(ratios.compared(f.diagnostics)),
    ),
    "calibration": FigureEntry(
        "ratios", "Calibration on test events, the ratios that are calibrated worst. Points above 0: r is underestimated.",
        lambda f: ratios.calibration(f.diagnostics), lambda f: bool(f.diagnostics),
    ),
    "log_calibration": FigureEntry(
        "ratios", "The same in ln r. Points above 0: r is underestimated.", health.log_calibration, lambda f: bool(f.diagnostics),
    ),
    "overtraining": FigureEntry(
        "ratios", "ln r of events that trained and of test events, the ratios in which they differ most.", health.overtraining,
        lambda f: bool(f.diagnostics),
    ),
    "spread": FigureEntry(
        "ratios", "Spread of ln r between groups of members, by the size of the groups; dotted: 1 / sqrt(size), if they had nothing in common.",
        health.spread, health.shows_spread,
    ),
    "ratios": FigureEntry("ratios", "Density ratios of the test events.", ratios.ratios, lambda f: bool(f.dataset.ratios)),
    "residuals": FigureEntry(
        "residuals", "What the residuals that diagnostics measure do to the parameter of interest, with their statistical errors: of each ratio the "
        "normalisation, the calibration, and the closure in the column where that is most. Beyond the dashed lines checks turn, where a shift is significant.",
        residuals.residuals, residuals.shown,
    ),
    "precision": FigureEntry(
        "enough", "The networks' share of the error, with the members (left, at the events of this run) and with the simulated events (right, at its "
        "members): the fit with its error, and what was measured.", precision.precision, precision.shown,
    ),
    "training": FigureEntry(
        "training", "Validation loss of every network, relative to the best network of its ratio.", ratios.training,
        lambda f: bool(f.histories),
    ),
    "features": FigureEntry("data", "Features of the test events by process, each process normalised to one.", ratios.features,
        lambda f: f.dataset.x.shape[1] > 0,
    ),
    "transforms": FigureEntry(
        "data", "Features of the Asimov events (above) and what networks get of them (below; dashed: sine of an angle). Where a feature "
        "is missing networks get 0, and 1 in an indicator.", transforms.transforms, lambda f: f.transform() is not None,
    ),
}  # fmt: skip
"""By the names of their files, in the order of the page."""
