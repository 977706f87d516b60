"""What the report shows, gathered into one record of plain numbers and arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from needle_parsl import refs
from needle_parsl.analysis import Diagnostics, catalogue
from needle_parsl.nsbi.data import hashing
from needle_parsl.nsbi.data.events import Events, Fractions, Part
from needle_parsl.nsbi.data.store import Lost, Store
from needle_parsl.nsbi.estimators.results import RatioDiagnostics
from needle_parsl.nsbi.report.sections import Section
from needle_parsl.nsbi.statistics.dataset import Dataset
from needle_parsl.nsbi.statistics.results import (
    Belt,
    Breakdown,
    Coverage,
    Distributions,
    FitResult,
    FittedParameter,
    GoodnessOfFit,
    Impacts,
    InjectionTests,
    Limits,
    Mixture,
    NeymanRegion,
    ProfilePlane,
    ProfileScan,
    Replicas,
    Residuals,
    Validation,
)
from needle_parsl.nsbi.transforms.transform import Transform
from needle_parsl.precision import PrecisionLaw

if TYPE_CHECKING:
    from needle_parsl.nsbi.statistics.toys.block import Block
    from needle_parsl.nsbi.training.networks import NetworkShape
    from needle_parsl.nsbi.training.packs import Trained

Floats = npt.NDArray[np.float64]
COMPARED = 500_000
"""Events that are compared by content at a time, and test events that are, at most."""
PARTS: tuple[Part, ...] = ("train", "combine", "test")


class Folds(NamedTuple):
    """Of cross-fitting: an event is evaluated by the networks of its fold, which have seen those of the others."""

    number: int
    salt: int

    def of(self, events: Events) -> npt.NDArray[np.int64]:
        """Give the fold of each event."""
        return hashing.fold(events.id, self.number, self.salt)


@dataclass(frozen=True, kw_only=True)
class SampleRow:
    """One line of the table of events."""

    name: str
    events: int
    sum_of_weights: float
    negative: int
    effective: dict[str, float]
    """By part: train, combine, test."""
    leaked: float = 0.0
    """Fraction of the test events whose content is that of a training event of their networks."""
    repeated: float = 0.0
    """Fraction of the test events, or of those of a fold, whose content is that of another one."""
    content: int = 0
    """Fingerprint of features and weights, in any order."""


@dataclass(frozen=True, kw_only=True)
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
    """Where checks of ratios turn."""
    offset: tuple[str, ...] = ()
    """Parameters that are shifted by a hidden offset in fits to data."""
    pruned: tuple[str, ...] = ()
    """Variations that were left out since they cannot matter."""
    further: tuple[str, ...] = ()
    """Parameters of interest beside `poi`."""

    @property
    def pois(self) -> tuple[str, ...]:
        """Name all parameters of interest."""
        return (self.poi, *self.further)


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


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What the fits have given."""

    fits: Mapping[str, FitResult]
    """By name."""
    scans: Mapping[str, ProfileScan]
    """By name; of a further parameter of interest as `scan.NAME`."""
    plane: ProfilePlane | None
    """A scan of two parameters."""
    impacts: Impacts | None
    limits: Limits | None
    """Upper limits and the discovery significance."""
    distributions: Distributions
    """Before and after the headline fit."""
    belt: Belt | None
    """The Neyman construction."""
    coverage: Coverage | None
    """Of the toys."""
    toys: list[Block]
    """One joined block per truth."""
    bootstrap: Replicas | None = None
    """What replicas say of the training events and of the noise of training."""
    mixture: Mixture | None = None
    """Mean of the learned mixture over the reference, along the parameter of interest."""
    closure: InjectionTests | None = None
    """Whether what is injected into the simulation comes back; None where ratios are not normalised at the yields."""
    precision: PrecisionLaw | None = None
    """How the error from networks falls with members and events; None where there are none."""
    breakdowns: Sequence[Breakdown] = ()
    """Of the error of each parameter of interest, the headline's first."""
    residuals: Residuals | None = None
    """What measured residuals of ratios do to the parameter of interest; None where there are no ratios."""
    goodness: GoodnessOfFit | None = None
    """Of the events of unbinned regions; None where no data were fitted there."""
    validation: Validation | None = None
    """Of regions that are fitted to nothing."""
    no_belt: str = ""
    """Why there is no Neyman construction, where one was asked for."""
    region: NeymanRegion | None = None
    """The Neyman construction of two parameters."""
    further_impacts: Sequence[Impacts] = ()
    """On further parameters of interest, as those below."""
    further_limits: Sequence[Limits] = ()


@dataclass(frozen=True)
class StagesFacts:
    """What the report of an analysis of the user's stages alone shows."""

    subject: Subject
    provenance: Provenance
    sections: Sequence[Section]
    inference: None = None


CONTENT = re.compile(r" \([0-9a-f]{8}\)")
"""What stands in the settings of a member for the content of its weights to start from, which is another for each ratio."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The members of a mixed ensemble that have the same settings, in all ratios and folds."""

    network: str
    layers: int | None
    """None, as nodes, for a network of the user's."""
    nodes: int | None
    settings: str
    """What they have of their own, in words."""
    learning_rate: float | None = None
    """In the first epoch; None where none has trained."""
    count: int = 0

    @staticmethod
    def of(shape: NetworkShape, member: Trained) -> Kind:
        """Say what a member is."""
        ours, name = shape.network in catalogue.NETWORKS, refs.own_name(shape.network)
        said = CONTENT.sub("", member.settings)
        return Kind(
            network=name, layers=shape.layers if ours else None, nodes=shape.nodes if ours else None, settings=said
        )

    def __add__(self, member: Trained) -> Kind:
        """Count one more."""
        rates = member.metrics.get("learning_rate")
        rate = self.learning_rate if rates is None or not len(rates) else float(rates[0])
        return replace(self, learning_rate=rate, count=self.count + 1)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that the page and its figures need."""

    subject: Subject
    observed: int | None
    """Observed events; None without them."""
    feature_names: tuple[str, ...]
    samples: list[SampleRow]
    histories: dict[str, list[Floats]]
    """By ratio, for each network the training and validation loss by epoch, shape (E, 2)."""
    failed: list[str]
    """Networks that did not train, with the reason."""
    diagnostics: Mapping[str, RatioDiagnostics]
    inference: Inference
    dataset: Dataset
    """The Asimov events with their log ratios."""
    exact: dict[str, Floats]
    """Exact log ratios of these events, where they are known."""
    seconds: dict[str, tuple[int, float]]
    """Tasks, and seconds of their work, by stage."""
    provenance: Provenance
    transforms: Mapping[str, Transform] = field(default_factory=dict)
    """What features go through before the networks of a ratio see them."""
    kinds: Sequence[Kind] = ()
    """Of the members of a mixed ensemble; empty where all are alike."""
    sections: Sequence[Section] = ()
    """What stages say themselves, in their order."""
    workers: int = 1
    """That train on a node of the run's site."""

    @property
    def fit(self) -> FitResult:
        """The headline fit."""
        return self.inference.fits[self.subject.headline]

    @property
    def scan(self) -> ProfileScan:
        """The headline scan."""
        return self.inference.scans["scan"]

    def scans_of(self, parameter: str) -> dict[str, ProfileScan]:
        """Give the scans of a parameter by what they are: `scan`, `scan_statistical`, `scan_asimov`, `scan_exact`."""
        return {name.partition(".")[0]: own for name, own in self.inference.scans.items() if own.parameter == parameter}

    @property
    def binned(self) -> bool:
        """Whether there are binned regions alone."""
        return not self.dataset.samples

    def transform(self) -> tuple[str, Transform] | None:
        """Give that of the first ratio, with its name; None where nothing was trained."""
        return next(((n, t) for n, t in self.transforms.items() if t.inputs == self.dataset.x.shape[1]), None)

    def otherwise(self, feature: str) -> list[str]:
        """List the ratios in which a feature has another kind of transform than in the first."""
        kinds = {ratio: [c.kind for c in made.columns if c.name == feature] for ratio, made in self.transforms.items()}
        return [
            f"{ratio}: {found[0]}" for ratio, found in kinds.items() if found and found != next(iter(kinds.values()))
        ]

    def missing(self, place: int) -> float:
        """Give the share of the Asimov events in which a feature is missing."""
        found = self.transform()
        absent = found[1].absent(self.dataset.x[:, [place]])[:, 0] if found else np.zeros(len(self.dataset.x))
        return float(np.abs(self.dataset.weight)[absent > 0].sum() / np.abs(self.dataset.weight).sum())


def asimov(facts: Facts) -> Mapping[str, FittedParameter]:
    """Give the parameters of the Asimov fit; none without one."""
    fits = facts.inference.fits
    return fits["asimov"].parameters if "asimov" in fits else {}


def gather(
    subject: Subject,
    *,
    observed: int | None,
    samples: Sequence[SampleRow],
    packs: Mapping[str, Path],
    diagnostics: Mapping[str, RatioDiagnostics],
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
    histories, failed, transforms, kinds = _histories(packs)
    stages = dict.fromkeys(stage for stage, _ in seconds)
    return Facts(
        subject=subject,
        observed=observed,
        feature_names=subject.features,
        samples=list(samples),
        histories=histories,
        failed=failed,
        diagnostics=diagnostics,
        inference=inference,
        dataset=dataset,
        exact=exact,
        seconds={stage: _work([s for other, s in seconds if other == stage]) for stage in stages},
        provenance=provenance,
        transforms=transforms,
        kinds=kinds,
    )


def _work(seconds: Sequence[float]) -> tuple[int, float]:
    return len(seconds), sum(seconds)


def sample(name: str, path: Path, fractions: Fractions, folds: Folds | None = None) -> SampleRow:
    """Make a line of the table of events from a store; with cross-fitting, folds say which networks see an event."""
    with Store(path) as store:
        sums = {part: store.sums(*store.rows_of(part, fractions)) for part in PARTS}
        leaked, repeated = crossed_leaks(store, fractions, folds) if folds else leaks(store, fractions)
        content = int(_contents(store.read(0, min(len(store), COMPARED))).sum(dtype=np.uint64))
    apart = [sums["test"]] if fractions.crossed else list(sums.values())  # with cross-fitting each part is the whole
    total = sum(part.weight for part in apart)
    events, negative = (sum(getattr(part, what) for part in apart) for what in ("events", "negative"))
    return SampleRow(
        name=name,
        events=events,
        sum_of_weights=total,
        negative=negative,
        effective={part: found.effective() for part, found in sums.items()},
        leaked=leaked,
        repeated=repeated,
        content=content,
    )


def leaks(store: Store, fractions: Fractions) -> tuple[float, float]:
    """Compare events of the parts `train` and `test` by their content, features and weight.

    Args:
        store: A sample.
        fractions: Of the parts.

    Returns:
        The fraction of (some) test events that are among the training events, and the fraction that repeat another test event.
    """
    start, stop = store.rows_of("test", fractions)
    test = _contents(store.read(start, min(stop, start + COMPARED)))
    if not len(test):
        return 0.0, 0.0
    found, (first, last) = np.unique(test), store.rows_of("train", fractions)
    seen = np.zeros(len(found), np.bool_)
    for place in range(first, last, COMPARED):
        seen |= np.isin(found, _contents(store.read(place, min(place + COMPARED, last))))
    return float(seen.mean()), 1 - len(found) / len(test)


def crossed_leaks(store: Store, fractions: Fractions, folds: Folds) -> tuple[float, float]:
    """Compare events of different folds by their content: those of its own fold are none that an event's networks have seen.

    Args:
        store: A sample.
        fractions: Of the parts, all of which are the whole.
        folds: Of the networks.

    Returns:
        The fraction of (some) contents that are in several folds, and the fraction of events that repeat another one of their fold.
    """
    first, last = store.rows_of("test", fractions)
    events = store.read(first, min(first + COMPARED, last))
    if not len(events):
        return 0.0, 0.0
    contents, own = _contents(events), folds.of(events)
    found, place = np.unique(contents, return_inverse=True)
    pairs = len(np.unique(place * folds.number + own))
    lowest, highest = np.full(len(found), folds.number), np.full(len(found), -1)
    for start in range(first, last, COMPARED):
        events = store.read(start, min(start + COMPARED, last))
        contents, own = _contents(events), folds.of(events)
        place = np.minimum(np.searchsorted(found, contents), len(found) - 1)
        same = found[place] == contents
        np.minimum.at(lowest, place[same], own[same])
        np.maximum.at(highest, place[same], own[same])
    return float((lowest < highest).mean()), 1 - pairs / len(own)


def _contents(events: Events) -> npt.NDArray[np.uint64]:
    """Hash the content of some events."""
    rows = np.ascontiguousarray(np.column_stack([events.x.astype(np.float64), events.weight])).view(np.uint64)
    found = np.zeros(len(rows), np.uint64)
    with np.errstate(over="ignore"):
        for column in rows.T:  # FNV's multiplication, with the high bits mixed down
            found = (found ^ column) * np.uint64(0x9E3779B97F4A7C15)
            found ^= found >> np.uint64(29)
    return found


def _histories(
    packs: Mapping[str, Path],
) -> tuple[dict[str, list[Floats]], list[str], dict[str, Transform], list[Kind]]:
    histories: dict[str, list[Floats]] = {}
    transforms: dict[str, Transform] = {}
    kinds: dict[Kind, Kind] = {}
    failed = []
    for name, path in packs.items():
        from needle_parsl.nsbi.training import packs as pack_files  # noqa: PLC0415  torch, which a report without networks spares

        ratio = name.rpartition(".")[0]
        pack = pack_files.read(path)
        transforms[ratio] = pack.transform
        for member in pack.members:
            histories.setdefault(ratio, []).append(member.history)
            kind = Kind.of(pack.shape, member)
            kinds[kind] = kinds.get(kind, kind) + member
            if member.reason:
                failed.append(f"{ratio}, member {member.member}, fold {member.fold}: {member.reason}")
    mixed = len({kind.settings for kind in kinds}) > 1
    return histories, failed, transforms, list(kinds.values()) if mixed else []
