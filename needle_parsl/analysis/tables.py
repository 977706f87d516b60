"""One frozen dataclass per table of `analysis.toml`; a default lives here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from needle_parsl.reading import within

WALL = 5.0
"""Nuisance parameters stay within this many sigma; a fit that ends there has failed."""

NETWORKS = ("mlp", "deepset", "transformer", "flow")
"""Architectures that have a name."""
JOINT_LOSSES = ("alice", "regression")
"""Losses that learn from what is known jointly of an event, `[ratios] joint`."""


@dataclass(frozen=True)
class Particles:
    """`[features] particles`: any number of particles per event, kept beside the features."""

    names: tuple[str, ...]
    """Features of a particle. Example: `["pt", "eta", "phi"]`."""
    max: int = field(default=16, metadata=within(1, 100_000))
    """Particles of an event that are kept. Unit: particles."""
    collection: str = ""
    """What the names of the columns begin with: `Jet` reads `Jet_pt`. Example: `"Jet"`."""
    sort: str = ""
    """The feature by which particles are ordered, largest first; left out, the order of the file. Example: `"pt"`."""
    selection: str = ""
    """Particles that are kept, as an expression in their features; empty keeps all. Example: `"abs(eta) < 2.5"`."""


@dataclass(frozen=True)
class Computed:
    """`[features.computed] NAME`: a column that a function of `physics.py` makes."""

    function: str
    """It takes an awkward array of events and returns a number for each. Example: `"physics.py:ht"`."""
    columns: tuple[str, ...]
    """The columns that it is given; they may be jagged. Example: `["Jet_pt"]`."""


@dataclass(frozen=True)
class Features:
    """`[features]`: what the networks see."""

    names: tuple[str, ...]
    """Scalar columns, in the order of the network's inputs. Example: `["m4l", "mjj", "pt"]`."""
    parameters: tuple[str, ...] = ()
    """Columns of the target samples that are parameters of the simulation: networks see them behind the features and learn
    p(x | theta) / p_ref(x). Such a run ends with the diagnostics (docs/training.md). Example: `["mass"]`."""
    units: dict[str, str] = field(default_factory=dict)
    """Their units, for exported files. Example: `{ m4l = "GeV", pt = "GeV" }`."""
    selection: str = ""
    """Events that are kept, as an expression in the columns; empty keeps all. Example: `"pt > 20 and n_jets >= 2"`."""
    derived: dict[str, str] = field(default_factory=dict)
    """Columns that are computed, each an expression in the columns of the files and other derived ones.
    Example: `{ pt_ratio = "pt1 / max(pt2, 1)" }`."""
    computed: dict[str, Computed] = field(default_factory=dict)
    """Columns that functions of `physics.py` make; derived ones may use them."""
    particles: Particles | None = None
    """Jagged columns that are stored beside the features, for networks of your own."""


@dataclass(frozen=True)
class Source:
    """Where a varied sample's events come from: other files, other weights, or a function. What is not said is nominal."""

    files: tuple[str, ...] = ()
    """ROOT, Parquet, HDF5 or CSV files, or their addresses; `*` and `?` match."""
    generate: str = ""
    """A function `(generator, events) -> {column: array}` that makes the events, as `"physics.py:name"`."""
    tree: str = ""
    """The TTree, RNTuple or HDF5 group to read; may be left out where a file has only one."""
    weight: str | float = ""
    """Column, expression or number. Example: `"weight * jes_up"`."""


@dataclass(frozen=True)
class Variation:
    """`[samples.NAME.variations.NUISANCE]`: a sample with one systematic effect at plus and minus one sigma."""

    up: Source | None = None
    """The sample at plus one sigma. Example: `{ files = ["inputs/signal_jes_up.root"] }`."""
    down: Source | None = None
    """The sample at minus one sigma. Example: `{ weight = "weight * jes_down" }`."""
    one_sided: Literal["mirror", "none"] | None = None
    """What stands for a missing side: `mirror` inverts the other one, `none` is nominal. Example: `"mirror"`."""


@dataclass(frozen=True)
class Sample:
    """`[samples.NAME]`: simulated events of one process."""

    files: tuple[str, ...] = ()
    """ROOT, Parquet, HDF5 or CSV files, or their addresses; `*` and `?` match."""
    generate: str = ""
    """A function `(generator, events) -> {column: array}` that makes the events, as `"physics.py:name"`."""
    events: int = field(default=100_000, metadata=within(1))
    """How many events `generate` is asked for. Unit: events."""
    tree: str = ""
    """The TTree, RNTuple or HDF5 group to read; may be left out where a file has only one."""
    weight: str | float = 1.0
    """Column, expression or number; negative weights are allowed and reported. Example: `"weight"`."""
    yield_: float | None = field(default=None, metadata=within(0.0, above=True))
    """Expected events after selection; left out, it is the sum of the weights. Unit: events. Example: `120.0`."""
    selection: str = ""
    """Events of the files that belong to this sample, as an expression in the columns. Example: `"label == 1"`."""
    on_bad_file: Literal["stop", "skip"] = "stop"
    """What to do with a file that is damaged or whose content is refused; `skip` leaves it out, and the report says so."""
    variations: dict[str, Variation] = field(default_factory=dict)
    """Systematic variations, by nuisance parameter."""


@dataclass(frozen=True)
class Split:
    """`[split]`: which events serve which purpose, by a hash of the event's id."""

    train: float = field(default=0.60, metadata=within(0.0, 1.0, above=True))
    """Fraction for training; early stopping's validation comes out of it. Unit: fraction of the events."""
    combine: float = field(default=0.15, metadata=within(0.0, 1.0, above=True))
    """Fraction for ensemble weights and renormalisation. Unit: fraction of the events."""
    test: float = field(default=0.25, metadata=within(0.0, 1.0, above=True))
    """Fraction for closure, Asimov data and toys. Unit: fraction of the events."""
    id: tuple[str, ...] = ()
    """Columns that together name an event; left out, it is the file's content and the row.
    Example: `["run", "event"]`."""
    min_events: int = field(default=1000, metadata=within(1))
    """Effective events, (sum w)^2 / sum w^2, that each sample must have in each part. Unit: effective events."""


@dataclass(frozen=True)
class Ratios:
    """`[ratios]`: which density ratios are learned."""

    reference: tuple[str, ...]
    """Sample or samples in the denominator, each with its yield. Example: `["background"]`."""
    targets: tuple[str, ...]
    """Samples in the numerator; one equal to the reference has ratio 1 and is not trained.
    Example: `["signal", "background"]`."""
    joint: dict[str, str] = field(default_factory=dict)
    """By ratio, what simulation knows of an event beyond its features, as an expression in the columns: with `loss = "alice"` the
    joint score p_1 / (p_1 + p_0), with `loss = "regression"` the joint ratio p_1 / p_0 (docs/training.md).
    Example: `{ signal = "me_signal / (me_signal + me_background)" }`."""


PATIENCE = 5
"""Epochs that a member waits for a better one, where steps do not shrink by themselves."""


@dataclass(frozen=True)
class Training:
    """`[training]`: the networks and how they are trained."""

    network: str | dict[str, bool | int | float | str | tuple[int | float | str, ...]] = "mlp"
    """The architecture: `mlp`, `deepset` or `transformer` (of particles), `flow` (two densities, extra `flows`), a LightningModule or any other module as `"physics.py:Name"`
    or `"module:Name"`, or a table with `_target_` and further arguments of its constructor (docs/training.md).
    Example: `{ _target_ = "physics.py:Network", width = 64 }`."""
    layers: int = field(default=4, metadata=within(1, 100))
    """Hidden layers. Unit: layers."""
    nodes: int = field(default=100, metadata=within(1, 100_000))
    """Width of a hidden layer. Unit: nodes."""
    loss: Literal["carl", "mlc", "alice", "regression", "multiclass"] = "carl"
    """What is minimised: `carl` is the weighted binary cross-entropy (arXiv:1506.02169), `mlc` the symmetrised
    maximum-likelihood loss (arXiv:1806.02350), `alice` the cross-entropy with the joint score (arXiv:1808.00973), `regression` the
    squared error to the joint ratio (arXiv:1805.12244). Ratios without `[ratios] joint` are then learned with `carl`.
    `multiclass` is the softmax cross-entropy of one network for all samples in `[ratios]`, which gives all their ratios; those of
    variations are learned with `carl`."""
    label_smoothing: float = field(default=0.0, metadata=within(0.0, 0.5))
    """Labels become y (1 - s) + s / 2 in training, which holds the ratio within (2 - s) / s. Unit: probability."""
    optimizer: Literal["adamw", "adam", "nadam", "sgd"] = "adamw"
    """The minimiser; `sgd` has momentum 0.9."""
    learning_rate: float = field(default=1e-3, metadata=within(0.0, above=True))
    """Step size at the start. Unit: per step."""
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"
    """How the step size changes over the epochs; `plateau` multiplies it by 0.3 after two epochs without a better
    validation loss."""
    weight_decay: float = field(default=1e-4, metadata=within(0.0))
    """Weight decay: decoupled with `adamw` and `nadam`, a part of the gradient with `adam` and `sgd`. Unit: per step."""
    batch_size: int = field(default=1024, metadata=within(1))
    """Events in a step. Unit: events."""
    memory_mib: int = field(default=1024, metadata=within(1))
    """Training events of a ratio that are held in memory; a larger sample stays in its store, and is read in shuffled
    windows (docs/data.md). Unit: MiB."""
    epochs: int = field(default=50, metadata=within(1))
    """Passes over the training events, at most. Unit: epochs."""
    patience: int | None = field(default=None, metadata=within(1))
    """Epochs without a better validation loss after which a member stops; left out, 5, but none under the cosine schedule, whose
    last, small steps bring most. The weights of the best epoch are kept in any case. Unit: epochs. Example: `10`."""
    validation: float = field(default=0.1, metadata=within(0.0, 0.9, above=True))
    """Fraction of the training events that early stopping looks at. Unit: fraction of the training events."""
    metrics: tuple[Literal["closure_chi2", "wasserstein", "ece", "mce"], ...] = ()
    """What else is measured on the validation events in every epoch, and kept in the pack: chi2 / ndf of the reweighted features,
    their Wasserstein distance, expected and maximum calibration error. Example: `["ece", "closure_chi2"]`."""
    members: int = field(default=10, metadata=within(1))
    """Networks per ratio and fold. Unit: networks."""
    folds: int = field(default=1, metadata=within(1, 100))
    """With more than one, each member is trained once per fold, without the fold's events. Unit: folds."""
    bootstrap: bool = True
    """Whether a member sees a Poisson bootstrap of the training events, the same draw in every ratio."""

    def architecture(self) -> tuple[str, dict[str, Any]]:
        """Give the name or reference of the network, and the arguments that the user has written."""
        if isinstance(self.network, str):
            return self.network, {}
        return str(self.network.get("_target_", "")), {n: v for n, v in self.network.items() if n != "_target_"}

    def patient(self) -> int:
        """Give the epochs without a better validation loss after which a member stops."""
        return self.patience or (self.epochs if self.schedule == "cosine" else PATIENCE)

    def own_code(self) -> bool:
        """Whether the network is the user's."""
        return self.architecture()[0] not in NETWORKS


@dataclass(frozen=True)
class Ensemble:
    """`[ensemble]`: how members become one ratio."""

    combine: Literal["mean_ratio", "mean_score", "mean_log", "median_ratio", "weighted", "wifi"] = "mean_ratio"
    """Averages ratios, scores or logarithms, takes the median, weights ratios by the inverse validation loss, or fits weights
    with a covariance (`wifi`, arXiv:2506.00113)."""
    calibration: Literal["none", "histogram", "isotonic"] = "none"
    """Maps the combined score to the fraction of numerator events that have it, in bins or by the nearest rising function
    (`isotonic`, with the extra `calibration`); fitted on events that trained nothing. Not with wifi, which is calibrated by its weights."""
    quorum: float = field(default=0.8, metadata=within(0.0, 1.0, above=True))
    """Fraction of the members that must have trained. Unit: fraction of the members."""


@dataclass(frozen=True)
class Bootstrap:
    """`[bootstrap]`: everything trained and fitted again, for what the finite simulation and the noise of training are worth."""

    replicas: int = field(default=20, metadata=within(2, 10_000))
    """Times that all is done with the simulated events resampled, each by the same draw in every ratio (docs/estimators.md).
    Unit: replicas."""
    repeats: int = field(default=20, metadata=within(2, 10_000))
    """Times that all is done with the same events and other seeds: the noise of training alone. Unit: replicas."""
    members: int | None = field(default=None, metadata=within(1))
    """Networks per ratio and fold of each of them; left out, those of [training]. Networks are then ratios x folds x members x
    (replicas + repeats). Unit: networks. Example: `2`."""


@dataclass(frozen=True)
class Diagnostics:
    """`[diagnostics]`: where the lights of ratios turn [yellow, red]."""

    p_value: tuple[float, float] = (1e-2, 1e-6)
    """Of closure, calibration, the classifier and overtraining, corrected for the number of comparisons: lights turn below.
    Unit: probability. Example: `[1e-3, 1e-8]`."""
    normalisation: tuple[float, float] = (0.01, 0.05)
    """|E_ref[r] - 1|, where it is more than three statistical errors."""
    wasserstein: tuple[float, float] = (0.05, 0.2)
    """Distance of the reweighted reference from the numerator, the worst column. Unit: standard deviations."""
    auc: tuple[float, float] = (0.51, 0.55)
    """Area under the curve of a small network that tells them apart, where it is significant. Unit: area."""
    support: tuple[float, float] = (0.01, 0.05)
    """Share of the numerator where the reference has fewer than 10 effective events. Unit: fraction of the weight."""
    failed: tuple[float, float] = (0.0, 0.1)
    """Networks of a ratio that failed. Unit: fraction of the networks."""


@dataclass(frozen=True)
class Parameter:
    """`[model] parameters.NAME`: a parameter of the physics."""

    nominal: float = 1.0
    """Where Asimov data is made and fits start. Unit: that of the parameter."""
    bounds: tuple[float, float] = (0.0, 10.0)
    """Smallest and largest value. Unit: that of the parameter."""
    role: Literal["poi", "free"] = "poi"
    """`poi`: an interval is made; `free`: only fitted along."""


@dataclass(frozen=True)
class Nuisance:
    """`[model] nuisances.NAME`: a systematic uncertainty that other measurements constrain."""

    interpolation: Literal["poly6_exp", "code4", "code1", "code4p", "linear", "exp_quadratic"] = "poly6_exp"
    """Between and beyond the variations: `poly6_exp` is a polynomial of degree six, then exponential (`code4` of pyhf);
    `code1` is exponential (log-normal rates), `code4p` and `linear` are straight outside, `exp_quadratic` is smooth."""
    rate: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Relative yields [up, down] by process; where missing, they come from the yields of the variations.
    Unit: relative to the nominal yield. Example: `{ signal = [1.02, 0.98] }`."""
    constraint: Literal["gauss", "lognormal", "poisson"] = "gauss"
    """`gauss`: a unit Gaussian around 0; `lognormal`: ln alpha has the width sigma around 0, nominal alpha is 1;
    `poisson`: 1 + alpha / sqrt(events) is measured by counting `events`."""
    sigma: float = field(default=1.0, metadata=within(0.0, above=True))
    """Width of ln alpha with constraint = "lognormal". Unit: that of ln alpha."""
    events: float = field(default=100.0, metadata=within(0.0, above=True))
    """Events that are expected in the auxiliary count with constraint = "poisson". Unit: events."""
    bounds: tuple[float, float] | None = None
    """Smallest and largest alpha; `[0.0, 5.0]` makes it one-sided. Unit: standard deviations. Example: `[0.0, 5.0]`."""


@dataclass(frozen=True)
class Binning:
    """`[model.regions.NAME] binning`: what is counted in a region."""

    column: str
    """A column of the files, or a derived one. Example: `"m4l"`."""
    edges: tuple[float, ...]
    """Edges of the bins, ascending; events outside are not counted. Unit: that of the column.
    Example: `[220.0, 300.0, 400.0, 600.0]`."""


@dataclass(frozen=True)
class Region:
    """`[model.regions.NAME]`: a binned region that is fitted together with the events."""

    selection: str
    """Its events, an expression in the columns; it replaces `[features] selection`, and none may be in both.
    Example: `"m4l < 220"`."""
    binning: Binning
    """What is counted. Example: `{ column = "m4l", edges = [105.0, 140.0, 180.0, 220.0] }`."""
    sensitive: bool = True
    """Whether observed counts stay hidden as long as the analysis is blind."""


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
    """Binned regions, by name."""


@dataclass(frozen=True)
class Data:
    """`[fit] data`: observed events; a plain list stands for its files."""

    files: tuple[str, ...] = ()
    """ROOT, Parquet, HDF5 or CSV files, or their addresses; `*` and `?` match."""
    generate: str = ""
    """A function `(generator, events) -> {column: array}` that makes pseudo-data, as `"physics.py:name"`."""
    events: int = field(default=1000, metadata=within(1))
    """How many events `generate` is asked for. Unit: events."""
    tree: str = ""
    """The TTree, RNTuple or HDF5 group to read; may be left out where a file has only one."""
    weight: str | float = 1.0
    """Column, expression or number; errors of weighted data are those of the weighted scores. Example: `"weight"`."""
    on_bad_file: Literal["stop", "skip"] = "stop"
    """What to do with a file that is damaged or whose content is refused; `skip` leaves it out, and the report says so."""


@dataclass(frozen=True)
class Grid:
    """Equally spaced values of a parameter."""

    start: float
    """Smallest value. Unit: that of the parameter. Example: `0.0`."""
    stop: float
    """Largest value. Unit: that of the parameter. Example: `3.0`."""
    points: int = field(default=20, metadata=within(3, 100_000))
    """How many values, ends included. Unit: values."""

    def values(self) -> tuple[float, ...]:
        """List them."""
        step = (self.stop - self.start) / (self.points - 1)
        return (*(self.start + i * step for i in range(self.points - 1)), self.stop)


@dataclass(frozen=True)
class Plane:
    """`[fit] plane`: two parameters whose profile likelihood is evaluated together."""

    parameters: tuple[str, str]
    """Their names; nuisance parameters may be among them. Example: `["mu", "jes"]`."""
    points: int = field(default=15, metadata=within(5, 1000))
    """How many values of each. Unit: values."""
    ranges: tuple[tuple[float, float], tuple[float, float]] | None = None
    """Smallest and largest value of each; left out, three standard errors to each side of the best fit.
    Unit: those of the parameters. Example: `[[0.0, 3.0], [-2.0, 2.0]]`."""


@dataclass(frozen=True)
class Scan:
    """`[fit] scan`: where the profile likelihood is evaluated."""

    start: float
    """Smallest value. Unit: that of the parameter. Example: `0.0`."""
    stop: float
    """Largest value. Unit: that of the parameter. Example: `3.0`."""
    points: int = field(default=25, metadata=within(5, 100_000))
    """How many values, ends included. Unit: values."""
    parameter: str = ""
    """Which parameter; left out, the first parameter of interest. Example: `"mu"`."""


@dataclass(frozen=True)
class Fit:
    """`[fit]`: what is fitted."""

    asimov: bool = True
    """Whether the expected result, from simulation at the nominal parameters, is fitted, too."""
    data: Data | tuple[str, ...] | None = None
    """Observed events: a list of files, or a table. Example: `["data/*.root"]`."""
    blind: bool = True
    """Whether observed data is left alone; expected results only. `needle run --unblind` overrides it and records who did."""
    scan: Scan | None = None
    """The profile scan; left out, 25 points over four standard errors to each side of the best fit.
    Example: `{ start = 0.0, stop = 3.0, points = 25 }`."""
    plane: Plane | None = None
    """A profile scan of two parameters. Example: `{ parameters = ["mu", "jes"] }`."""
    minos: bool = True
    """Whether MINOS intervals of the parameters of interest are found."""
    impacts: tuple[Literal["covariance", "observable", "refit"], ...] = ("covariance", "refit")
    """How far nuisance parameters move the parameter of interest: from the `covariance`, with the auxiliary `observable`
    moved by one sigma, or with the nuisance parameter held one sigma off (`refit`)."""
    limit: float | None = field(default=None, metadata=within(0.5, 0.9999))
    """Confidence level of an upper limit by asymptotic CLs; the discovery significance comes with it, against the lower bound
    of the parameter. Unit: probability. Example: `0.95`."""


@dataclass(frozen=True)
class Toys:
    """`[toys]`: data sets thrown at known parameters, for bias, pulls and coverage."""

    source: Literal["simulation", "model"] = "simulation"
    """`simulation`: from test events, or from `generate`; `model`: from the learned ratios, blind to their errors."""
    generate: str = ""
    """A function `(generator, parameters) -> {column: array}` that makes one data set, as `"physics.py:name"`."""
    at: tuple[dict[str, float], ...] = ({},)
    """Where toys are thrown, as tables of parameters; what is not named is nominal.
    Unit: those of the parameters. Example: `[{ mu = 0.0 }, { mu = 1.0, jes = 1.0 }]`."""
    coverage: bool = False
    """Whether toys are thrown along the parameter of interest, too: at `intervals.grid`, or at five values between its bounds."""
    count: int = field(default=200, metadata=within(2, 10_000_000))
    """Toys at each of these. Unit: toys."""
    block: int = field(default=1000, metadata=within(1, 1_000_000))
    """Toys that one task throws and fits. Unit: toys."""
    pool: float = field(default=5.0, metadata=within(0.0))
    """Effective simulated events behind each expected event of a toy, at least; fewer are refused.
    Unit: events per event."""
    refitted: int = field(default=0, metadata=within(0, 10_000))
    """Times that the weights of `combine = "wifi"` are fitted again, on resampled events, each with its share of as many toys:
    coverage that holds the error of these weights. Unit: replicas. Example: `50`."""
    retrained: bool = False
    """Whether the replicas of [bootstrap] get their share of as many toys each: coverage that holds what other networks, and other
    events for them, would give."""


@dataclass(frozen=True)
class Intervals:
    """`[intervals]`: what is said about the parameter of interest."""

    method: Literal["profile", "neyman"] = "profile"
    """`profile`: t = -2 ln of the profile likelihood ratio against chi-squared; `neyman`: against toys, too."""
    parameter: str = ""
    """Which parameter; left out, the first parameter of interest. Example: `"mu"`."""
    grid: Grid | tuple[float, ...] | None = None
    """Values at which `neyman` throws toys: a list, or `{ start, stop, points }`.
    Unit: that of the parameter. Example: `[0.0, 0.5, 1.0, 1.5]`."""
    toys_per_point: int = field(default=1000, metadata=within(10, 10_000_000))
    """Toys at each value of the grid; they are thrown from the model, with nuisance parameters as the data has them there.
    Unit: toys."""
    rounds: int = field(default=0, metadata=within(0, 100))
    """Further rounds of as many toys, at values where t of the data is within three errors of a critical value. Unit: rounds."""
    background: float | None = None
    """The value without a signal; given, toys of it are thrown for the discovery significance and for CLs with upper limits.
    Unit: that of the parameter. Example: `0.0`."""
    statistic: Literal["t_mu", "q_mu"] = "t_mu"
    """What `neyman` orders by: `t_mu` gives intervals; `q_mu`, which is t_mu above the best value and 0 below it, upper limits."""
    smooth: bool = True
    """Whether the intervals of `neyman` are read off a smooth curve through the critical values of toys, where there is one: a
    smoothing spline, whose freedom has the largest restricted likelihood."""
    level: tuple[float, ...] = field(default=(0.68, 0.95), metadata=within(0.01, 0.9999))
    """Confidence levels. Unit: probability."""


@dataclass(frozen=True)
class Analysis:
    """A whole `analysis.toml`."""

    name: str
    """The run directory is called after it. Example: `"offshell"`."""
    features: Features
    samples: dict[str, Sample]
    ratios: Ratios
    model: Model
    seed: int = field(default=1, metadata=within(0, 2**63 - 1))
    """Everything random follows from it. Unit: none."""
    physics: str = ""
    """The user's Python file. Example: `"physics.py"`."""
    split: Split = field(default_factory=Split)
    training: Training = field(default_factory=Training)
    ensemble: Ensemble = field(default_factory=Ensemble)
    bootstrap: Bootstrap | None = None
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    fit: Fit = field(default_factory=Fit)
    toys: Toys | None = None
    intervals: Intervals = field(default_factory=Intervals)

    def reference_of(self, target: str) -> bool:
        """Whether a target is the reference itself, so that its ratio is 1."""
        return self.ratios.reference == (target,)

    def parametrised(self, sample: str) -> bool:
        """Whether the events of a sample have parameters as inputs of networks."""
        return bool(self.features.parameters) and sample in self.ratios.targets and sample not in self.ratios.reference

    def poi(self) -> str:
        """Name the parameter that gets an interval."""
        if self.intervals.parameter:
            return self.intervals.parameter
        if self.fit.scan and self.fit.scan.parameter:
            return self.fit.scan.parameter
        return next(name for name, parameter in self.model.parameters.items() if parameter.role == "poi")

    def grid(self) -> tuple[float, ...]:
        """List the values at which the Neyman construction throws toys, ascending; none without it."""
        if self.intervals.method != "neyman" or self.intervals.grid is None:
            return ()
        grid = self.intervals.grid
        return grid.values() if isinstance(grid, Grid) else tuple(sorted(set(grid)))

    def truths(self) -> list[dict[str, float]]:
        """List where `[toys]` throws: the points that were named, and those of a study of coverage; each once."""
        if self.toys is None:
            return []
        found = list(self.toys.at)
        if self.toys.coverage and (poi := self.poi()) in self.model.parameters:
            parameter = self.model.parameters[poi]
            low, high = parameter.bounds
            grid = self.grid() or tuple(low + (high - low) * i / 4 for i in range(5))
            known = [point.get(poi, parameter.nominal) for point in found if set(point) <= {poi}]
            found += [{poi: value} for value in grid if value not in known]
        return found

    def data(self, region: str = "") -> Data | None:
        """Where the observed events are; None without data, and as long as the analysis is blind.

        Args:
            region: A binned region; data of one that is not sensitive may be looked at before.
        """
        hidden = self.fit.blind and (not region or self.model.regions[region].sensitive)
        if self.fit.data is None or hidden:
            return None
        return self.fit.data if isinstance(self.fit.data, Data) else Data(files=self.fit.data)

    def varied(self) -> list[tuple[str, str, str, Source]]:
        """List the varied samples that the model uses, as (sample, nuisance, "up" or "down", source)."""
        return [
            (sample, nuisance, side, source)
            for sample in self.model.processes
            if sample in self.samples  # a faulty analysis is asked, too
            for nuisance, variation in self.samples[sample].variations.items()
            if nuisance in self.model.nuisances
            for side, source in (("up", variation.up), ("down", variation.down))
            if source is not None
        ]
