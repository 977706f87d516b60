"""What trainings, and all that is made of their networks, need to know."""

from __future__ import annotations

from dataclasses import dataclass, field

from needle_parsl.analysis import Training
from needle_parsl.nsbi.physics import Density
from needle_parsl.nsbi.statistics.model import Shape
from needle_parsl.nsbi.transforms.wanted import Wanted
from needle_parsl.plan.specs.stores import Physics, Share


@dataclass(frozen=True)
class Ratio:
    """A density ratio that is learned."""

    numerator: Density
    denominator: tuple[Share, ...]
    parameters: int = 0
    """How many of the numerator's columns, the last ones, are drawn for the denominator's events."""

    @property
    def name(self) -> str:
        """A ratio is called after its numerator."""
        return self.numerator.name

    def densities(self) -> tuple[Density, ...]:
        """List what its events are drawn from."""
        return (self.numerator, *(share.density for share in self.denominator))


@dataclass(frozen=True)
class Classes:
    """All nominal ratios at once, learned by networks with one output for each sample."""

    samples: tuple[Density, ...]

    @property
    def name(self) -> str:
        """What its packs are called; no sample can have this name."""
        return "@classes"

    def densities(self) -> tuple[Density, ...]:
        """List what its events are drawn from."""
        return self.samples


@dataclass(frozen=True)
class Splitting:
    """How events are split; a task knows only of the fractions that move its own events."""

    train: float
    combine: float
    test: float
    salt: int


@dataclass(frozen=True)
class Member:
    """One network to train."""

    member: int
    fold: int
    seed: int
    bootstrap: int | None
    """Salt of its bootstrap weights."""


@dataclass(frozen=True)
class Train:
    """Train the members of one pack."""

    ratio: Ratio | Classes
    splitting: Splitting
    training: Training
    """With `members` set to 1, since the number of the others changes nothing here."""
    fold_salt: int
    validation_salt: int
    members: tuple[Member, ...]
    replica: bool = False
    """Whether bootstraps are those of replicas, in which all is resampled."""
    transform: Wanted = field(default_factory=Wanted)
    """What is done to features before networks see them."""


@dataclass(frozen=True)
class Combine:
    """Make one estimator of all members of a ratio."""

    ratio: Ratio
    splitting: Splitting
    packs: tuple[str, ...]
    combine: str
    quorum: float
    calibration: str


@dataclass(frozen=True)
class Covariance:
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


@dataclass(frozen=True)
class Compose:
    """Put all estimators into one pseudo-model."""

    facts: Named
    ratios: tuple[str, ...]
    processes: tuple[str, ...]
    shapes: tuple[Shape, ...]
    interpolations: tuple[tuple[str, str], ...]
    """By nuisance."""
    covariance: bool


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
