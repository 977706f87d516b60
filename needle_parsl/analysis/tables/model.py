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
    """`poi`: an interval is made; `free`: only fitted along."""


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
    of `fit.staterror`. Example: `["background"]`."""
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


@dataclass(frozen=True)
class Model:
    """`[model]`: the statistical model."""

    parameters: dict[str, Parameter]
    """The physics parameters, by name. Example: `{ mu = { nominal = 1.0, bounds = [0.0, 5.0] } }`."""
    processes: dict[str, str | float]
    """For each sample in the data its multiplier, an expression in the parameters.
    Example: `{ signal = "mu", background = "1" }`."""
    nuisances: dict[str, Nuisance] = field(default_factory=dict)
    """The nuisance parameters, by name. Example: `{ jes = {} }`."""
    regions: dict[str, Region] = field(default_factory=dict)
    """Regions beside the events that `[features]` selects, by name."""

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
