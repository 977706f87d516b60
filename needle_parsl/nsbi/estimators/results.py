"""`estimators/RATIO/diagnostics.json`: the quality of one estimator, as a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from needle_parsl.json_records import Json, JsonRecord
from needle_parsl.nsbi.training.closure import CalibrationCurve, HistogramComparison


@dataclass(frozen=True)
class Mean(JsonRecord):
    """Of r over the reference: 1 for a density ratio."""

    value: float
    error: float
    """Statistical."""


@dataclass(frozen=True)
class EffectiveEvents(JsonRecord):
    """(sum w)^2 / sum w^2 of the test events."""

    numerator: float
    denominator: float
    reweighted_denominator: float
    """With r."""


@dataclass(frozen=True)
class HeldOutLoss(JsonRecord):
    """Loss of fitted and of equal weights on events that were held out; None where it is no number."""

    weights: float | None
    equal: float | None


@dataclass(frozen=True, kw_only=True)
class WifiWeights(JsonRecord):
    """How a wifi ensemble is weighted."""

    weights: tuple[float, ...]
    """w_0 first."""
    dropped: tuple[int, ...]
    """Members that were left out as combinations of others."""
    condition: float
    design_condition: float | None
    ridge: float
    freedom: float | None
    """Directions that the ridge leaves free."""
    held_out: HeldOutLoss


@dataclass(frozen=True)
class Distance(JsonRecord):
    """Of numerator and reweighted reference in one column."""

    wasserstein: float
    """In standard deviations of the numerator."""
    nsbi4hep_closure: float


@dataclass(frozen=True)
class TwoSample(JsonRecord):
    """A classifier that is to tell the numerator from the reweighted reference."""

    auc: float
    """Area under its ROC curve, 1/2 where nothing can be told apart."""
    error: float
    p_value: float
    """One-sided."""


@dataclass(frozen=True)
class Correlation(JsonRecord):
    """Of ln r of two members."""

    mean: float
    smallest: float


@dataclass(frozen=True)
class GroupSpread(JsonRecord):
    """Scatter of the mean of ln r between groups that have no member in common."""

    size: int
    """Members of a group."""
    groups: int
    spread: float
    """Root mean square over events of their standard deviation."""


@dataclass(frozen=True)
class Agreement(JsonRecord):
    """How members agree."""

    correlation: Correlation | None
    """None for a single member."""
    spread: tuple[GroupSpread, ...]
    """For sizes 1, 2, 4 ... up to half of the members."""


@dataclass(frozen=True)
class Losses(JsonRecord):
    """Cross-entropy with balanced classes."""

    train: float
    test: float


@dataclass(frozen=True, kw_only=True)
class SeenAndFresh(JsonRecord):
    """ln r of events of one class that trained, and that did not."""

    distance: float
    """Of Kolmogorov and Smirnov."""
    p_value: float
    edges: Sequence[float]
    """Shape (B + 1,)."""
    train: Sequence[float]
    """Shares of the events, shape (B,)."""
    test: Sequence[float]


@dataclass(frozen=True)
class Overtraining(JsonRecord):
    """Events that trained beside events that did not."""

    loss: Losses
    numerator: SeenAndFresh
    denominator: SeenAndFresh


@dataclass(frozen=True)
class Truth(JsonRecord):
    """ln r against its true value, both classes with equal weight."""

    mean_square_error: float
    bias: float
    single_member: float
    """Mean square error of one member."""


@dataclass(frozen=True, kw_only=True)
class TrainingSummary(JsonRecord):
    """The training of one network."""

    member: int
    fold: int
    best_epoch: int
    """From 0."""
    training_loss: tuple[float | None, ...]
    """By epoch; None where it is no number."""
    validation_loss: tuple[float | None, ...]
    reason: str | None
    """Why it failed; None if it did not."""
    settings: str | None = None
    """What it has of its own, in a mixed ensemble; not in the file for others."""

    def to_json(self) -> Json:
        """Give the object."""
        written = super().to_json()
        return written if self.settings else {name: value for name, value in written.items() if name != "settings"}


@dataclass(frozen=True, kw_only=True)
class RatioDiagnostics(JsonRecord):
    """What test events say of one estimator."""

    ratio: str
    members: int
    normalisation: Mean
    effective_events: EffectiveEvents
    member_spread: float
    """Root mean square over events of the members' standard deviation of ln r."""
    wifi: WifiWeights | None
    """None for other ensembles."""
    fallback: str | None
    """Why it is not the wifi ensemble that was asked for; None if it is what was asked for."""
    closure: Mapping[str, HistogramComparison]
    """By feature, and of `ln r`."""
    distances: Mapping[str, Distance]
    """Likewise."""
    two_sample: TwoSample
    calibration: CalibrationCurve
    """Of the score."""
    ensemble: Agreement
    support: float
    """Share of the numerator where the reference has fewer than 10 effective events all together."""
    overtraining: Overtraining
    exact: Truth | None
    """None where the truth is not known."""
    training: tuple[TrainingSummary, ...] = ()
