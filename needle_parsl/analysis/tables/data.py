"""Events and what is learned of them: features, samples, observed data, split and ratios."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from needle_parsl.reading import LATER, within

FRACTIONS = (0.60, 0.15, 0.25)
"""For training, combination and tests, where events are divided by purpose."""
Kind = Literal["auto", "none", "standard", "robust", "log", "arcsinh", "quantile", "cyclic", "onehot"]
"""What is done to a feature before networks see it."""
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True)
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
    transform: dict[str, Kind] | Kind = field(default_factory=dict)
    """What is done to features of particles before networks see them, as `[features.transform]`. Example: `{ pt = "log" }`."""


@dataclass(frozen=True, kw_only=True)
class Computed:
    """`[features.computed] NAME`: a column that a function of `physics.py` makes, or that networks have learned."""

    function: str = ""
    """It takes an awkward array of events and returns a number for each. Example: `"physics.py:ht"`."""
    columns: tuple[str, ...] = ()
    """The columns that it is given; they may be jagged. Example: `["Jet_pt"]`."""
    after: tuple[str, ...] = ()
    """Stages of yours, each with one output in all, that the function gets by their names: corrections that are frozen. Example: `["factors"]`."""
    ratio: str = ""
    """The log ratio of an ensemble instead: a stage with an `analysis`, and a ratio if that has several. Example: `"preselection.signal"`."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """`[features]`: what the networks see."""

    names: tuple[str, ...] = ()
    """Scalar columns, in the order of the network's inputs; not needed without `[ratios]`. Example: `["m4l", "mjj", "pt"]`."""
    parameters: tuple[str, ...] = ()
    """Columns of the target samples that are parameters of the simulation: networks see them behind the features and learn
    p(x | theta) / p_ref(x). Those that are parameters of the model, too, are fitted (docs/statistics.md);
    with others a run ends with the diagnostics (docs/training.md). Example: `["mass"]`."""
    units: dict[str, str] = field(default_factory=dict)
    """Their units, for exported files. Example: `{ m4l = "GeV", pt = "GeV" }`."""
    selection: str = ""
    """Events that are kept, as an expression in the columns; empty keeps all. Example: `"pt > 20 and n_jets >= 2"`."""
    derived: dict[str, str] = field(default_factory=dict)
    """Columns that are computed, each an expression in the columns of the files and other derived ones.
    Example: `{ pt_ratio = "pt1 / max(pt2, 1)" }`."""
    computed: dict[str, Computed] = field(default_factory=dict)
    """Columns that functions of `physics.py` make; derived ones may use them."""
    missing: tuple[float | Literal["nan"], ...] = ()
    """Values that stand for nothing measured, in any feature: networks get 0 for them, and an indicator for each group of features
    that go missing together (docs/training.md). With `"nan"`, events with NaN in a feature are kept.
    Unit: those of the features. Example: `[-25.0, -999.0, "nan"]`."""
    transform: dict[str, Kind] | Kind = field(default_factory=dict)
    """What is done to a feature before networks see it, fitted to the training events; one word stands for all. A feature that is
    left out is `auto`: robust scale, with heavy tails squeezed by arcsinh or log, and angles as cosine and sine
    (docs/training.md). Example: `{ pt = "log", n_jets = "onehot" }`."""
    particles: Particles | None = None
    """Jagged columns that are stored beside the features, for networks of your own."""


@dataclass(frozen=True)
class Source:
    """Where a varied sample's events come from: other files, other weights, or a function. What is not said is nominal."""

    files: tuple[str, ...] = ()
    """ROOT, Parquet, HDF5 or CSV files, or their addresses; `*` and `?` match."""
    generate: str = ""
    """A function `(generator, events) -> {column: array}` that makes the events, as `"physics.py:name"`; `generator` is a
    `numpy.random.Generator`, `events` how many to make. Give `yield` with it, or weights that add up to what is expected."""
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


@dataclass(frozen=True, kw_only=True)
class JointVariation(Source):
    """`[[samples.NAME.joint]]`: a sample with several systematic effects at once."""

    at: dict[str, float]
    """The nuisance parameters that are moved, with their values; the others are nominal. Unit: standard deviations.
    Example: `{ jes = 1.0, met = 1.0 }`."""

    def point(self) -> tuple[tuple[str, float], ...]:
        """Give the nuisance parameters that are moved, by name, with their values."""
        return tuple(sorted((name, value) for name, value in self.at.items() if value))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """`[samples.NAME]`: simulated events of one process."""

    files: tuple[str, ...] = ()
    """ROOT, Parquet, HDF5 or CSV files, or their addresses; `*` and `?` match."""
    generate: str = ""
    """A function `(generator, events) -> {column: array}` that makes the events, as `"physics.py:name"`; `generator` is a
    `numpy.random.Generator`, `events` how many to make. Give `yield` with it, or weights that add up to what is expected."""
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
    joint: tuple[JointVariation, ...] = field(default=(), metadata=LATER)
    """Variations with several nuisance parameters moved at once: one network then learns what all of these do, also together
    (docs/statistics.md)."""

    def crossed(self) -> tuple[str, ...]:
        """Name the nuisance parameters that joint variations move, in the order of the variations."""
        moved = {name for one in self.joint for name, _ in one.point()}
        return tuple(name for name in self.variations if name in moved)


@dataclass(frozen=True, kw_only=True)
class Data:
    """`[fit] data`: observed events; a plain list stands for its files."""

    files: tuple[str, ...] = ()
    """ROOT, Parquet, HDF5 or CSV files, or their addresses; `*` and `?` match."""
    generate: str = ""
    """A function `(generator, events) -> {column: array}` that makes pseudo-data, as `"physics.py:name"`; `generator` is a
    `numpy.random.Generator`, and the function may make another number of events than it is asked for."""
    events: int = field(default=1000, metadata=within(1))
    """How many events `generate` is asked for. Unit: events."""
    tree: str = ""
    """The TTree, RNTuple or HDF5 group to read; may be left out where a file has only one."""
    weight: str | float = 1.0
    """Column, expression or number; errors of weighted data are those of the weighted scores. Example: `"weight"`."""
    on_bad_file: Literal["stop", "skip"] = "stop"
    """What to do with a file that is damaged or whose content is refused; `skip` leaves it out, and the report says so."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """`[split]`: which events serve which purpose, by a hash of the event's id."""

    cross: int | None = field(default=None, metadata=within(0, 100))
    """Cross-fitting: the folds into which events are divided. Every event trains the networks of the other folds, and is evaluated by
    those that did not see it; observed events by all of them. 0 divides events by train, combine and test instead. Left out, it is 5, and 10
    where samples have fewer than 5,000 events, unless a fraction, `training.folds`, `combine = "wifi"` or `[features] parameters` is given
    (docs/learning.md). Unit: folds. Example: `10`."""
    train: float | None = field(default=None, metadata=within(0.0, 1.0, above=True))
    """Fraction for training; early stopping's validation comes out of it. Left out, 0.60. Unit: fraction of the events. Example: `0.6`."""
    combine: float | None = field(default=None, metadata=within(0.0, 1.0, above=True))
    """Fraction for ensemble weights and normalisation. Left out, 0.15. Unit: fraction of the events. Example: `0.15`."""
    test: float | None = field(default=None, metadata=within(0.0, 1.0, above=True))
    """Fraction for closure, Asimov data and toys. Left out, 0.25. Unit: fraction of the events. Example: `0.25`."""
    id: tuple[str, ...] = ()
    """Columns that together name an event; left out, it is the file's content and the row.
    Example: `["run", "event"]`."""
    min_events: int = field(default=1000, metadata=within(1))
    """Effective events, (sum w)^2 / sum w^2, that each sample must have in each part; with cross-fitting, in all. Unit: effective events."""

    def fractions(self) -> tuple[float, float, float]:
        """Give the fractions for training, combination and tests, as far as they are given; the rest by default."""
        given = (self.train, self.combine, self.test)
        found = [default if value is None else value for value, default in zip(given, FRACTIONS, strict=True)]
        return found[0], found[1], found[2]

    def divides(self) -> bool:
        """Whether a fraction is given, so that events are divided by purpose."""
        return (self.train, self.combine, self.test) != (None, None, None)


@dataclass(frozen=True)
class Ratios:
    """`[ratios]`: which density ratios are learned; without this table none, and binned regions alone are fitted."""

    reference: tuple[str, ...] = ()
    """Sample or samples in the denominator, each with its yield. Example: `["background"]`."""
    targets: tuple[str, ...] = ()
    """Samples in the numerator; one equal to the reference has ratio 1 and is not trained.
    Example: `["signal", "background"]`."""
    joint: dict[str, str] = field(default_factory=dict)
    """By ratio, what simulation knows of an event beyond its features, as an expression in the columns: with `loss = "alice"` the
    joint score p_1 / (p_1 + p_0), with `loss = "regression"` the joint ratio p_1 / p_0 (docs/training.md).
    Example: `{ signal = "me_signal / (me_signal + me_background)" }`."""
