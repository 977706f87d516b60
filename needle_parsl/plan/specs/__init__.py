"""What a task needs to know, as frozen records, and the key that says whether it is already done."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TypeVar

from needle_parsl.plan.specs.application import Application
from needle_parsl.plan.specs.fits import (
    Area,
    Blinding,
    BootstrapSpec,
    BreakdownSpec,
    Closing,
    CompareRegions,
    Count,
    DistributionsSpec,
    Evaluate,
    Exact,
    FitSpec,
    GoodnessSpec,
    ImpactsSpec,
    Interval,
    LimitsSpec,
    MixtureSpec,
    MorphingSection,
    PlaneRows,
    ReplicaFit,
    Resampling,
    SimulatedParameter,
    ValidationSpec,
)
from needle_parsl.plan.specs.networks import (
    Classes,
    Combine,
    Compose,
    CovarianceSpec,
    Diagnose,
    Export,
    InitialSpec,
    MemberSpec,
    Named,
    Normalise,
    Ratio,
    Splitting,
    Surrogate,
    Train,
)
from needle_parsl.plan.specs.own_stages import Before, NetworksSection, Outputs, OwnCall, OwnMerge, StagesReport
from needle_parsl.plan.specs.precision import PrecisionSpec
from needle_parsl.plan.specs.report import Report
from needle_parsl.plan.specs.residuals import ResidualsSpec
from needle_parsl.plan.specs.search import Best, FittedMetric, SearchSection, Suggest, Trials
from needle_parsl.plan.specs.stores import (
    ComputedSpec,
    Convert,
    File,
    Generate,
    Given,
    Joint,
    Merge,
    Physics,
    Piece,
    Read,
    Share,
)
from needle_parsl.plan.specs.toys import CoverageSpec, Neyman, NeymanPlane, RepeatedToys, Thrower, ToysSpec
from needle_parsl.plan.stages import Stage

S = TypeVar("S")
PARTS = "analyses"
"""The folder of analyses that stages of the user's name."""
Inference = (
    FitSpec
    | Exact
    | Interval
    | PlaneRows
    | Area
    | Closing
    | CompareRegions
    | DistributionsSpec
    | ImpactsSpec
    | BreakdownSpec
    | GoodnessSpec
    | ValidationSpec
    | LimitsSpec
    | MorphingSection
    | ToysSpec
    | Neyman
    | NeymanPlane
    | CoverageSpec
)
Spec = (
    Generate
    | Read
    | Merge
    | Convert
    | Train
    | Normalise
    | Combine
    | CovarianceSpec
    | Compose
    | Export
    | Diagnose
    | MixtureSpec
    | Evaluate
    | Count
    | Inference
    | ReplicaFit
    | BootstrapSpec
    | PrecisionSpec
    | ResidualsSpec
    | Report
    | OwnCall
    | OwnMerge
    | NetworksSection
    | Suggest
    | Trials
    | Best
    | SearchSection
    | StagesReport
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One piece of work."""

    stage: Stage
    name: str
    """Of its output: the sample, ratio, pack, dataset or fit."""
    key: str
    """Says what the output is made from; equal keys, equal outputs."""
    spec: Spec
    after: tuple[str, ...]
    """Keys of the tasks whose outputs it reads."""
    code: Physics | None = None
    """The user's Python file, for tasks that use a network of theirs."""
    limit: float = float("inf")
    """How long it may take if it calls the user's code. Unit: s."""
    output: float = 1e7
    """What a program of the user's may print. Unit: bytes."""
    part: str = ""
    """The stage of the user's whose analysis it belongs to; empty for a task of the run's own. It stands before the name."""

    def __hash__(self) -> int:
        """Give that of the key, which says it all: specs may hold tables, such as transforms of particles, that have none."""
        return hash(self.key)

    @property
    def place(self) -> str:
        """Say where its output goes, relative to the run directory."""
        return self.folder + self.stage.path(self.own().name)

    @property
    def folder(self) -> str:
        """Name the folder that holds the outputs of its analysis, relative to the run directory; empty, or with a slash at its end."""
        return f"{PARTS}/{self.part}/" if self.part else ""

    def own(self) -> Task:
        """Give the task as its analysis knows it."""
        return replace(self, name=self.name.removeprefix(f"{self.part}/"), part="") if self.part else self

    def of(self, kind: type[S]) -> S:
        """Give the spec to the function of its stage, which knows its kind."""
        assert isinstance(self.spec, kind)
        return self.spec


def own_code(task: Task) -> bool:
    """Whether a task calls code of the user's."""
    return task.code is not None or (not isinstance(task.spec, Generate) and _holds_code(task.spec))


def _holds_code(spec: object) -> bool:
    """Whether a spec, or one within it, names the user's file."""
    if isinstance(spec, Physics):
        return True
    if isinstance(spec, (list, tuple)):  # of many alike
        return any(map(_holds_code, spec[:1]))
    return is_dataclass(spec) and any(_holds_code(getattr(spec, field.name)) for field in fields(spec))


__all__ = [
    "Application",
    "Area",
    "Before",
    "Best",
    "Blinding",
    "BootstrapSpec",
    "BreakdownSpec",
    "Classes",
    "Closing",
    "Combine",
    "CompareRegions",
    "Compose",
    "ComputedSpec",
    "Convert",
    "Count",
    "CovarianceSpec",
    "CoverageSpec",
    "Diagnose",
    "DistributionsSpec",
    "Evaluate",
    "Exact",
    "Export",
    "File",
    "FitSpec",
    "FittedMetric",
    "Generate",
    "Given",
    "GoodnessSpec",
    "ImpactsSpec",
    "Inference",
    "InitialSpec",
    "Interval",
    "Joint",
    "LimitsSpec",
    "MemberSpec",
    "Merge",
    "MixtureSpec",
    "MorphingSection",
    "Named",
    "NetworksSection",
    "Neyman",
    "NeymanPlane",
    "Normalise",
    "Outputs",
    "OwnCall",
    "OwnMerge",
    "Physics",
    "Piece",
    "PlaneRows",
    "PrecisionSpec",
    "Ratio",
    "Read",
    "RepeatedToys",
    "ReplicaFit",
    "Report",
    "Resampling",
    "ResidualsSpec",
    "SearchSection",
    "Share",
    "SimulatedParameter",
    "Spec",
    "Splitting",
    "StagesReport",
    "Suggest",
    "Surrogate",
    "Task",
    "Thrower",
    "ToysSpec",
    "Train",
    "Trials",
    "ValidationSpec",
    "own_code",
]
