"""One frozen dataclass per table of `analysis.toml`; a default lives here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field

from needle_parsl.analysis.tables.data import (
    Computed,
    Data,
    Features,
    JointVariation,
    Particles,
    Ratios,
    Sample,
    Source,
    Split,
    Variation,
)
from needle_parsl.analysis.tables.fits import Fit, Grid, Intervals, Plane, Scan, Toys
from needle_parsl.analysis.tables.limits import TimeLimits
from needle_parsl.analysis.tables.model import (
    COMPONENTS,
    MAIN,
    NO_BINS,
    WALL,
    Binning,
    Model,
    Morphing,
    MorphingBasis,
    Nuisance,
    Parameter,
    Region,
)
from needle_parsl.analysis.tables.pruning import Pruning
from needle_parsl.analysis.tables.search import Scheduler, Search
from needle_parsl.analysis.tables.stages import OwnStage, Value
from needle_parsl.analysis.tables.training import (
    TRAINER,
    Bootstrap,
    Diagnostics,
    Ensemble,
    MemberSettings,
    Training,
)
from needle_parsl.reading import DERIVED, within

__all__ = [
    "COMPONENTS",
    "MAIN",
    "NO_BINS",
    "TRAINER",
    "WALL",
    "Analysis",
    "Binning",
    "Bootstrap",
    "Computed",
    "Data",
    "Diagnostics",
    "Ensemble",
    "Features",
    "Fit",
    "Grid",
    "Intervals",
    "JointVariation",
    "MemberSettings",
    "Model",
    "Morphing",
    "MorphingBasis",
    "Nuisance",
    "OwnStage",
    "Parameter",
    "Particles",
    "Plane",
    "Pruning",
    "Ratios",
    "Region",
    "Sample",
    "Scan",
    "Scheduler",
    "Search",
    "Source",
    "Split",
    "TimeLimits",
    "Toys",
    "Training",
    "Variation",
]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A whole `analysis.toml`."""

    name: str
    """The run directory is called after it. Example: `"offshell"`."""
    features: Features = field(default_factory=Features)
    samples: dict[str, Sample] = field(default_factory=dict)
    ratios: Ratios = field(default_factory=Ratios)
    model: Model = field(default_factory=lambda: Model(parameters={}, processes={}))
    seed: int = field(default=1, metadata=within(0, 2**63 - 1))
    """Everything random follows from it. Unit: none."""
    physics: str = ""
    """The user's Python file. Example: `"physics.py"`."""
    resources: tuple[str, ...] = ()
    """Files that your code reads, and that are part of what results are made from: a change of one makes them again. What it opens by Python's
    `open` is noticed without. Example: `["scale_factors.json"]`."""
    links: tuple[str, ...] = ()
    """Other files from which HDF5 inputs may take data: by external links, virtual data sets, or raw storage that is named by its whole path. They
    count as part of the inputs; what leads to a file that is not named here is refused. Example: `["parts/*.h5"]`."""
    split: Split = field(default_factory=Split)
    training: Training = field(default_factory=Training)
    ensemble: Ensemble = field(default_factory=Ensemble)
    search: Search | None = None
    bootstrap: Bootstrap | None = None
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    pruning: Pruning = field(default_factory=Pruning)
    fit: Fit = field(default_factory=Fit)
    toys: Toys | None = None
    intervals: Intervals = field(default_factory=Intervals)
    limits: TimeLimits = field(default_factory=TimeLimits)
    lists: dict[str, str | tuple[Value, ...]] = field(default_factory=dict)
    """Lists by name, for `over` of several stages: written out, or the name of another list. In a list, the name of another one stands for its members.
    Example: `{ variation = ["few", "pdf_1"], few = ["nominal", "jes_up"] }`."""
    stages: dict[str, OwnStage] = field(default_factory=dict)
    """Steps of your own; docs/stages.md. With them, `model` may be left out, where networks are trained for the stages alone; or `samples`, too."""

    region: str = field(default="", metadata=DERIVED)
    """The unbinned region that it is of; empty where there is one alone. No key: `analysis.regions` makes such analyses."""
    stated: str | None = field(default=None, metadata=DERIVED)
    """The selection of the events that stated yields are of; None where these are those of the region itself. No key, either."""

    basis: MorphingBasis | None = field(default=None, metadata=DERIVED)
    """What `[model.morphing]` comes to; None without. No key, either: `analysis.morphing` makes it."""

    @property
    def stages_alone(self) -> bool:
        """Whether there is nothing but stages of the user's."""
        return bool(self.stages) and not self.samples

    @property
    def unfitted(self) -> bool:
        """Whether networks are trained for stages of the user's, here or in another analysis, and nothing is fitted."""
        wanted = self.stages or not self.features.parameters
        return bool(wanted and self.ratios.targets) and not self.model.processes

    @property
    def binned(self) -> bool:
        """Whether it is an analysis of binned regions alone, in which nothing is learned."""
        regions = self.model.regions.values()
        learned = self.ratios.reference or self.ratios.targets or any(region.unbinned for region in regions)
        return bool(regions) and not learned

    def evaluated_code(self) -> tuple[str, ...]:
        """List what of the user's the estimators name: networks, and what combines them."""
        return (*self.training.own_networks(), *self.ensemble.own_code())

    def reference_of(self, target: str) -> bool:
        """Whether a target is the reference itself, so that its ratio is 1."""
        return self.ratios.reference == (target,)

    def keys_of(self, sample: str) -> tuple[str, str]:
        """Give the keys at which the file says a sample and its weight; those of a process with shared events are not in `[samples]`."""
        if self.basis is not None and sample in self.basis.columns:
            return f"samples.{self.basis.sample}", f"model.morphing.weight_columns.{self.basis.columns[sample]}"
        return f"samples.{sample}", f"samples.{sample}.weight"

    def parametrised(self, sample: str) -> bool:
        """Whether the events of a sample have parameters as inputs of networks."""
        return bool(self.features.parameters) and sample in self.ratios.targets and sample not in self.ratios.reference

    @property
    def simulated(self) -> tuple[str, ...]:
        """List the parameters of the simulation that are fitted: inputs of networks that the model has, too."""
        known = self.features.parameters
        return known if known and all(name in self.model.parameters for name in known) else ()

    def poi(self) -> str:
        """Name the parameter that gets an interval."""
        if self.intervals.parameter:
            return self.intervals.parameter
        if self.fit.scan and self.fit.scan.parameter:
            return self.fit.scan.parameter
        return next(name for name, parameter in self.model.parameters.items() if parameter.role == "poi")

    def pois(self) -> tuple[str, ...]:
        """Name the parameters of interest, that of `poi` first; one that `intervals.parameter` names stands in the place of a single other."""
        named = [name for name, parameter in self.model.parameters.items() if parameter.role == "poi"]
        return tuple(dict.fromkeys([self.poi(), *named])) if len(named) > 1 else (self.poi(),)

    def grid(self) -> tuple[float, ...]:
        """List the values at which the Neyman construction of one parameter throws toys, ascending; none without it."""
        grid = self.intervals.grid
        if self.intervals.method != "neyman" or grid is None or isinstance(grid, dict):
            return ()
        return grid.values() if isinstance(grid, Grid) else tuple(sorted(set(grid)))

    def grid_of_two(self) -> dict[str, tuple[float, ...]]:
        """List the values of each parameter at whose pairs the Neyman construction of two throws toys; none without it."""
        grid = self.intervals.grid
        if self.intervals.method != "neyman" or not isinstance(grid, dict):
            return {}
        return {name: own.values() for name, own in grid.items()}

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
        hidden = self.fit.blind is True and (not region or self.model.regions[region].sensitive)
        if self.fit.data is None or hidden:
            return None
        return self.fit.data if isinstance(self.fit.data, Data) else Data(files=self.fit.data)

    def varied(self, region: str | None = None) -> list[tuple[str, str, str, Source]]:
        """List the varied samples that the model uses in a region, as (sample, nuisance, "up" or "down", source).

        Args:
            region: Left out, the unbinned one that the analysis is of.
        """
        where = self.region if region is None else region
        return [one for one in self.every_variation() if self.model.nuisances[one[1]].acts(where)]

    def joint(self) -> list[tuple[str, JointVariation]]:
        """List the samples with several nuisance parameters moved at once that the model uses, as (sample, variation)."""
        return [
            (sample, variation)
            for sample in self.model.processes
            if sample in self.samples  # a faulty analysis is asked, too
            for variation in self.samples[sample].joint
            if set(variation.at) <= set(self.model.nuisances)
        ]

    @property
    def offset(self) -> bool:
        """Whether data are fitted, and what is written of parameters of interest is shifted by a hidden offset."""
        return self.fit.blind == "offset" and self.fit.data is not None

    def every_variation(self) -> list[tuple[str, str, str, Source]]:
        """List the varied samples of all regions, as `varied` does those of one."""
        return [
            (sample, nuisance, side, source)
            for sample in self.model.processes
            if sample in self.samples  # a faulty analysis is asked, too
            for nuisance, variation in self.samples[sample].variations.items()
            if nuisance in self.model.nuisances
            for side, source in (("up", variation.up), ("down", variation.down))
            if source is not None
        ]
