"""What a task needs to know, as frozen records, and the key that says whether it is already done."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import TypeVar

from needle_parsl.plan.specs.fits import (
    Again,
    Area,
    Bootstrap,
    Closing,
    Count,
    Distributions,
    Evaluate,
    Exact,
    Fit,
    Impacts,
    Interval,
    Limits,
    Mixture,
    Replica,
    Strip,
)
from needle_parsl.plan.specs.networks import (
    Classes,
    Combine,
    Compose,
    Covariance,
    Diagnose,
    Export,
    Initial,
    Member,
    Named,
    Normalise,
    Ratio,
    Splitting,
    Train,
)
from needle_parsl.plan.specs.report import Report
from needle_parsl.plan.specs.stores import Convert, File, Generate, Joint, Merge, Physics, Piece, Read, Share
from needle_parsl.plan.specs.toys import Coverage, Neyman, Repeated, Thrower, Toys

S = TypeVar("S")
VERSIONS = {
    "generate": 1,
    "read": 1,
    "merge": 1,
    "convert": 2,
    "train": 6,
    "normalise": 1,
    "combine": 4,
    "covariance": 1,
    "compose": 1,
    "export": 1,
    "diagnose": 7,
    "evaluate": 2,
    "count": 1,
    "fit": 8,
    "interval": 7,
    "replica": 2,
    "bootstrap": 1,
    "toys": 7,
    "neyman": 7,
    "coverage": 4,
    "report": 6,
}
"""The stages in their order. Raise a version when its task gives other results, and what is done is done again. That of
`convert` stands for `read` and `merge`, too, since a store is named by its files alone."""
STAGES = tuple(VERSIONS)
NETWORKED = ("train", "normalise", "combine", "covariance", "export", "diagnose", "evaluate", "replica", "toys")
"""Stages that make networks."""
PASSING = ("read", "merge")
"""Stages whose outputs are removed when the store that is made of them is there."""

Inference = (
    Fit | Exact | Interval | Strip | Area | Closing | Distributions | Impacts | Limits | Toys | Neyman | Coverage
)
Spec = (
    Generate
    | Read
    | Merge
    | Convert
    | Train
    | Normalise
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
    limit: float = float("inf")
    """How long it may take if it calls the user's code. Unit: s."""
    output: float = 1e7
    """What a program of the user's may print. Unit: bytes."""

    def __hash__(self) -> int:
        """Give that of the key, which says it all: specs may hold tables, such as transforms of particles, that have none."""
        return hash(self.key)

    def of(self, kind: type[S]) -> S:
        """Give the spec to the function of its stage, which knows its kind."""
        assert isinstance(self.spec, kind)
        return self.spec


def own_code(task: Task) -> bool:
    """Whether a task calls code of the user's."""
    return task.code is not None or (task.stage != "generate" and _holds_code(task.spec))


def _holds_code(spec: object) -> bool:
    """Whether a spec, or one within it, names the user's file."""
    if isinstance(spec, Physics):
        return True
    if isinstance(spec, (list, tuple)):  # of many alike
        return any(map(_holds_code, spec[:1]))
    return is_dataclass(spec) and any(_holds_code(getattr(spec, field.name)) for field in fields(spec))


__all__ = [
    "NETWORKED",
    "PASSING",
    "STAGES",
    "VERSIONS",
    "Again",
    "Area",
    "Bootstrap",
    "Classes",
    "Closing",
    "Combine",
    "Compose",
    "Convert",
    "Count",
    "Covariance",
    "Coverage",
    "Diagnose",
    "Distributions",
    "Evaluate",
    "Exact",
    "Export",
    "File",
    "Fit",
    "Generate",
    "Impacts",
    "Inference",
    "Initial",
    "Interval",
    "Joint",
    "Limits",
    "Member",
    "Merge",
    "Mixture",
    "Named",
    "Neyman",
    "Normalise",
    "Physics",
    "Piece",
    "Ratio",
    "Read",
    "Repeated",
    "Replica",
    "Report",
    "Share",
    "Spec",
    "Splitting",
    "Strip",
    "Task",
    "Thrower",
    "Toys",
    "Train",
    "own_code",
]
