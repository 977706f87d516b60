"""What a task needs to know, as frozen records, and the key that says whether it is already done."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar

from needle_parsl.analysis import Computed, Diagnostics, Model, Particles, Plane, Scan, Training
from needle_parsl.nsbi.physics import Density
from needle_parsl.nsbi.statistics.model import Shape

S = TypeVar("S")
NOT_IN_KEY = {"key": False}
"""Metadata of fields that say where something is, not what it is."""

VERSIONS = {
    "generate": 1,
    "read": 1,
    "merge": 1,
    "convert": 2,
    "train": 3,
    "combine": 3,
    "covariance": 1,
    "compose": 1,
    "export": 1,
    "diagnose": 4,
    "evaluate": 1,
    "count": 1,
    "fit": 5,
    "interval": 4,
    "replica": 1,
    "bootstrap": 1,
    "toys": 5,
    "neyman": 6,
    "coverage": 3,
    "report": 3,
}
"""The stages in their order. Raise a version when its task gives other results, and what is done is done again. That of
`convert` stands for `read` and `merge`, too, since a store is named by its files alone."""
STAGES = tuple(VERSIONS)
NETWORKED = ("train", "combine", "covariance", "export", "diagnose", "evaluate", "replica", "toys")
"""Stages that make networks."""
PASSING = ("read", "merge")
"""Stages whose outputs are removed when the store that is made of them is there."""


@dataclass(frozen=True)
class Physics:
    """The user's Python file; it travels as text."""

    source: str
    path: str = field(metadata=NOT_IN_KEY)
    """That file, or the analysis without one; modules beside it can be imported."""
    imported: tuple[str, ...] = ()
    """Digests of the user's other modules that it imports, or that the analysis names."""


@dataclass(frozen=True)
class Generate:
    """Run a user's generator function in a process of its own."""

    reference: str
    physics: Physics
    events: int
    seed: int


@dataclass(frozen=True)
class File:
    """An input file."""

    path: str = field(metadata=NOT_IN_KEY)
    """Empty for the file that the sample's generator writes."""
    digest: str
    """Of its content; the key of the generator's task for a generated file."""
    stamp: tuple[object, ...] = field(default=(), metadata=NOT_IN_KEY)
    """Its state when it was looked at."""
    borders: tuple[int, ...] = field(default=(), metadata=NOT_IN_KEY)
    """Rows at which reading may start, from 0 to their number; empty where that is not known."""
    size: int = field(default=0, metadata=NOT_IN_KEY)
    """Bytes."""


@dataclass(frozen=True)
class Piece:
    """A range of rows of a file."""

    file: File
    start: int = 0
    stop: int | None = None
    """None: to the end of the file."""
    share: float = field(default=0.0, metadata=NOT_IN_KEY)
    """Part of the sample's bytes that the whole file is."""


@dataclass(frozen=True)
class Joint:
    """What is known jointly of the events of a ratio."""

    ratio: str
    text: str
    """An expression in the columns."""
    score: bool
    """Whether it is a probability, and not a ratio."""


@dataclass(frozen=True)
class Convert:
    """Turn one sample's files into a store."""

    sample: str
    files: tuple[File, ...]
    tree: str
    features: tuple[str, ...]
    weight: str | float
    selections: tuple[str, ...]
    id: tuple[str, ...]
    salt: int
    derived: tuple[tuple[str, str], ...]
    """Names and expressions of the computed columns that are used, each after those it uses."""
    on_bad_file: str
    """`stop`, or `skip`."""
    computed: tuple[tuple[str, Computed], ...]
    """Names of the columns that functions make, and how."""
    particles: Particles | None
    physics: Physics | None
    """Where the functions are; None without any."""
    joint: tuple[Joint, ...] = ()
    pieces: tuple[Piece, ...] = field(default=(), metadata=NOT_IN_KEY)
    """What this task reads itself; equal files give equal stores however they are cut."""
    parts: tuple[str, ...] = field(default=(), metadata=NOT_IN_KEY)
    """What other tasks have read or merged: their names, with the stage."""
    memory: int = field(default=2**30, metadata=NOT_IN_KEY)
    """Bytes that the task may use, about."""
    region: str = field(default="", metadata=NOT_IN_KEY)
    """The binned region whose events these are; a process may have none there."""


@dataclass(frozen=True)
class Read:
    """Read some pieces of a sample into a part of its store."""

    sample: Convert
    """Without files and pieces."""
    pieces: tuple[Piece, ...]
    bits: int
    """Leading bits of the hash that cut all parts into the same cells."""


@dataclass(frozen=True)
class Merge:
    """Merge one range of the hash out of all parts."""

    parts: tuple[str, ...]
    share: tuple[int, int]
    """(k, n): the k-th of n ranges."""
    memory: int = field(metadata=NOT_IN_KEY)


@dataclass(frozen=True)
class Share:
    """A density and the expected events it stands for."""

    density: Density
    yield_: float | None
    """None: the sum of the weights."""


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


@dataclass(frozen=True)
class Mixture:
    """Measure the mixture of all processes along a parameter."""

    model: Model
    poi: str
    reference: tuple[Share, ...]
    splitting: Splitting
    samples: tuple[Share, ...]
    """The processes, in the order of the model."""
    ratios: tuple[str, ...]
    """Names of their estimators."""


@dataclass(frozen=True)
class Evaluate:
    """Compute all log ratios of a dataset."""

    dataset: str
    """`asimov`, `observed`, or `reference`: the events that toys of the learned model are drawn from."""
    splitting: Splitting
    samples: tuple[Share, ...]
    """The processes, in the order of the model, or the samples of the reference; none for observed events."""
    varied: tuple[Density, ...]
    ratios: tuple[str, ...]
    """Names of the estimators."""
    covariance: bool = False
    """Whether their weights have one: how ln r moves with them is kept beside the events."""


@dataclass(frozen=True)
class Count:
    """Count what is expected and observed in the bins of a region."""

    region: str
    edges: tuple[float, ...]
    samples: tuple[Share, ...]
    """The processes, in the order of the model."""
    varied: tuple[Density, ...]
    observed: bool
    """Whether observed counts may be looked at."""


@dataclass(frozen=True)
class Fit:
    """Fit a dataset."""

    dataset: str
    """`asimov`, or `observed`."""
    model: Model
    shapes: tuple[Shape, ...]
    minos: tuple[str, ...] = ()
    """Parameters that get a MINOS interval."""


@dataclass(frozen=True)
class Exact:
    """Fit a dataset with the exact densities."""

    fit: Fit
    physics: Physics
    reference: tuple[Share, ...]


@dataclass(frozen=True)
class Interval:
    """Scan a parameter over a dataset."""

    fit: Fit
    poi: str
    scan: Scan | None
    levels: tuple[float, ...]
    statistical: bool = False
    """Whether nuisance parameters stay at their best fit."""
    exact: Exact | None = None
    """Given for a scan with the exact densities."""
    inflated: bool = False
    """Whether the fit says what t is divided by, for the error of ensemble weights."""


@dataclass(frozen=True)
class Strip:
    """Scan two parameters over a dataset, some rows of them."""

    fit: Fit
    plane: Plane
    rows: tuple[int, int]
    """First and last, the latter not included."""


@dataclass(frozen=True)
class Area:
    """Join the strips of a scan of two parameters."""

    fit: Fit
    strips: tuple[str, ...]
    """Their names."""
    levels: tuple[float, ...]


@dataclass(frozen=True)
class Distributions:
    """Compare data with the model before and after the fit."""

    fit: Fit
    features: tuple[str, ...]


@dataclass(frozen=True)
class Impacts:
    """Find how far nuisance parameters move the parameter of interest."""

    fit: Fit
    poi: str
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Limits:
    """Find upper limits and the discovery significance of a dataset."""

    fit: Fit
    poi: str
    level: float
    background: float
    """The value without a signal."""
    inflated: bool
    """Whether the fit says what t is divided by, for the error of ensemble weights."""


@dataclass(frozen=True)
class Replica:
    """Fit again, with ratios that were trained on resampled events or with other seeds."""

    combines: tuple[Combine, ...]
    """The ratios of the model, each with the packs that hold its members."""
    members: tuple[int, int]
    """First and last of these, the latter not included."""
    resampled: int | None
    """Salt of the Poisson weight of each event; None for the events as they are."""
    simulation: Evaluate
    """Of the simulated test events, which are behind every fit."""
    fits: tuple[Fit, ...]


@dataclass(frozen=True)
class Bootstrap:
    """Split the scatter of replicas into the noise of training and the statistics of the simulation."""

    replicas: tuple[str, ...]
    """Names of those with resampled events."""
    repeats: tuple[str, ...]
    """Names of those with other seeds alone."""
    members: int
    """Of each."""
    whole: int
    """Members of the run's own ensembles."""
    own: bool
    """Whether each of these has a bootstrap of its own."""


@dataclass(frozen=True)
class Thrower:
    """A user's function that makes a toy's events."""

    reference: str
    physics: Physics
    kept: Convert
    """What is kept of them."""
    ratios: tuple[str, ...]
    """Names of the estimators."""


@dataclass(frozen=True)
class Toys:
    """Throw and fit a block of toys."""

    fit: Fit
    """The model; and the data that decide where nuisance parameters are, if they are profiled."""
    poi: str
    truth: tuple[tuple[str, float], ...]
    """Values of parameters."""
    profiled: bool
    """Whether parameters that `truth` does not name are where a fit of the data has them; else they are nominal."""
    source: str
    """`model` or `simulation`."""
    thrower: Thrower | None
    """Given where toys of the simulation have events of their own."""
    least: float = field(metadata=NOT_IN_KEY)
    """Effective events of the pool per expected event: what is refused, not what is thrown."""
    salt: int
    """Of the toys of this truth; with the number of a toy it is its seed."""
    first: int
    """Number of the first toy."""
    count: int
    tested: tuple[float, ...] = ()
    """Further values at which the parameter of interest is held."""
    earlier: tuple[str, ...] = ()
    """Names of the toys of earlier rounds: no more are thrown where these decide what is accepted."""
    levels: tuple[float, ...] = ()
    """Confidence levels at which they must."""
    statistic: str = "t_mu"
    """What orders the values of the parameter of interest there, `t_mu` or `q_mu`."""


@dataclass(frozen=True)
class Neyman:
    """Construct a confidence belt."""

    fit: Fit
    poi: str
    grid: tuple[float, ...]
    blocks: tuple[tuple[str, ...], ...]
    """Names of the toys at each value."""
    levels: tuple[float, ...]
    smooth: bool = True
    """Whether intervals are read off a smooth curve through the critical values."""
    statistic: str = "t_mu"
    """`t_mu` or `q_mu`."""
    without: float | None = None
    """The value without a signal, where there are toys of it."""
    background: tuple[str, ...] = ()
    """Names of these."""


@dataclass(frozen=True)
class Coverage:
    """Sum up toys of known truth."""

    poi: str
    blocks: tuple[tuple[str, ...], ...]
    """Names of the toys of each truth."""
    levels: tuple[float, ...]
    belt: bool
    """Whether there is a confidence belt."""
    inflated: Fit | None = None
    """Given where ensemble weights are fitted: the model, in which their error is propagated."""


@dataclass(frozen=True)
class Report:
    """Write the report; everything is named, and found by its place."""

    name: str
    seed: int
    stores: tuple[str, ...]
    """Simulated samples and varied samples."""
    regions: tuple[str, ...]
    """Binned regions."""
    ratios: tuple[Ratio, ...]
    packs: tuple[str, ...]
    fits: tuple[str, ...]
    scans: tuple[str, ...]
    plane: bool
    """Whether two parameters were scanned together."""
    impacts: bool
    """Whether there are impacts."""
    limits: bool
    """Whether there are upper limits."""
    bootstrap: bool
    """Whether there are replicas."""
    mixture: bool
    """Whether the mixture of all processes was measured."""
    toys: tuple[tuple[str, ...], ...]
    """Names of the toys of each truth."""
    belt: bool
    """Whether there is a confidence belt."""
    headline: str
    """`asimov` or `observed`."""
    poi: str
    splitting: Splitting
    physics: Physics | None
    """Given where it knows the exact densities."""
    blinded: bool
    """Observed data was given and left alone."""
    warnings: tuple[str, ...]
    """What the analysis says without any effect."""
    thresholds: Diagnostics


Inference = Fit | Exact | Interval | Strip | Area | Distributions | Impacts | Limits | Toys | Neyman | Coverage
Spec = (
    Generate
    | Read
    | Merge
    | Convert
    | Train
    | Combine
    | Covariance
    | Compose
    | Export
    | Diagnose
    | Mixture
    | Evaluate
    | Count
    | Inference
    | Replica
    | Bootstrap
    | Report
)


@dataclass(frozen=True)
class Task:
    """One piece of work."""

    stage: str
    name: str
    """Of its output: the sample, ratio, pack, dataset or fit."""
    key: str
    """Says what the output is made from; equal keys, equal outputs."""
    spec: Spec
    after: tuple[str, ...]
    """Keys of the tasks whose outputs it reads."""
    code: Physics | None = None
    """The user's Python file, for tasks that use a network of theirs."""

    def of(self, kind: type[S]) -> S:
        """Give the spec to the function of its stage, which knows its kind."""
        assert isinstance(self.spec, kind)
        return self.spec


def content(value: Any) -> Any:
    """Turn a spec into plain values, without the fields that only say where something is."""
    return json.loads(CANONICAL.encode(value))


def digest(value: Any) -> str:
    """Fingerprint specs and plain values: 16 bytes of BLAKE2b over canonical JSON, as hex."""
    return hashlib.blake2b(CANONICAL.encode(value).encode(), digest_size=16).hexdigest()


def _fields(spec: Any) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in _in_key(spec.__class__)}


@cache
def _in_key(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind) if f.metadata.get("key", True))


CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_fields)
"""Equal values have equal texts; a plan of 10^5 tasks is fingerprinted in two seconds."""
