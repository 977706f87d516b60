"""What the report needs to know."""

from __future__ import annotations

from dataclasses import dataclass, field

from needle_parsl.analysis import Diagnostics
from needle_parsl.plan.keys import IF_SAID, NOT_IN_KEY
from needle_parsl.plan.specs.networks import Ratio, Splitting
from needle_parsl.plan.specs.stores import Physics


@dataclass(frozen=True, kw_only=True)
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
    closure: bool
    """Whether it was checked that what is injected comes back."""
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
    binned: bool = field(default=False, metadata=NOT_IN_KEY)
    """Whether there are binned regions alone."""
    sections: tuple[str, ...] = field(default=(), metadata=IF_SAID)
    """Outputs of stages that are sections, relative to the run directory."""
    precision: bool = field(default=False, metadata=IF_SAID)
    """Whether the precision of the networks was measured."""
    breakdowns: tuple[str, ...] = field(default=(), metadata=IF_SAID)
    """Names of the breakdowns of errors, that of the headline's parameter first."""
    region: bool = field(default=False, metadata=IF_SAID)
    """Whether there is a Neyman construction of two parameters."""
    further: tuple[str, ...] = field(default=(), metadata=IF_SAID)
    """Further parameters of interest: of each, files of its name stand beside those of the headline's."""
    goodness: bool = field(default=False, metadata=IF_SAID)
    """Whether the events of unbinned regions were compared with the model by toys."""
    validation: bool = field(default=False, metadata=IF_SAID)
    """Whether there are regions that are only looked at."""
    offset: tuple[str, ...] = field(default=(), metadata=IF_SAID)
    """Parameters that are shifted by a hidden offset in fits to data."""
    pruned: tuple[str, ...] = field(default=(), metadata=IF_SAID)
    """Variations that were left out since they cannot matter, a sentence each."""
    further_regions: tuple[str, ...] = field(default=(), metadata=IF_SAID)
    """Unbinned regions beside the first, whose observed events count, too."""
    residuals: bool = field(default=False, metadata=IF_SAID)
    """Whether residuals were measured in units of the parameter of interest."""
