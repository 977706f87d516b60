"""What trainings, and all that is made of their networks, need to know."""

from __future__ import annotations

from dataclasses import dataclass, field

from needle_parsl.analysis import Training
from needle_parsl.densities import Cross, Density, Shape
from needle_parsl.nsbi.transforms.wanted import Wanted
from needle_parsl.plan.keys import IF_SAID, NOT_IN_KEY
from needle_parsl.plan.specs.stores import Physics, Share


@dataclass(frozen=True)
class Ratio:
    """A density ratio that is learned."""

    numerator: Density
    denominator: tuple[Share, ...]
    parameters: int = 0
    """How many of the numerator's columns, the last ones, are drawn for the denominator's events."""
    surrogate: tuple[str, ...] = field(default=(), metadata=IF_SAID)
    """The nuisance parameters of the surrogate that gives it; none for a ratio with networks of its own, or of many classes."""

    @property
    def name(self) -> str:
        """A ratio is called after its numerator."""
        return self.numerator.name

    @property
    def varied(self) -> str:
        """The process whose variation the numerator is; empty for a nominal sample."""
        return self.numerator.sample if self.numerator.variation else ""

    def nu(self) -> tuple[float, ...]:
        """Give the values of the surrogate's nuisance parameters."""
        moved = self.numerator.nuisances()
        return tuple(moved.get(name, 0.0) for name in self.surrogate)

    def densities(self) -> tuple[Density, ...]:
        """List what its events are drawn from."""
        return (self.numerator, *(share.density for share in self.denominator))


@dataclass(frozen=True)
class Classes:
    """Several ratios at once, learned by networks with one output for each sample: all nominal ones, or the variations of a process."""

    samples: tuple[Density, ...]

    @property
    def varied(self) -> str:
        """The process whose variations they are; empty for nominal samples."""
        return self.samples[0].sample if any(density.variation for density in self.samples) else ""

    @property
    def name(self) -> str:
        """What its packs are called; no sample can have this name."""
        return f"@{self.varied}" if self.varied else "@classes"

    def densities(self) -> tuple[Density, ...]:
        """List what its events are drawn from."""
        return self.samples


@dataclass(frozen=True)
class Surrogate:
    """The responses of a process to several nuisance parameters and to all of them together, learned by networks that see these."""

    sample: str
    nuisances: tuple[str, ...]
    points: tuple[Density, ...]
    """Varied samples: of one nuisance parameter, or of several at once."""

    @property
    def varied(self) -> str:
        """The process whose variations they are."""
        return self.sample

    @property
    def name(self) -> str:
        """What its packs are called; no sample can have this name."""
        return f"@{self.sample}.surrogate"

    def densities(self) -> tuple[Density, ...]:
        """List what its events are drawn from; the nominal sample is the last one."""
        return (*self.points, Density(self.sample))


@dataclass(frozen=True, kw_only=True)
class Splitting:
    """How events are split; a task knows only of the fractions that move its own events."""

    train: float
    combine: float
    test: float
    salt: int
    folds: int = 0
    """Of cross-fitting, in which every event serves every purpose; 0 without."""
    fold_salt: int = 0
    """Of the hash that divides events into folds."""


@dataclass(frozen=True, kw_only=True)
class MemberSpec:
    """One network to train."""

    member: int
    fold: int
    seed: int
    bootstrap: int | None
    """Salt of its bootstrap weights."""
    own: tuple[tuple[str, float], ...] = field(default=(), metadata=IF_SAID)
    """Numbers in which it differs from the others of its pack, by their key in `[training]`."""
    settings: str = field(default="", metadata=IF_SAID)
    """What it has of its own, in words."""
    entry: int = field(default=0, metadata=NOT_IN_KEY)
    """Which entry of `[training] members` it belongs to; its pack says what that means."""
    replica: int = field(default=-1, metadata=IF_SAID)
    """Of a member that a search has trained: the number of the network among those of its settings; -1 for any other."""


@dataclass(frozen=True)
class InitialSpec:
    """Weights that a training starts from."""

    digest: str
    """Of the content of all files."""
    files: tuple[str, ...] = field(metadata=NOT_IN_KEY)
    """One file of weights, or the packs of an earlier run, the newest last."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train the members of one pack."""

    ratio: Ratio | Classes | Surrogate
    splitting: Splitting
    training: Training
    """With `members` set to 1, since the number of the others changes nothing here."""
    fold_salt: int
    validation_salt: int
    members: tuple[MemberSpec, ...]
    replica: bool = False
    """Whether bootstraps are those of replicas, in which all is resampled."""
    yields: tuple[Share, ...] = ()
    """Of the classes, at which the length of a training is chosen; none where all count the same."""
    transform: Wanted = field(default_factory=Wanted)
    """What is done to features before networks see them."""
    initial: InitialSpec | None = field(default=None, metadata=IF_SAID)
    searched: str = field(default="", metadata=IF_SAID)
    """The end of the search whose settings it takes; empty without."""
    slot: int = field(default=0, metadata=IF_SAID)
    """Which of the settings that were found."""


@dataclass(frozen=True, kw_only=True)
class Combine:
    """Make one estimator of all members of a ratio."""

    ratio: Ratio
    splitting: Splitting
    packs: tuple[str, ...]
    combine: str
    quorum: float
    calibration: str
    normalise: str
    """`reference`, `none`, or the name of a normalisation at the expected yields."""
    code: Physics | None = field(default=None, metadata=IF_SAID)
    """The user's Python file, where `combine` is a function of theirs."""
    searched: str = field(default="", metadata=IF_SAID)
    """The end of a search that has chosen `combine` or `calibration`; empty where none has."""


@dataclass(frozen=True)
class Normalise:
    """Fit slope and offset of several ratios at the expected yields, on events that did not train them."""

    ratios: tuple[Combine, ...]
    """How the ratios are made, before they are normalised."""
    samples: tuple[Share, ...]
    """The processes, in the order of the model."""
    multipliers: tuple[float, ...]
    """What the expected events of each process are multiplied with."""
    shared: bool
    """Whether one slope is that of all, since one network gives them."""
    nominal: str = ""
    """For variations: the normalisation of the nominal ratios."""


@dataclass(frozen=True)
class CovarianceSpec:
    """Compute the joint covariance of wifi ratios."""

    ratios: tuple[Ratio, ...]
    splitting: Splitting


@dataclass(frozen=True)
class Named:
    """What files that leave the run say of themselves."""

    name: str
    """Of the analysis."""
    features: tuple[str, ...]
    units: tuple[tuple[str, str], ...]
    """Of the features that have one."""


@dataclass(frozen=True, kw_only=True)
class Compose:
    """Put all estimators into one pseudo-model."""

    facts: Named
    ratios: tuple[str, ...]
    processes: tuple[str, ...]
    shapes: tuple[Shape, ...]
    interpolations: tuple[tuple[str, str], ...]
    """By nuisance."""
    covariance: bool
    crosses: tuple[Cross, ...] = field(default=(), metadata=IF_SAID)


@dataclass(frozen=True)
class Export:
    """Write an ONNX file, and compare it with needle on some events."""

    facts: Named
    file: str
    """Below `estimators/`."""
    ratios: tuple[str, ...]
    stores: tuple[str, ...]


@dataclass(frozen=True)
class Diagnose:
    """Measure an estimator."""

    ratio: Ratio
    splitting: Splitting
    packs: tuple[str, ...]
    physics: Physics | None
    """Given where it knows the exact densities."""
