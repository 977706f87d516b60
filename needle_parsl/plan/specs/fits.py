"""What fits, scans, limits and replicas need to know."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from needle_parsl.analysis import Model, MorphingBasis, Plane, Scan
from needle_parsl.densities import Cross, Density, Shape
from needle_parsl.plan.keys import IF_SAID
from needle_parsl.plan.specs.networks import Combine, Normalise, Splitting
from needle_parsl.plan.specs.stores import Physics, Share


@dataclass(frozen=True, kw_only=True)
class MixtureSpec:
    """Measure the mixture of all processes along a parameter."""

    model: Model
    poi: str
    reference: tuple[Share, ...]
    splitting: Splitting
    samples: tuple[Share, ...]
    """The processes, in the order of the model."""
    ratios: tuple[str, ...]
    """Names of their estimators."""


@dataclass(frozen=True, kw_only=True)
class SimulatedParameter:
    """A parameter of the simulation, of which ratios are functions."""

    name: str
    nominal: float
    knots: tuple[float, ...]
    """Values at which ratios are evaluated."""
    processes: tuple[str, ...]
    """Whose ratios depend on it; events of the reference stand for theirs."""
    reference: tuple[Share, ...]


@dataclass(frozen=True, kw_only=True)
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
    normalised: tuple[float, ...] = ()
    """What the expected events of each process are multiplied with, where ratios are normalised at yields; empty where they are not."""
    simulated: SimulatedParameter | None = field(default=None, metadata=IF_SAID)
    """The parameter of the simulation that is fitted."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """Count what is expected and observed in the bins of a region."""

    region: str
    edges: tuple[float, ...]
    samples: tuple[Share, ...]
    """The processes, in the order of the model."""
    varied: tuple[Density, ...]
    observed: bool
    """Whether observed counts may be looked at."""
    binned: bool = field(default=False, metadata=IF_SAID)
    """Whether there are binned regions alone, so that no event is fitted unbinned, too."""
    beside: tuple[tuple[str, tuple[float, ...]], ...] = field(default=(), metadata=IF_SAID)
    """The regions before it, with their edges: none of their events may be in it, too."""


@dataclass(frozen=True)
class Blinding:
    """Shift what is written of parameters by a hidden offset."""

    phrase: str
    parameters: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CompareRegions:
    """Say what is expected and observed in the unbinned regions of a fit, none of whose events may be in two regions."""

    fit: FitSpec
    bins: tuple[tuple[str, tuple[float, ...]], ...]
    """The binned regions, with their edges."""


@dataclass(frozen=True, kw_only=True)
class FitSpec:
    """Fit a dataset."""

    dataset: str
    """`asimov`, or `observed`."""
    model: Model
    shapes: tuple[Shape, ...]
    crosses: tuple[Cross, ...] = field(default=(), metadata=IF_SAID)
    """What pairs of nuisance parameters do together."""
    minos: tuple[str, ...] = ()
    """Parameters that get a MINOS interval."""
    staterror: bool | str = True
    """Whether the statistics of the simulation in bins is part of it; `per_process` with factors of each process."""
    staterror_threshold: float = field(default=0.0, metadata=IF_SAID)
    """Share of a bin below which its errors are left out."""
    simulation_error: str = field(default="report", metadata=IF_SAID)
    """`add` where the error from the finite number of simulated, unbinned events is part of the total error and of intervals."""
    binned: bool = field(default=False, metadata=IF_SAID)
    """Whether there are binned regions alone."""
    unbinned: tuple[str, ...] = field(default=(), metadata=IF_SAID)
    """Names of the unbinned regions that are fitted together, the run's own first; one name where it is fitted alone, none where it has no name."""
    blinding: Blinding | None = field(default=None, metadata=IF_SAID)
    """Given where what is written of the fit is shifted; the likelihood is the same."""

    truth: tuple[tuple[str, str | float], ...] = field(default=(), metadata=IF_SAID)
    """Multipliers of the processes in Asimov data, where they are not those of the model."""

    def alone(self) -> FitSpec:
        """Fit the first unbinned region without the others."""
        return replace(self, unbinned=self.unbinned[:1])


@dataclass(frozen=True, kw_only=True)
class MorphingSection:
    """Show the basis of a process that is a polynomial in parameters, and its fit beside that of the linear terms alone."""

    fit: FitSpec
    basis: MorphingBasis
    poi: str
    limits: bool
    """Whether there are upper limits."""


@dataclass(frozen=True)
class Exact:
    """Fit a dataset with the exact densities."""

    fit: FitSpec
    physics: Physics
    reference: tuple[Share, ...]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Scan a parameter over a dataset."""

    fit: FitSpec
    poi: str
    scan: Scan | None
    levels: tuple[float, ...]
    statistical: bool = False
    """Whether nuisance parameters stay at their best fit."""
    exact: Exact | None = None
    """Given for a scan with the exact densities."""
    inflated: bool = False
    """Whether the fit says what t is divided by, for the error of ensemble weights or of the finite simulation."""


@dataclass(frozen=True)
class PlaneRows:
    """Scan two parameters over a dataset, some rows of them."""

    fit: FitSpec
    plane: Plane
    rows: tuple[int, int]
    """First and last, the latter not included."""


@dataclass(frozen=True)
class Area:
    """Join the strips of a scan of two parameters."""

    fit: FitSpec
    strips: tuple[str, ...]
    """Their names."""
    levels: tuple[float, ...]


@dataclass(frozen=True)
class DistributionsSpec:
    """Compare data with the model before and after the fit."""

    fit: FitSpec
    features: tuple[str, ...]
    crossed: tuple[Evaluate, ...] = field(default=(), metadata=IF_SAID)
    """How the observed events of each region were evaluated, where networks are of folds."""


@dataclass(frozen=True)
class ImpactsSpec:
    """Find how far nuisance parameters move the parameter of interest."""

    fit: FitSpec
    poi: str
    methods: tuple[str, ...]


@dataclass(frozen=True)
class BreakdownSpec:
    """Split the error of a parameter of interest into its sources."""

    fit: FitSpec
    poi: str
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    """Names of the groups, each with its nuisance parameters."""


@dataclass(frozen=True)
class GoodnessSpec:
    """Compare the observed events of unbinned regions with the model after the fit, by toys."""

    fit: FitSpec
    poi: str
    toys: int
    salt: int
    crossed: tuple[Evaluate, ...] = field(default=(), metadata=IF_SAID)
    """How the observed events of each region were evaluated, where networks are of folds."""


@dataclass(frozen=True)
class ValidationSpec:
    """Look at regions that are fitted to nothing."""

    fit: FitSpec
    bins: tuple[tuple[str, tuple[float, ...]], ...]
    """The regions, with their edges."""


@dataclass(frozen=True, kw_only=True)
class Closing:
    """Check that what is injected into the simulation comes back."""

    fit: FitSpec
    """Of Asimov data."""
    poi: str
    simulation: Evaluate
    """Of the simulated events."""
    salt: int
    normalisations: tuple[str, ...]
    """Names of what was normalised at the expected yields."""
    points: tuple[tuple[tuple[str, float], ...], ...]
    """The parameters of which these are the yields, or their mean; nominal ones first."""
    against: tuple[tuple[str, tuple[str, ...]], ...] = field(default=(), metadata=IF_SAID)
    """By process that is not in the reference, the samples against which its ratio is learned."""


@dataclass(frozen=True)
class LimitsSpec:
    """Find upper limits and the discovery significance of a dataset."""

    fit: FitSpec
    poi: str
    level: float
    background: float
    """The value without a signal."""
    inflated: bool
    """Whether the fit says what t is divided by, for the error of ensemble weights or of the finite simulation."""


@dataclass(frozen=True)
class Resampling:
    """Make the ratios of the model again, of resampled events or of other networks."""

    combines: tuple[Combine, ...]
    """The ratios of the model, each with the packs that hold its members."""
    members: tuple[int, int]
    """First and last of these, the latter not included."""
    resampled: int | None
    """Salt of the Poisson weight of each event; None for the events as they are."""
    simulation: Evaluate
    """Of the simulated test events, which are behind every fit."""
    normalises: tuple[Normalise, ...] = ()
    """How the ratios are normalised at the expected yields, nominal ones first."""


@dataclass(frozen=True)
class ReplicaFit:
    """Fit again, with ratios that were trained on resampled events or with other seeds."""

    again: Resampling
    fits: tuple[FitSpec, ...]


@dataclass(frozen=True)
class BootstrapSpec:
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
