"""The statistical model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from needle_parsl.reading import LATER, within

MAIN = "main"
"""What the region of the events that `[features]` selects is called, where there are others."""
WALL = 5.0
"""Nuisance parameters stay within this many sigma; a fit that ends there has failed."""
COMPONENTS = ("statistical", "simulation", "finite simulation", "networks")
"""Components of the error of a parameter of interest that are no group of nuisance parameters."""


KNOTS = 9
"""Values of a parameter of the simulation, from bound to bound, at which ratios are evaluated where nothing is said."""


@dataclass(frozen=True)
class Parameter:
    """`[model] parameters.NAME`: a parameter of the physics."""

    nominal: float = 1.0
    """Where Asimov data is made and fits start. Unit: that of the parameter."""
    bounds: tuple[float, float] = (0.0, 10.0)
    """Smallest and largest value. Unit: that of the parameter."""
    background: float | None = None
    """The value without a signal, against which a discovery and upper limits are tested; left out, 0, which must be within the
    bounds where `fit.limit` asks for these. Unit: that of the parameter. Example: `0.0`."""
    role: Literal["poi", "free"] = "poi"
    """`poi`: of interest, as one or several parameters are; each gets intervals, a scan, impacts and limits. `free`: only fitted along."""
    grid: tuple[float, ...] | None = field(default=None, metadata=LATER)
    """For one of `[features] parameters`: values at which ln r is evaluated; between them that of each event is a cubic spline. Left out, 9
    values from bound to bound, and the nominal one (docs/statistics.md). Unit: that of the parameter. Example: `[120.0, 125.0, 130.0]`."""

    def knots(self) -> tuple[float, ...]:
        """List the values at which ratios are evaluated, ascending, with the nominal one."""
        (low, high), steps = self.bounds, KNOTS - 1
        found = self.grid or tuple(low + (high - low) * k / steps for k in range(KNOTS))
        return tuple(sorted({*found, self.nominal}))


@dataclass(frozen=True, kw_only=True)
class Nuisance:
    """`[model] nuisances.NAME`: a systematic uncertainty that other measurements constrain."""

    interpolation: Literal["poly6_exp", "code4", "code1", "code4p", "linear", "exp_quadratic"] = "poly6_exp"
    """Between and beyond the variations: `poly6_exp` is a polynomial of degree six, then exponential (`code4` of pyhf);
    `code1` is exponential (log-normal rates), `code4p` and `linear` are straight outside, `exp_quadratic` is smooth."""
    rate: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Relative yields [up, down] by process; where missing, they come from the yields of the variations.
    Unit: relative to the nominal yield. Example: `{ signal = [1.02, 0.98] }`."""
    constraint: Literal["gauss", "lognormal", "poisson"] = "gauss"
    """`gauss`: a unit Gaussian around 0; `lognormal`: ln alpha has the width sigma around 0, nominal alpha is 1, and variations
    are what alpha = exp(sigma) and exp(-sigma) give;
    `poisson`: 1 + alpha / sqrt(events) is measured by counting `events`."""
    sigma: float = field(default=1.0, metadata=within(0.0, above=True))
    """Width of ln alpha with constraint = "lognormal". Unit: that of ln alpha."""
    events: float = field(default=100.0, metadata=within(0.0, above=True))
    """Events that are expected in the auxiliary count with constraint = "poisson". Unit: events."""
    bounds: tuple[float, float] | None = None
    """Smallest and largest alpha; `[0.0, 5.0]` makes it one-sided. Unit: standard deviations. Example: `[0.0, 5.0]`."""
    regions: tuple[str, ...] = field(default=(), metadata=LATER)
    """The regions in which it acts, unbinned and binned ones; left out, all. Where it does not, its variations are not trained.
    Example: `["boosted"]`."""
    symmetrise: bool = field(default=False, metadata=LATER)
    """Whether both sides of its variations, of shapes and yields, are replaced by the mean of one and the inverse of the other: half of the noise of
    two small simulations, and no effect of both signs to the same side. Example: `true`."""
    smooth: bool = field(default=False, metadata=LATER)
    """Whether its variations in binned regions are smoothed over neighbouring bins, relative to the nominal ones (353QH, twice;
    docs/statistics.md); their yields stay. Example: `true`."""
    group: str = field(default="", metadata={"key": False})
    """Its row in the breakdown of the error of each parameter of interest; those without a group are together in `other`, or, where
    no nuisance parameter has a group, each on its own. Nothing is fitted again when it changes. Example: `"jet"`."""

    def acts(self, region: str) -> bool:
        """Whether it changes anything in a region."""
        return not self.regions or (region or MAIN) in self.regions


@dataclass(frozen=True)
class Binning:
    """`[model.regions.NAME] binning`: what is counted in a region."""

    column: str
    """A column of the files, or a derived one. Example: `"m4l"`."""
    edges: tuple[float, ...]
    """Edges of the bins, ascending; events outside are not counted. Unit: that of the column.
    Example: `[220.0, 300.0, 400.0, 600.0]`."""


NO_BINS = Binning("", ())
"""Of a region that has none."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """`[model.regions.NAME]`: a region that is fitted together with the others, in bins or, with `unbinned`, event by event."""

    selection: str = ""
    """Its events, an expression in the columns; it replaces `[features] selection`, and none may be in both, nor in two regions.
    Empty, in an analysis without `[ratios]`, takes all. Example: `"m4l < 220"`."""
    binning: Binning = NO_BINS
    """What is counted; not in an unbinned region. Example: `{ column = "m4l", edges = [105.0, 140.0, 180.0, 220.0] }`."""
    sensitive: bool = True
    """Whether observed counts stay hidden as long as the analysis is blind."""
    validation: bool = field(default=False, metadata=LATER)
    """Whether it is only looked at: fitted to nothing, and shown with what the fit expects, its error and a p-value."""
    shapesys: tuple[str, ...] = field(default=(), metadata=LATER)
    """Processes whose simulation has a factor of its own in each bin, with the Poisson constraint of as many events, beside the common one
    of `fit.staterror`. That of `[model.morphing]` stands for all of its points. Example: `["background"]`."""
    unbinned: bool = field(default=False, metadata=LATER)
    """Whether its events are fitted one by one, with networks of its own. Where `[features]` has a selection, too, the events of that are one more
    region, `main`; else the top of the file only says what regions inherit (docs/statistics.md)."""
    features: dict[str, Any] | None = field(default=None, metadata=LATER)
    """Keys of `[features]` that are others in an unbinned region. Example: `{ names = ["m_jj", "pt_jj"] }`."""
    ratios: dict[str, Any] | None = field(default=None, metadata=LATER)
    """Keys of `[ratios]` that are others in an unbinned region. Example: `{ reference = ["background"] }`."""
    training: dict[str, Any] | None = field(default=None, metadata=LATER)
    """Keys of `[training]` that are others in an unbinned region. Example: `{ nodes = 32 }`."""
    ensemble: dict[str, Any] | None = field(default=None, metadata=LATER)
    """Keys of `[ensemble]` that are others in an unbinned region. Example: `{ combine = "mean_ratio" }`."""


@dataclass(frozen=True, kw_only=True)
class Morphing:
    """`[model.morphing]`: a process whose rate is a polynomial in parameters, as in an effective field theory, from samples at some of their values."""

    parameters: tuple[str, ...]
    """Those of `[model] parameters` in which it is a polynomial. All of them 0 is the Standard Model. Example: `["cW", "cHq3"]`."""
    order: int = field(default=2, metadata=within(1, 8))
    """The highest total power: 2 for the square of an amplitude with one insertion of an operator, 4 for two insertions. Unit: none."""
    basis: dict[str, dict[str, float]] = field(default_factory=dict)
    """Samples, each with the values at which it was simulated; 0 where one is left out. Their multipliers are made by needle.
    Unit: those of the parameters. Example: `{ sm = {}, cw_1 = { cW = 1.0 }, cw_2 = { cW = 2.0 } }`."""
    sample: str = ""
    """Instead of `basis`, a sample whose events have weights for several values. Example: `"vh"`."""
    weight_columns: dict[str, dict[str, float]] = field(default_factory=dict)
    """Columns that multiply the weight of `sample`, each with the values that it is for. The processes are called `vh-w_sm` and so on.
    Unit: those of the parameters. Example: `{ w_sm = {}, w_cw_1 = { cW = 1.0 }, w_cw_2 = { cW = 2.0 } }`."""
    linear: bool = False
    """Whether a fit, a scan and limits without the terms of second and higher order are made, too: `fits/asimov_linear.json` and so on."""


@dataclass(frozen=True, kw_only=True)
class MorphingBasis:
    """What `[model.morphing]` comes to. No table: `analysis.morphing` makes it."""

    parameters: tuple[str, ...]
    points: dict[str, dict[str, float]]
    """The processes, with the values of the parameters at which each was simulated."""
    left_out: tuple[str, ...]
    """Samples or columns that were offered, and that the best basis does without."""
    monomials: tuple[str, ...]
    condition: float
    """Of the matrix of monomials at the points, in the norm of row sums, with parameters in units of their largest value."""
    spread: float
    """Mean over the bounds of the sum of squared multipliers."""
    sample: str = ""
    """Whose events they all are; empty for samples of their own."""
    columns: dict[str, str] = field(default_factory=dict)
    """By process its column of weights, where they share events."""
    linear: dict[str, str] = field(default_factory=dict)
    """Multipliers without terms of second and higher order, by process; empty where they are not asked for."""


@dataclass(frozen=True)
class Model:
    """`[model]`: the statistical model."""

    parameters: dict[str, Parameter]
    """The physics parameters, by name. Example: `{ mu = { nominal = 1.0, bounds = [0.0, 5.0] } }`."""
    processes: dict[str, str | float] = field(default_factory=dict)
    """For each sample in the data its multiplier, an expression in the parameters; those of `[model.morphing]` come by themselves.
    Example: `{ signal = "mu", background = "1" }`."""
    nuisances: dict[str, Nuisance] = field(default_factory=dict)
    """The nuisance parameters, by name. Example: `{ jes = {} }`."""
    regions: dict[str, Region] = field(default_factory=dict)
    """Regions beside the events that `[features]` selects, by name."""
    morphing: Morphing | None = field(default=None, metadata=LATER)
    """A process whose rate is a polynomial in parameters, such as Wilson coefficients (docs/statistics.md)."""

    def fitted(self) -> Model:
        """Leave out the regions that are only looked at."""
        if not self.validations():
            return self
        return replace(self, regions={name: own for name, own in self.regions.items() if not own.validation})

    def validations(self) -> tuple[str, ...]:
        """Name the regions that are only looked at."""
        return tuple(name for name, own in self.regions.items() if own.validation)

    def groups(self) -> dict[str, tuple[str, ...]]:
        """List the nuisance parameters of each group: `other` holds those without one; without any group each is on its own."""
        grouped = any(nuisance.group for nuisance in self.nuisances.values())
        found: dict[str, list[str]] = {}
        for name, nuisance in self.nuisances.items():
            found.setdefault(nuisance.group or ("other" if grouped else name), []).append(name)
        return {group: tuple(names) for group, names in found.items()}
