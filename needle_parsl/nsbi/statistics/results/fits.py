"""Results of fits: parameters with their errors, and what is behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from needle_parsl.json_records import Json, JsonRecord


@dataclass(frozen=True, kw_only=True)
class FittedParameter(JsonRecord):
    """A parameter at the best fit, in its own units."""

    value: float
    nominal: float
    error: float | None
    """Standard error; None at a bound, and where the fit has none. The other errors are None with it."""
    minos: tuple[float, float] | None
    """Ends of the interval by MINOS, where it was asked for and found."""
    ensemble_error: float | None
    """What the networks, or the weights of their ensembles, add."""
    total_error: float | None
    """Both in quadrature, with `simulation_error` where ratios are normalised at the yields, or where it is added."""
    ensemble_inflation: float | None
    """k, by which t of the parameter is divided for the error of ensemble weights, and of the finite simulation where it is added."""
    simulation_error: float | None
    """Uncertainty from the finite number of simulated events."""
    statistical_error: float | None
    """With the nuisance parameters held at their best fit."""


@dataclass(frozen=True)
class MeanResponse(JsonRecord):
    """Z_j of a process at the best fit, by which its density is divided."""

    z: float
    error: float
    """Statistical, from the finite simulation."""


@dataclass(frozen=True)
class OutsideFeature(JsonRecord):
    """A feature that lies outside of the simulated range in some observed events."""

    events: int
    low: float
    """Smallest simulated value, in units of the feature."""
    high: float
    """Largest."""


@dataclass(frozen=True)
class OutsideEvent(JsonRecord):
    """An observed event outside of the simulated range."""

    row: int
    values: Mapping[str, float]
    """Of the features that lie outside."""

    def to_json(self) -> Json:
        """Give row and features side by side."""
        return {"row": self.row, **self.values}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read it again."""
        return cls(found["row"], {name: value for name, value in found.items() if name != "row"})


@dataclass(frozen=True)
class OutsideEvents(JsonRecord):
    """Observed events where nothing was simulated."""

    events: int
    share: float
    """Of all observed events."""
    features: Mapping[str, OutsideFeature]
    first: tuple[OutsideEvent, ...]
    shift: Mapping[str, float]
    """How far each parameter moves without these events."""


@dataclass(frozen=True, kw_only=True)
class FitResult(JsonRecord):
    """`fits/asimov.json`, `observed.json`, `exact.json`: the fit of a dataset."""

    converged: bool
    nll: float | None
    """-ln L without ln n!; None where it is not finite at any start."""
    parameters: Mapping[str, FittedParameter]
    """Physics parameters first."""
    covariance: Sequence[Sequence[float]]
    """Of the parameters, in their units, shape (P, P)."""
    at_bound: tuple[str, ...]
    """Parameters on a bound that is theirs."""
    on_wall: tuple[str, ...]
    """Nuisance parameters at the end of their range, at 5 sigma."""
    on_kink: tuple[str, ...]
    """Nuisance parameters at 0, where their response has a kink."""
    minima: int
    """How many were found."""
    next_minimum: float | None
    """2 delta ln L of the second deepest; None where only one was found."""
    minos_failed: tuple[str, ...]
    """Parameters whose MINOS interval was wanted and not found."""
    degenerate: Mapping[str, float]
    """The direction along which -ln L is flat, by parameter; empty where there is none."""
    floored_events: int
    """Events and bins without positive density."""
    normalisation: Mapping[str, MeanResponse]
    """By process."""
    outside: OutsideEvents | None = None
    """Of observed, unbinned events; None, and not in the file, for others."""

    def to_json(self) -> Json:
        """Give the object; what lies outside is in it only where it was looked for."""
        written = super().to_json()
        return written if self.outside is not None else {name: v for name, v in written.items() if name != "outside"}


@dataclass(frozen=True, kw_only=True)
class NuisanceImpact(JsonRecord):
    """A nuisance parameter, and how far it moves the parameter of interest."""

    name: str
    value: float
    error: float | None
    nominal: float
    pull: float
    """Best value minus nominal, in the coordinate of the fit: in prior standard deviations."""
    pull_error: float | None
    impacts: Mapping[str, tuple[float | None, float | None]]
    """By definition: shift of the parameter of interest with the nuisance parameter down, and up; None where a fit failed."""


@dataclass(frozen=True)
class Impacts(JsonRecord):
    """`fits/impacts.json`."""

    parameter: str
    """Of interest."""
    methods: tuple[str, ...]
    nuisances: tuple[NuisanceImpact, ...]
    """The largest first."""
    dataset: str = ""


@dataclass(frozen=True)
class Goodness(JsonRecord):
    """Of a fit to bins: the saturated deviance."""

    deviance: float
    ndf: int
    p_value: float


@dataclass(frozen=True)
class Prediction(JsonRecord):
    """What a model expects in bins."""

    processes: Mapping[str, Sequence[float]]
    """By process, each of shape (B,)."""
    total: Sequence[float]
    """Shape (B,)."""
    error: Sequence[float]
    """Of the total, from the parameters; shape (B,)."""


@dataclass(frozen=True)
class Distribution(JsonRecord):
    """Expected and observed events in the bins of a feature, a log ratio or a region."""

    prefit: Prediction
    postfit: Prediction
    edges: Sequence[float] | None = None
    """Shape (B + 1,); None for a region."""
    observed: Sequence[float] | None = None
    """Shape (B,); None where data are not looked at."""
    goodness: Goodness | None = None
    """After the fit, with observed events."""

    def to_json(self) -> Json:
        """Give the object; edges, observed events and goodness are in it only where they are known."""
        edges = {} if self.edges is None else {"edges": list(self.edges)}
        seen = {} if self.observed is None else {"observed": list(self.observed)}
        judged = self.goodness.to_json() if self.goodness else {}
        return {**edges, "prefit": self.prefit.to_json(), "postfit": self.postfit.to_json(), **seen, **judged}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read it again."""
        judged = Goodness.from_json(found) if "p_value" in found else None
        return super().from_json({**found, "goodness": judged})


@dataclass(frozen=True)
class Distributions(JsonRecord):
    """`fits/distributions.json`: before and after the headline fit."""

    columns: Mapping[str, Distribution]
    """By feature and by `ln r of PROCESS`."""
    regions: Mapping[str, Distribution]
    dataset: str = ""

    def tested(self) -> dict[str, Goodness]:
        """Give how well those are described that were compared with data."""
        return {name: own.goodness for name, own in {**self.columns, **self.regions}.items() if own.goodness}
