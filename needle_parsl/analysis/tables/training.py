"""How networks are trained, combined and judged."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate
from typing import Any, Literal

from needle_parsl.analysis import catalogue
from needle_parsl.reading import LATER, among, within

TRAINER = (
    "gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches", "precision", "deterministic", "benchmark",
    "detect_anomaly", "inference_mode", "limit_train_batches", "limit_val_batches", "max_steps", "min_epochs", "min_steps",
    "log_every_n_steps",
)  # fmt: skip
"""Arguments of lightning.Trainer that are the user's; the others, such as devices, callbacks and epochs, are needle's."""
Plain = bool | int | float | str | tuple[int | float | str, ...]
PATIENCE = 5
"""Epochs that a member waits for a better one, where steps do not shrink by themselves."""


Network = str | dict[str, Plain | dict[str, Plain | dict[str, Plain]]]
OPTIMIZER, SCHEDULE = among(catalogue.OPTIMIZERS), among(catalogue.SCHEDULES)


@dataclass(frozen=True, kw_only=True)
class MemberSettings:
    """An entry of `[training] members`: what some members have otherwise than `[training]` says. What is left out is as there."""

    count: int = field(default=1, metadata=within(1))
    """Members, of each ratio and fold, that are so. Unit: networks."""
    network: Network | None = None
    """The architecture. Example: `"physics.py:Network"`."""
    output: Literal["logit", "probability"] | None = None
    """What the `forward` of a network of your own gives. Example: `"probability"`."""
    batch: Literal["tuple", "dict"] | None = None
    """The form in which a LightningModule of your own takes batches. Example: `"dict"`."""
    initial: str | None = None
    """What training starts from. Example: `"pretrained.safetensors"`."""
    frozen: tuple[str, ...] | None = None
    """Parts of the network that do not train. Example: `["backbone"]`."""
    layers: int | None = field(default=None, metadata=within(1, 100))
    """Hidden layers. Unit: layers. Example: `3`."""
    nodes: int | None = field(default=None, metadata=within(1, 100_000))
    """Width of a hidden layer. Unit: nodes. Example: `128`."""
    label_smoothing: float | None = field(default=None, metadata=within(0.0, 0.5))
    """Labels become y (1 - s) + s / 2. Unit: probability. Example: `0.05`."""
    optimizer: str | None = field(default=None, metadata=OPTIMIZER)
    """The minimiser. Example: `"nadam"`."""
    learning_rate: float | None = field(default=None, metadata=within(0.0, above=True))
    """Step size at the start. Unit: per step. Example: `1e-3`."""
    schedule: str | None = field(default=None, metadata=SCHEDULE)
    """How the step size changes over the epochs. Example: `"constant"`."""
    weight_decay: float | None = field(default=None, metadata=within(0.0))
    """Weight decay. Unit: per step. Example: `1e-4`."""
    dropout: float | None = field(default=None, metadata=within(0.0, 0.95))
    """Probability with which a hidden neuron is left out in a step. Unit: probability. Example: `0.1`."""
    batch_size: int | None = field(default=None, metadata=within(1))
    """Events in a step. Unit: events. Example: `1024`."""
    epochs: int | None = field(default=None, metadata=within(1))
    """Passes over the training events, at most. Unit: epochs. Example: `50`."""
    patience: int | None = field(default=None, metadata=within(1))
    """Epochs without a better validation loss after which a member stops. Unit: epochs. Example: `10`."""

    def said(self) -> dict[str, Any]:
        """Give what it says, but for the number of members."""
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "count"}
        return {name: value for name, value in found.items() if value is not None}

    def __str__(self) -> str:
        """Say it in words: `network = physics.py:Network, layers = 3`."""
        return ", ".join(f"{name} = {_shown(value)}" for name, value in self.said().items())


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_shown(inner)}" for name, inner in value.items()) + " }"
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


@dataclass(frozen=True, kw_only=True)
class Training:
    """`[training]`: the networks and how they are trained."""

    network: Network = "mlp"
    """The architecture: `mlp`, `deepset` or `transformer` (of particles), `flow` (two densities, extra `flows`), a LightningModule or any other module as `"physics.py:Name"`
    or `"module:Name"`, or a table with `_target_` and further arguments of its constructor, which may be such tables (docs/training.md).
    Example: `{ _target_ = "physics.py:Network", width = 64 }`."""
    output: Literal["logit", "probability"] = "logit"
    """What the `forward` of a network of your own gives: ln r, or the `probability` p_1 / (p_1 + p_0) of the numerator."""
    batch: Literal["tuple", "dict"] = "tuple"
    """The form in which a LightningModule of your own takes batches: `(x, label, weight)`, or a table of these."""
    trainer: dict[str, bool | int | float | str] = field(default_factory=dict)
    """Arguments of lightning.Trainer, which then trains each member: clipping, accumulation, precision, deterministic
    (docs/training.md). Example: `{ gradient_clip_val = 1.0, accumulate_grad_batches = 2 }`."""
    initial: str = field(default="", metadata=LATER)
    """What training starts from: weights of torch or safetensors, a Lightning checkpoint, or the folder of an earlier run
    (docs/training.md). Read, never executed. Example: `"pretrained.safetensors"`."""
    frozen: tuple[str, ...] = field(default=(), metadata=LATER)
    """Parts of the network, by name, that do not train: their parameters and buffers stay as they are. What a submodule gives is computed once
    where nothing goes around it (docs/pretrained.md). Example: `["backbone"]`."""
    layers: int | None = field(default=None, metadata=within(1, 100))
    """Hidden layers; left out, 2, or 3 from 50,000 training events of a class on. Unit: layers. Example: `3`."""
    nodes: int | None = field(default=None, metadata=within(1, 100_000))
    """Width of a hidden layer; left out, 64. Unit: nodes. Example: `128`."""
    loss: str | None = field(default=None, metadata=among(catalogue.LOSSES, own=True))
    """What is minimised: `carl` is the weighted binary cross-entropy (arXiv:1506.02169), `mlc` the symmetrised
    maximum-likelihood loss (arXiv:1806.02350), `alice` the cross-entropy with the joint score (arXiv:1808.00973), `regression` the
    squared error to the joint ratio (arXiv:1805.12244). Ratios without `[ratios] joint` are then learned with `carl`.
    `multiclass` is the softmax cross-entropy of one network for all samples in `[ratios]`, which gives all their ratios, and of one for each
    process and all its variations. A function of yours, by reference, is given logits, labels and weights, and gives one number (docs/training.md). Left out, it is `multiclass` with cross-fitting and needle's networks, else `carl`. Example: `"carl"`."""
    label_smoothing: float = field(default=0.0, metadata=within(0.0, 0.5))
    """Labels become y (1 - s) + s / 2 in training, which holds the ratio within (2 - s) / s. Unit: probability."""
    optimizer: str = field(default="adamw", metadata=OPTIMIZER)
    """The minimiser; `sgd` has momentum 0.9."""
    learning_rate: float | None = field(default=None, metadata=within(0.0, above=True))
    """Step size at the start; left out, 3e-3. Unit: per step. Example: `1e-3`."""
    schedule: str = field(default="cosine", metadata=SCHEDULE)
    """How the step size changes over the epochs; `plateau` multiplies it by 0.3 after two epochs without a better
    validation loss."""
    weight_decay: float | None = field(default=None, metadata=within(0.0))
    """Weight decay: decoupled with `adamw` and `nadam`, a part of the gradient with `adam` and `sgd`. Left out, 0.1, and 0.01 for processes of
    50,000 training events or more. Unit: per step. Example: `1e-4`."""
    dropout: float | None = field(default=None, metadata=within(0.0, 0.95))
    """Probability with which a hidden neuron is left out in a step of training: of needle's networks but `flow`, and of a network of yours
    whose constructor asks for `dropout`. Left out, 0.1 for needle's, and 0 for processes of 50,000 training events or more.
    Unit: probability. Example: `0.1`."""
    batch_size: int | None = field(default=None, metadata=within(1))
    """Events in a step; left out, 512 for processes and 1024 for their variations. Unit: events. Example: `1024`."""
    memory_mib: int = field(default=1024, metadata=within(1))
    """Training events of a ratio that are held in memory; a larger sample stays in its store, and is read in shuffled
    windows (docs/data.md). Unit: MiB."""
    epochs: int | None = field(default=None, metadata=within(1))
    """Passes over the training events, at most. Left out, a length is chosen: 30 N^0.4 steps, or 13 N^0.4 for variations, for N training
    events of a class, or half or twice that, whichever has the lowest loss on events that did not train (docs/learning.md).
    Unit: epochs. Example: `50`."""
    patience: int | None = field(default=None, metadata=within(1))
    """Epochs without a better validation loss after which a member stops; left out, 5, but none under the cosine schedule, whose
    last, small steps bring most. The weights of the best epoch are kept in any case. Unit: epochs. Example: `10`."""
    validation: float = field(default=0.1, metadata=within(0.0, 0.9, above=True))
    """Fraction of the training events that early stopping looks at. Unit: fraction of the training events."""
    metrics: tuple[str, ...] = field(default=(), metadata=among(catalogue.METRICS))
    """What else is measured on the validation events in every epoch, and kept in the pack: chi2 / ndf of the reweighted features,
    their Wasserstein distance, expected and maximum calibration error. Example: `["ece", "closure_chi2"]`."""
    members: int | tuple[MemberSettings, ...] | None = field(default=None, metadata=within(1))
    """Networks per ratio and fold; left out, 2 with cross-fitting, else 10. A list of tables gives members settings of their own, which
    make a mixed ensemble (docs/training.md). Unit: networks. Example: `[{ count = 5 }, { count = 5, layers = 3 }]`."""
    folds: int | None = field(default=None, metadata=within(1, 100))
    """Without cross-fitting: with more than one, each member is trained once per fold, without the fold's events. Unit: folds. Example: `2`."""
    bootstrap: bool | None = None
    """Whether a member sees a Poisson bootstrap of the training events, the same draw in every ratio. Left out, only with `combine = "wifi"`:
    it costs accuracy elsewhere. Example: `true`."""

    def architecture(self) -> tuple[str, dict[str, Any]]:
        """Give the name or reference of the network, and the arguments that the user has written."""
        if isinstance(self.network, str):
            return self.network, {}
        return str(self.network.get("_target_", "")), {n: v for n, v in self.network.items() if n != "_target_"}

    def patient(self, epochs: int) -> int:
        """Give the epochs, of so many, without a better validation loss after which a member stops."""
        return self.patience or (epochs if catalogue.SCHEDULES[self.schedule].vanishing else PATIENCE)

    def own_code(self) -> tuple[str, ...]:
        """List what of the user's trains: networks, and the loss."""
        return (*self.own_networks(), *([self.loss] if self.loss and self.loss not in catalogue.LOSSES else []))

    def tried(self) -> bool:
        """Whether only a trial tells which engine trains the network: something is the user's, or stays still in part."""
        return bool(self.own_code() or self.frozen)

    def perceptron(self) -> Training:
        """Train needle's perceptron alike."""
        return replace(self, network="mlp", output="logit", batch="tuple", frozen=(), trainer={})

    def own_networks(self) -> tuple[str, ...]:
        """List the networks that are the user's."""
        names = dict.fromkeys(table.architecture()[0] for _, table in self.each())
        return tuple(name for name in names if name not in catalogue.NETWORKS)

    def entries(self) -> tuple[MemberSettings, ...]:
        """List what members have of their own; one entry for all where they are alike."""
        return self.members if isinstance(self.members, tuple) else (MemberSettings(count=self.members or 1),)

    def count(self) -> int:
        """Count the members of a ratio and fold."""
        return sum(entry.count for entry in self.entries())

    def each(self) -> list[tuple[str, Training]]:
        """Give each entry the whole table of its members, for one member, with the key under which it stands."""
        mixed = isinstance(self.members, tuple)
        return [
            (f"training.members[{place}]" if mixed else "training", replace(self, members=1, **entry.said()))
            for place, entry in enumerate(self.entries())
        ]

    def entry_of(self, number: int) -> int:
        """Give the entry of a member; numbers beyond the last begin again."""
        ends = list(accumulate(entry.count for entry in self.entries()))
        return bisect_right(ends, number % ends[-1])

    def numbers(self, place: int) -> list[int]:
        """List the members of an entry."""
        return [number for number in range(self.count()) if self.entry_of(number) == place]

    def starts(self) -> list[tuple[str, str]]:
        """List the weights that members start from, each once, with a key that names it."""
        found = {table.initial: f"{key}.initial" for key, table in reversed(self.each()) if table.initial}
        return [(key, said) for said, key in found.items()]


@dataclass(frozen=True)
class Ensemble:
    """`[ensemble]`: how members become one ratio."""

    combine: str = field(default="mean_log", metadata=among(catalogue.COMBINERS, own=True))
    """Averages ratios, scores or logarithms, takes the median, weights ratios by the inverse validation loss, or fits weights
    with a covariance (`wifi`, arXiv:2506.00113). A function of yours, by reference, is given ln r of the members, and gives one of each event
    (docs/estimators.md)."""
    calibration: str = field(
        default=catalogue.NO_CALIBRATION, metadata=among((catalogue.NO_CALIBRATION, *catalogue.CALIBRATIONS))
    )
    """Maps the combined score to the fraction of numerator events that have it, in bins or by the nearest rising function
    (`isotonic`, with the extra `calibration`); fitted on events that trained nothing. Not with wifi, which is calibrated by its weights."""
    normalise: Literal["yields", "reference", "none"] | None = None
    """How ln r is normalised: `yields` fits a slope and an offset for each process to the cross-entropy of events that did not train, at
    the expected yields, which is the score equation of the fit; variations are centred on the same mixture. `reference` divides by the mean
    of r over the reference, which a few events in a tail may rule. Left out, `yields`, but `none` with wifi, whose weights are a normalisation.
    Example: `"reference"`."""
    quorum: float = field(default=0.8, metadata=within(0.0, 1.0, above=True))
    """Fraction of the members that must have trained. Unit: fraction of the members."""

    def own_code(self) -> tuple[str, ...]:
        """List what of the user's combines members."""
        return () if self.combine in catalogue.COMBINERS else (self.combine,)


@dataclass(frozen=True)
class Bootstrap:
    """`[bootstrap]`: everything trained and fitted again, to estimate the uncertainty from MC statistics and training noise."""

    replicas: int = field(default=20, metadata=within(2, 10_000))
    """Times that all is done with the simulated events resampled, each by the same draw in every ratio (docs/estimators.md).
    Unit: replicas."""
    repeats: int = field(default=20, metadata=within(2, 10_000))
    """Times that all is done with the same events and other seeds: the noise of training alone. Unit: replicas."""
    members: int | None = field(default=None, metadata=within(1))
    """Networks per ratio and fold of each of them; left out, those of [training]. Networks are then ratios x folds x members x
    (replicas + repeats). Unit: networks. Example: `2`."""


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """`[diagnostics]`: where checks give a [warning, failure]."""

    p_value: tuple[float, float] = (1e-2, 1e-6)
    """Of closure, calibration, the classifier and overtraining, corrected for the number of comparisons: states turn below.
    Unit: probability. Example: `[1e-3, 1e-8]`."""
    normalisation: tuple[float, float] = (0.01, 0.05)
    """|E_ref[r] - 1|, where it is more than three statistical errors."""
    wasserstein: tuple[float, float] = (0.05, 0.2)
    """Distance of the reweighted reference from the numerator, the worst column. Unit: standard deviations."""
    auc: tuple[float, float] = (0.51, 0.55)
    """Area under the curve of a small network that tells them apart, where it is significant. Unit: area."""
    support: tuple[float, float] = (0.01, 0.05)
    """Share of the numerator where the reference has fewer than 10 effective events all together. Where ratios of processes are normalised
    at the yields, more than the second number beyond all of them gives a warning, and what ratios there may do to the fit a failure (docs/learning.md). Unit: fraction of the weight."""
    variation: tuple[float, float] = (0.3, 1.0)
    """|ln| of the yield of a varied sample over the nominal one: 0.3 is a change by a third. Unit: logarithm of a ratio of yields."""
    failed: tuple[float, float] = (0.0, 0.1)
    """Networks of a ratio that failed. Unit: fraction of the networks."""
    shift: tuple[float, float] = field(default=(0.2, 0.5), metadata=LATER)
    """What a measured residual of a ratio does to the parameter of interest, where it is significant (docs/statistics.md). Unit: standard errors
    of the parameter. Example: `[0.1, 0.3]`."""
    tails: tuple[float, float] = field(default=(0.025, 0.04), metadata=LATER)
    """Share of the mean of r, or of 1/r, that the upper 0.1 % of the events hold, where ratios are divided by that mean or wifi weights are
    fitted to it (docs/statistics.md). Unit: fraction of the mean. Example: `[0.02, 0.05]`."""
