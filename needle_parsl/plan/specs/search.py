"""What tasks of a search need to know."""

from __future__ import annotations

from dataclasses import dataclass, field

from needle_parsl.analysis import Model
from needle_parsl.nsbi.search.design import Design
from needle_parsl.plan.keys import IF_SAID
from needle_parsl.plan.specs.networks import Train
from needle_parsl.plan.specs.stores import Share


@dataclass(frozen=True, kw_only=True)
class Suggest:
    """Decide a step of a search."""

    search: Design
    step: int
    before: str
    """The step before; empty for the first."""
    measured: tuple[str, ...]
    """Packs whose trials are decided."""
    packs: int
    """That this step trains."""
    subjects: tuple[Train, ...]
    """What each trial trains: its networks are the members."""
    stacked: bool = field(default=False, metadata=IF_SAID)
    """Whether the site says how many networks are trained together, so that trials of one shape stay together."""


@dataclass(frozen=True, kw_only=True)
class FittedMetric:
    """The parameter of interest, for metrics that fit it."""

    model: Model
    poi: str
    samples: tuple[Share, ...]
    """The processes with their expected events."""
    networks: int
    """Of the ensemble that follows."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Train the trials that a step has given to one pack."""

    step: str
    place: int
    metrics: tuple[str, ...]
    subjects: tuple[Train, ...]
    fitted: FittedMetric | None
    combined: tuple[str, str] | None = field(default=None, metadata=IF_SAID)
    """`combine` and `calibration` of `[ensemble]`, where the search varies one of them."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """End a search."""

    search: Design
    before: str
    measured: tuple[str, ...]
    subjects: tuple[str, ...]
    """Names of what was trained."""


@dataclass(frozen=True, kw_only=True)
class SearchSection:
    """Write the section of the report on searches."""

    searches: tuple[tuple[str, str], ...]
    """What is searched, in words, and the name of its end."""
    search: Design
    replicas: int
