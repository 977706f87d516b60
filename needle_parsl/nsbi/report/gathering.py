"""What the report shows, gathered into one record of plain numbers and arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from needle_parsl.analysis import Diagnostics
from needle_parsl.nsbi.data.events import Fractions, Part
from needle_parsl.nsbi.data.store import Lost, Store
from needle_parsl.nsbi.statistics.blocks import Block
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.training import packs as pack_files

Floats = npt.NDArray[np.float64]
PARTS: tuple[Part, ...] = ("train", "combine", "test")


@dataclass(frozen=True)
class Sample:
    """One line of the table of events."""

    name: str
    events: int
    sum_of_weights: float
    negative: int
    effective: dict[str, float]
    """By part: train, combine, test."""


@dataclass(frozen=True)
class Subject:
    """What the report is about."""

    name: str
    seed: int
    headline: str
    """`asimov` or `observed`."""
    poi: str
    blinded: bool
    """Observed data was given and left alone."""
    warnings: tuple[str, ...] = ()
    """What needle and its libraries warned of on the way."""
    lost: Mapping[str, Sequence[Lost]] = field(default_factory=dict)
    """Bad files that were left out, by sample."""
    features: tuple[str, ...] = ()
    """Names of the features."""
    thresholds: Diagnostics = field(default_factory=Diagnostics)
    """Where the lights of ratios turn."""


@dataclass(frozen=True)
class Provenance:
    """What the numbers were made from, and with."""

    versions: Mapping[str, str]
    """By package."""
    files: Mapping[str, str]
    """Digest of each input file."""
    analysis: str
    """The resolved `analysis.toml`."""
    unblinded: Sequence[str] = ()
    """Who has looked at the data, and when."""


@dataclass(frozen=True)
class Inference:
    """What the fits have given."""

    fits: dict[str, Any]
    """By name."""
    scans: dict[str, Any]
    """By name."""
    plane: dict[str, Any] | None
    """A scan of two parameters."""
    impacts: dict[str, Any] | None
    limits: dict[str, Any] | None
    """Upper limits and the discovery significance."""
    distributions: dict[str, Any]
    """Before and after the headline fit."""
    belt: dict[str, Any] | None
    """The Neyman construction."""
    coverage: dict[str, Any] | None
    """Of the toys."""
    toys: list[Block]
    """One joined block per truth."""
    bootstrap: dict[str, Any] | None = None
    """What replicas say of the training events and of the noise of training."""
    mixture: dict[str, Any] | None = None
    """Mean of the learned mixture over the reference, along the parameter of interest."""
    closure: dict[str, Any] | None = None
    """Whether what is injected into the simulation comes back; None where ratios are not normalised at the yields."""


@dataclass(frozen=True)
class Facts:
    """Everything that the page and its figures need."""

    subject: Subject
    observed: int | None
    """Observed events; None without them."""
    feature_names: tuple[str, ...]
    samples: list[Sample]
    histories: dict[str, list[Floats]]
    """By ratio, for each network the training and validation loss by epoch, shape (E, 2)."""
    failed: list[str]
    """Networks that did not train, with the reason."""
    diagnostics: dict[str, Any]
    inference: Inference
    dataset: Dataset
    """The Asimov events with their log ratios."""
    exact: dict[str, Floats]
    """Exact log ratios of these events, where they are known."""
    seconds: dict[str, tuple[int, float]]
    """Tasks, and seconds of their work, by stage."""
    provenance: Provenance


def gather(
    subject: Subject,
    *,
    observed: int | None,
    samples: Sequence[Sample],
    packs: Mapping[str, Path],
    diagnostics: dict[str, Any],
    inference: Inference,
    dataset: Dataset,
    exact: dict[str, Floats],
    seconds: Sequence[tuple[str, float]],
    provenance: Provenance,
) -> Facts:
    """Put the results of all stages together.

    Args:
        subject: What the report is about.
        observed: How many observed events there are, if any.
        samples: The table of events.
        packs: Files of the trained members, by their names.
        diagnostics: By ratio.
        inference: Fits, scans, toys and intervals.
        dataset: The Asimov events with their log ratios.
        exact: Exact log ratios of these events, where they are known.
        seconds: Stage and seconds of each task.
        provenance: What the numbers were made from, and with.
    """
    histories, failed = _histories(packs)
    stages = dict.fromkeys(stage for stage, _ in seconds)
    return Facts(
        subject,
        observed,
        subject.features,
        list(samples),
        histories,
        failed,
        diagnostics,
        inference,
        dataset,
        exact,
        {stage: _work([s for other, s in seconds if other == stage]) for stage in stages},
        provenance,
    )


def _work(seconds: Sequence[float]) -> tuple[int, float]:
    return len(seconds), sum(seconds)


def sample(name: str, path: Path, fractions: Fractions) -> Sample:
    """Make a line of the table of events from a store."""
    with Store(path) as store:
        sums = {part: store.sums(*store.rows_of(part, fractions)) for part in PARTS}
    total = sum(part.weight for part in sums.values())
    events, negative = (sum(getattr(part, what) for part in sums.values()) for what in ("events", "negative"))
    return Sample(name, events, total, negative, {part: found.effective() for part, found in sums.items()})


def _histories(packs: Mapping[str, Path]) -> tuple[dict[str, list[Floats]], list[str]]:
    histories: dict[str, list[Floats]] = {}
    failed = []
    for name, path in packs.items():
        ratio = name.rpartition(".")[0]
        for member in pack_files.read(path).members:
            histories.setdefault(ratio, []).append(member.history)
            if member.reason:
                failed.append(f"{ratio}, member {member.member}, fold {member.fold}: {member.reason}")
    return histories, failed
